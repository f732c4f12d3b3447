"""Conditions and template expressions in CEL: compiled and type-checked once, evaluated in a few microseconds.

The official C++ evaluator knows no text that is not Unicode, but a file's name may be any bytes. Where an evaluation
meets such a name, its surrogate escapes travel as characters of a private plane and are restored in the result.
"""

from __future__ import annotations

import datetime
import difflib
import functools
import hashlib
import json
import re
import shlex
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_optional, ext_strings

from automation import globs
from automation.provenance.lineage import asked, places

VARIABLES: Final = ("event", "steps", "state", "vars", "input", "run", "match", "item", "index", "result")
MACHINE: Final = "machine"  # one more, in statecharts only
_BROAD: Final = ("event", "state")  # variables of which an expression usually needs little
EVENT_FIELDS: Final = (
    *("seq", "ts", "type", "path", "dest", "target", "name", "stem", "suffix", "dir", "inode", "size", "offset"),
    *("length", "pid", "uid", "gid", "comm", "tenant", "cause", "errno", "attrs", "code", "category"),
)
_PRIVATE: Final = 0x10_0000  # U+10DC80 … U+10DCFF stand for the escapes U+DC80 … U+DCFF
_TO_PRIVATE: Final = {0xDC80 + i: chr(_PRIVATE + 0xDC80 + i) for i in range(128)}
_FROM_PRIVATE: Final = {_PRIVATE + 0xDC80 + i: chr(0xDC80 + i) for i in range(128)}
_STRINGS: Final = re.compile(r"""r?("{3}.*?"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""", re.DOTALL)
_FIELD: Final = re.compile(r"(?<![\w.])event\s*\.\s*\??([A-Za-z_]\w*)")
_COMPILE_ERROR: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*?)(?:\n|$)")


class EvaluationError(ValueError):
    """An expression met values that it cannot work with; `str()` is one sentence with the expression in it."""


class Expression:
    """One compiled expression; call it with the variables (exact dicts, plain values) to get a plain value."""

    __slots__ = ("_program", "_used", "source", "type")

    def __init__(self, source: str) -> None:
        self.source: Final = source
        places(source)
        try:
            self._program = _environment().compile(source)
        except RuntimeError as error:
            raise ValueError(_explain(source, str(error))) from None
        self.type: Final[str] = self._program.return_type().name()
        _check_event_fields(source)
        self._used: Final = {name: names for name in _BROAD if (names := _used_names(name, source))}

    def __call__(self, variables: Mapping[str, Any]) -> Any:
        """Raises EvaluationError for a missing key, unfit types or too long a loop."""
        if self._used:  # CEL copies a variable whole, at 0.3 µs and more for each name in it
            variables = dict(variables)
            for variable, names in self._used.items():
                whole = variables.get(variable) or {}
                variables[variable] = {name: whole[name] for name in names if name in whole}
        try:
            value = self._program.eval(data=variables)
        except RuntimeError:  # text with surrogate escapes; rare, so it pays twice
            return _restore(self._evaluate(_smuggle(dict(variables))))
        return self._plain(value)

    def _evaluate(self, variables: dict[str, Any]) -> Any:
        try:
            return self._plain(self._program.eval(data=variables))
        except (RuntimeError, TypeError) as error:
            raise EvaluationError(f"{self.source!r} failed: {error}") from None

    def _plain(self, value: cel.Value) -> Any:
        plain = value.plain_value()
        if plain is True or plain is False:
            return plain
        if value.type() == cel.Type.ERROR:
            raise EvaluationError(f"{self.source!r} failed: {_reason(str(plain))}")
        return _as_json(plain)

    @property
    def event_fields(self) -> Collection[str]:
        """The fields of the event that the expression needs; all of them when that cannot be told."""
        return self._used.get("event") or EVENT_FIELDS

    def __repr__(self) -> str:
        return f"<Expression {self.source!r}>"


@functools.lru_cache(maxsize=8192)
def compile_expression(source: str) -> Expression:
    """The expression of `source`, shared between equal texts; ValueError with one sentence when it is wrong."""
    if not source.strip():
        raise ValueError("the expression is empty")
    return Expression(source)


def compile_condition(source: str) -> Expression:
    """`compile_expression`, but the result must be able to be true or false."""
    expression = compile_expression(source)
    if expression.type not in ("BOOL", "DYN"):
        raise ValueError(f"{source!r} is {expression.type.lower()}, a condition must be true or false")
    return expression


