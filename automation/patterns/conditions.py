"""Conditions as a person writes them → a tree: `b.size > a.size and not name contains ".tmp"`.

    or    := and {("or" | "||") and}            and  := not {("and" | "&&") not}
    not   := ("not" | "!") not | test           test := sum [("==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | word) sum]
    sum   := term {("+" | "-") term}            term := value {("*" | "/" | "%") value}
    value := literal | "[" sums "]" | "(" or ")" | "-" value | count(STEP) | sum(STEP.field [, sum …]) | reference

`word` is `contains`, `startswith`, `endswith` or `glob`; CEL's methods (`name.startsWith("x")`) mean the same. A
reference is a field of the current event (`size`, `attrs.user`, `event.size`) or of an earlier one of the same match
(`a.size`, its last event; `a[0].size`, its first). Numbers take units: `10MB` is bytes, `5s` is nanoseconds like `ts`.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from automation.quantities import parse_duration, parse_size

AGGREGATES: Final = ("count", "sum", "avg", "min", "max")
WORDS: Final = {"contains": "contains", "startswith": "startswith", "endswith": "endswith", "glob": "glob"}
_METHODS: Final = {
    "contains": "contains",
    "startsWith": "startswith",
    "endsWith": "endswith",
    "startswith": "startswith",
}
_METHODS_ALL: Final = {**_METHODS, "endswith": "endswith", "glob": "glob"}
_COMPARISONS: Final = ("==", "!=", "<=", ">=", "<", ">")
ORDER: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {"==": operator.eq, "!=": operator.ne, **ORDER}
TEXT: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "startswith": str.startswith,
    "endswith": str.endswith,
    "contains": operator.contains,
}
MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
"""The same comparison with its sides changed."""
_DEEPEST: Final = 60
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|min|h|d|w))+")
_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    | (?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.])|\d+(?:\.\d+)?[A-Za-z]+(?:\d+[A-Za-z]+)*)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<sign>==|!=|<=|>=|&&|\|\||[-+*/%<>!()\[\],.])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: number, text, true, false, null, or a list of constants."""

    value: Any


@dataclass(frozen=True, slots=True)
class Reference:
    """A field; `step` is None for the current event, `pick` chooses among several events of a step."""

    step: str | None
    field: tuple[str, ...]
    pick: int = -1


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`name` over the events that `step` has matched so far, and over the values of `extra`."""

    name: str
    step: str
    field: tuple[str, ...]
    extra: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """`name` applied to its operands: a comparison, a word, arithmetic, `and`, `or`, `not`, `-`."""

    name: str
    operands: tuple[Node, ...]


Node = Literal | Reference | Aggregate | Operation


class ConditionSyntaxError(ValueError):
    """The text is no condition of the small language; it may still be CEL."""


def parse(source: str, steps: frozenset[str] = frozenset(), own: frozenset[str] = frozenset()) -> Node:
    """The tree of `source`; `steps` are the names of other steps, `own` those of the step that asks."""
    return _Parser(source, steps, own).parse()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(source: str) -> list[_Token]:
    out, at, end = [], 0, len(source.rstrip())
    while at < end:
        match = _TOKEN.match(source, at)
        if match is None:
            raise ConditionSyntaxError(f"{source!r}: {source[at:].strip()[:1]!r} is not understood (column {at + 1})")
        kind = next(k for k in ("text", "number", "name", "sign") if match[k] is not None)
        out.append(_Token(kind, match[kind], match.start(kind)))
        at = match.end()
    out.append(_Token("end", "", end))
    return out


class _Parser:
    """Recursive descent, one method per line of the grammar."""

    def __init__(self, source: str, steps: frozenset[str], own: frozenset[str]) -> None:
        self._source: Final = source
        self._steps: Final = steps
        self._own: Final = own
        self._tokens: Final = _tokens(source)
        self._at = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._or()
        if self._peek().kind != "end":
            raise self._wrong(f"{self._peek().text!r} is not expected")
        return node

    def _or(self) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong("it is nested too deeply")
        node = self._chain("or", ("or", "||"), self._and)
        self._depth -= 1
        return node

    def _and(self) -> Node:
        return self._chain("and", ("and", "&&"), self._not)

    def _chain(self, name: str, signs: tuple[str, ...], operand: Callable[[], Node]) -> Node:
        operands = [operand()]
        while self._take(*signs):
            operands.append(operand())
        return operands[0] if len(operands) == 1 else Operation(name, tuple(operands))

    def _not(self) -> Node:
        negations = 0
        while self._take("not", "!"):
            negations += 1
        node = self._test()
        return Operation("not", (node,)) if negations % 2 else node

    def _test(self) -> Node:
        left = self._sum()
        sign = self._take(*_COMPARISONS, "in", *WORDS)
        if sign is None and self._peek().text == "not" and self._tokens[self._at + 1].text == "in":
            self._at += 2
            return Operation("not", (Operation("in", (left, self._sum())),))
        return left if sign is None else Operation(sign, (left, self._sum()))

    def _sum(self) -> Node:
        return self._arithmetic(("+", "-"), self._term)

    def _term(self) -> Node:
        return self._arithmetic(("*", "/", "%"), self._value)

    def _arithmetic(self, signs: tuple[str, ...], operand: Callable[[], Node]) -> Node:
        node = operand()
        while sign := self._take(*signs):
            node = Operation(sign, (node, operand()))
        return node

    def _value(self) -> Node:
        token = self._next()
        match token.kind:
            case "text":
                text = _text(token.text)
                step = text in self._steps | self._own and self._peek().text in (".", "[")
                return self._reference(text) if step else Literal(text)
            case "number":
                return Literal(self._number(token))
            case "name":
                return self._named(token)
        if token.text == "(":
            node = self._or()
            self._expect(")")
            return node
        if token.text == "[":
            return self._list()
        if token.text == "-":
            return Operation("negative", (self._value(),))
        raise self._wrong("it ends too early" if token.kind == "end" else f"{token.text!r} is not expected", token)

    def _named(self, token: _Token) -> Node:
        constants = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
        if token.text in constants:
            return Literal(constants[token.text])
        if token.text in AGGREGATES and self._peek().text == "(":
            return self._aggregate(token.text)
        return self._reference(token.text)

    def _aggregate(self, name: str) -> Node:
        self._expect("(")
        token = self._next()
        reference = self._reference(_text(token.text) if token.kind == "text" else token.text, whole=True)
        extra = []
        while self._take(","):
            extra.append(self._sum())
        self._expect(")")
        if not isinstance(reference, Reference) or reference.step is None:
            raise self._wrong(f"{name}() needs a step of this pattern, for instance {name}(a.size)")
        if not reference.field and name != "count":
            raise self._wrong(f"{name}() needs a field, for instance {name}({reference.step}.size)")
        return Aggregate(name, reference.step, reference.field, tuple(extra))

    def _reference(self, first: str, *, whole: bool = False) -> Node:
        pick = -1
        names = [first]
        while True:
            if self._take("["):
                pick = self._index()
            elif self._take("."):
                token = self._next()
                if token.kind != "name":
                    raise self._wrong("a field's name is expected after '.'", token)
                if token.text in _METHODS_ALL and self._peek().text == "(":
                    return self._method(_METHODS_ALL[token.text], self._resolve(names, pick, whole=False))
                names.append(token.text)
            else:
                return self._resolve(names, pick, whole=whole)

    def _method(self, name: str, subject: Node) -> Node:
        self._expect("(")
        argument = self._sum()
        self._expect(")")
        return Operation(name, (subject, argument))

    def _resolve(self, names: list[str], pick: int, *, whole: bool) -> Node:
        if names[0] == "steps" and len(names) > 1:
            names = names[1:]
        head, rest = names[0], tuple(names[1:])
        if head in self._own and not whole and pick == -1 and rest:
            return Reference(None, rest)
        if (head in self._steps or head in self._own) and (rest or whole):  # alone it is a field of the same name
            return Reference(head, rest, pick)
        if whole:
            raise self._wrong(f"{head!r} is no step of this pattern")
        return Reference(None, rest if head == "event" and rest else tuple(names))

    def _index(self) -> int:
        negative = self._take("-") is not None
        token = self._next()
        if token.kind != "number" or not token.text.isdigit():
            raise self._wrong("an index such as [0] or [-1] is expected", token)
        self._expect("]")
        return -int(token.text) if negative else int(token.text)

    def _list(self) -> Node:
        items: list[Any] = []
        while not self._take("]"):
            node = self._value()
            if not isinstance(node, Literal):
                raise self._wrong("a list holds constants only")
            items.append(node.value)
            if not self._take(","):
                self._expect("]")
                break
        return Literal(tuple(items))

    def _number(self, token: _Token) -> int | float:
        if re.fullmatch(r"\d+", token.text):
            return int(token.text)
        if re.fullmatch(r"[\d.]+(?:[eE][-+]?\d+)?", token.text):
            return float(token.text)
        if _DURATION.fullmatch(token.text):  # small letters: 5m is five minutes, 5M five million
            return round(parse_duration(token.text) * 1e9)
        try:
            return parse_size(token.text)
        except ValueError:
            raise self._wrong(
                f"{token.text!r} is neither a duration (5s, 10m) nor a size (64KiB, 10MB)", token
            ) from None

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _take(self, *signs: str) -> str | None:
        token = self._peek()
        if token.kind in ("sign", "name") and token.text in signs:
            self._at += 1
            return token.text
        return None

    def _expect(self, sign: str) -> None:
        if self._take(sign) is None:
            raise self._wrong(f"{sign!r} is expected before {self._peek().text or 'the end'!r}")

    def _wrong(self, reason: str, token: _Token | None = None) -> ConditionSyntaxError:
        at = (token or self._peek()).at
        return ConditionSyntaxError(f"{self._source!r}: {reason} (column {at + 1})")


def _text(quoted: str) -> str:
    if quoted[0] == "'":
        quoted = '"' + quoted[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
    try:
        value: str = json.loads(quoted, strict=False)
    except ValueError as error:
        raise ConditionSyntaxError(f"{quoted} is no text: {error}") from None
    return value