def nearest(word: str, words: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest of `words`, empty when none is close."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _check_event_fields(source: str) -> None:
    for match in _FIELD.finditer(_STRINGS.sub("''", source)):
        if match[1] not in EVENT_FIELDS and not match.string[match.end() :].lstrip().startswith("("):
            raise ValueError(f"an event has no field {match[1]!r}{nearest(match[1], EVENT_FIELDS)}")


def _used_names(variable: str, source: str) -> frozenset[str]:
    """The names right below a variable that are used; empty when that cannot be told or nothing of it is."""
    pattern = rf"(?<![\w.]){variable}\b(?:\s*\.\s*\??([A-Za-z_]\w*))?"
    names = [match[1] for match in re.finditer(pattern, _STRINGS.sub("''", source))]
    return frozenset(names) if all(names) else frozenset()


def _explain(source: str, message: str) -> str:
    found = _COMPILE_ERROR.search(message)
    if found is None:
        return f"{source!r} is no expression: {message.splitlines()[0]}"
    reason = found[3].removesuffix(" (in container '')")
    undeclared = re.match(r"undeclared reference to '(\w+)", reason)
    if undeclared:
        reason = f"{undeclared[1]!r} is unknown{nearest(undeclared[1], (*VARIABLES, *_FUNCTIONS))}"
    elif reason.startswith("Syntax error"):
        reason = re.sub(r" expecting \{.*", "", reason).replace("<EOF>", "the end")
    return f"{source!r} is no expression: {reason} (line {found[1]}, column {found[2]})"


def _reason(message: str) -> str:
    message = re.sub(r"^[A-Z_]+: ", "", message)
    return re.sub(r"^Key not found in map : ", "there is no ", message)


def _as_json(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case dict():
            return {k if isinstance(k, str) else str(_as_json(k)): _as_json(v) for k, v in value.items()}
        case list():
            return [_as_json(item) for item in value]
        case bytes() | bytearray():
            return bytes(value).decode("utf-8", "surrogateescape")
        case datetime.datetime():
            return value.isoformat().replace("+00:00", "Z")
        case datetime.timedelta():
            return value.total_seconds()
    return str(value)


def _smuggle(value: Any) -> Any:
    return _translate(value, _TO_PRIVATE)


def _restore(value: Any) -> Any:
    return _translate(value, _FROM_PRIVATE)


def _translate(value: Any, table: Mapping[int, str]) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.translate(table)
    if isinstance(value, dict):
        return {_translate(k, table): _translate(v, table) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_translate(item, table) for item in value]
    return value


def split_path(path: str) -> tuple[str, str, str, str]:
    """Directory, name, stem and suffix of a mount-relative path: `a/b.tar.gz` → `a`, `b.tar.gz`, `b.tar`, `.gz`."""
    directory, _, name = path.rpartition("/")
    dot = name.rfind(".")
    return (directory, name, name[:dot], name[dot:]) if dot > 0 else (directory, name, name, "")


def _format_time(form: str, moment: datetime.datetime) -> str:
    return moment.astimezone().strftime(form)


def _sha256(text: str) -> str:
    return hashlib.sha256(_restore(text).encode("utf-8", "surrogateescape")).hexdigest()


def _now() -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time.time(), datetime.UTC)


def _from_ns(ts: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ts / 1e9, datetime.UTC)


def _glob(path: str, pattern: str) -> bool:
    return globs.compile_globs((pattern,))(path)


def _to_json(value: Any) -> str:
    return json.dumps(_as_json(value), ensure_ascii=False, sort_keys=True)


def _answer(name: str) -> Callable[..., Any]:
    """What the graph of provenance answers."""

    def ask(*arguments: Any) -> Any:
        return getattr(asked(), name)(*(_restore(one) for one in arguments))

    return ask


_T: Final = cel.Type
_EACH: Final = (_T.MAP, _T.LIST, _T.STRING, _T.INT, _T.UINT, _T.DOUBLE, _T.BOOL, _T.NULL, _T.TIMESTAMP, _T.DURATION)
_Parameters = list[cel.Type] | tuple[list[cel.Type], ...] | None
# name → parameters (several lists: any of them; None: one of any type), result, implementation; what CEL itself lacks
_FUNCTIONS: Final[dict[str, tuple[_Parameters, cel.Type, Callable[..., Any]]]] = {
    "dirname": ([_T.STRING], _T.STRING, lambda path: split_path(path)[0]),
    "basename": ([_T.STRING], _T.STRING, lambda path: split_path(path)[1]),
    "stem": ([_T.STRING], _T.STRING, lambda path: split_path(path)[2]),
    "suffix": ([_T.STRING], _T.STRING, lambda path: split_path(path)[3]),
    "glob": ([_T.STRING, _T.STRING], _T.BOOL, _glob),
    "now": ([], _T.TIMESTAMP, _now),
    "from_ns": ([_T.INT], _T.TIMESTAMP, _from_ns),
    "strftime": ([_T.STRING, _T.TIMESTAMP], _T.STRING, _format_time),
    "sha256": ([_T.STRING], _T.STRING, _sha256),
    "json": (None, _T.STRING, _to_json),
    "parse_json": ([_T.STRING], _T.DYN, json.loads),
    "shell_quote": ([_T.STRING], _T.STRING, shlex.quote),
    "labels": ([_T.STRING], _T.LIST, _answer("labels")),
    "derived_from": ([_T.STRING, _T.STRING], _T.BOOL, _answer("derived_from")),
    "process_labels": ([_T.INT], _T.LIST, _answer("process_labels")),
    "has_read": ([_T.INT, _T.STRING], _T.BOOL, _answer("has_read")),
    "touched_by": (([_T.STRING, _T.STRING], [_T.STRING, _T.INT]), _T.BOOL, _answer("touched_by")),
}
FUNCTIONS: Final = tuple(_FUNCTIONS)


def _overloads(
    name: str, parameters: _Parameters, result: cel.Type, implementation: Callable[..., Any]
) -> Iterable[cel.Overload]:
    one = [[each] for each in _EACH] if parameters is None else [parameters]
    several = parameters if isinstance(parameters, tuple) else one
    for i, types in enumerate(several):
        yield cel.Overload(f"vexfs_{name}_{i}", result, types, False, implementation)


@functools.cache
def _environment() -> cel.Env:
    return cel.NewEnv(
        variables=dict.fromkeys((*VARIABLES, MACHINE), cel.Type.DYN),
        functions=[
            cel.FunctionDecl(name, [*_overloads(name, parameters, result, implementation)])
            for name, (parameters, result, implementation) in _FUNCTIONS.items()
        ],
        extensions=[
            ext_strings.ExtStrings(),
            ext_math.ExtMath(),
            ext_encoders.ExtEncoders(),
            ext_bindings.ExtBindings(),
            ext_optional.ExtOptional(),
        ],
    )
