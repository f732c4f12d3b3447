"""CEL in charts: conditions and values over `event`, `vars`, `state` and `machine`; `In('busy')` asks for a state.

An expression is compiled by the official CEL, which says what is wrong with it. The commonest shapes become closures
too (`automation.machines.closures`), for speed; where those are not sure, CEL answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from automation.expressions import EvaluationError, Expression, compile_condition, compile_expression
from automation.machines.closures import Unsure, closure_of
from automation.machines.outline import Condition, Value
from automation.machines.scope import ExecutionError, Scope
from automation.templates import Template, pieces, write_out

VARIABLES: Final = ("event", "vars", "state", "machine")
_IN: Final = re.compile(
    r"""(?P<text>"{3}.*?"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|\bIn\(\s*(?P<name>"[^"]*"|'[^']*')\s*\)""",
    re.DOTALL,
)
_ONLY_IN: Final = re.compile(r"""\s*(?P<no>!?)\s*In\(\s*["'](?P<name>[^"']*)["']\s*\)\s*\Z""")


def compile_when(source: str) -> Condition:
    """A condition; ValueError says what is wrong with it."""
    only = only_in(source)
    if only is not None:
        return only
    expression = compile_condition(_with_states(source))
    slow = _cel(expression)
    fast = closure_of(source)

    def check(scope: Scope) -> bool:
        if fast is not None:
            try:
                return fast(scope) is True
            except (Unsure, LookupError, TypeError):
                pass
        value = slow(scope)
        if value is not True and value is not False:
            raise ExecutionError(f"{source!r} is neither true nor false but {value!r}")
        return bool(value)

    return check


def only_in(source: str) -> Condition | None:
    """The condition `In('state')` or `!In('state')`; None for all others."""
    match = _ONLY_IN.match(source)
    if match is None:
        return None
    name, wanted = match["name"], not match["no"]
    return lambda scope: scope.active(name) is wanted


def compile_value(source: str) -> Value:
    """A value; ValueError says what is wrong with the expression."""
    slow = _cel(compile_expression(_with_states(source)))
    fast = closure_of(source)
    if fast is None:
        return slow

    def value(scope: Scope) -> Any:
        try:
            return fast(scope)
        except (Unsure, LookupError, TypeError):
            return slow(scope)

    return value


def compile_template(source: Any, literal: Collection[str] = ()) -> Value:
    """A JSON value whose texts may hold `{{ expression }}`, but for the keys `literal` of a mapping; TemplateError says
    where and why one is wrong.
    """
    template = Template(source, literal)
    if template.constant:
        return lambda scope: source
    return _rendering(source, literal)


def _rendering(source: Any, literal: Collection[str] = ()) -> Value:
    if isinstance(source, str) and "{{" in source:
        return _text(source)
    if isinstance(source, dict):
        parts = {key: _rendering(value) for key, value in source.items() if key not in literal}
        rest = {key: source[key] for key in literal if key in source}
        return lambda scope: {**{key: part(scope) for key, part in parts.items()}, **rest}
    if isinstance(source, list):
        items = [_rendering(value) for value in source]
        return lambda scope: [item(scope) for item in items]
    return lambda scope: source


def _text(text: str) -> Value:
    parts = [piece if isinstance(piece, str) else compile_value(piece.source) for piece in pieces(text)]
    if len(parts) == 1 and not isinstance(parts[0], str):
        return parts[0]
    return lambda scope: "".join(part if isinstance(part, str) else write_out(part(scope)) for part in parts)


def _with_states(source: str) -> str:
    return _IN.sub(lambda match: match[0] if match["text"] else f"({match['name']} in machine.states)", source)


def _cel(expression: Expression) -> Value:
    """The evaluation by CEL, which is only given what the expression names: it copies all that it is given."""
    source = expression.source
    named = [name for name in VARIABLES if re.search(rf"(?<![\w.]){name}\b", source)]
    fields = expression.event_fields

    def value(scope: Scope) -> Any:
        variables = {name: scope.event(fields) if name == "event" else _READ[name](scope) for name in named}
        try:
            return expression(variables)
        except EvaluationError as error:
            raise ExecutionError(str(error)) from None

    return value


_READ: Final[Mapping[str, Callable[[Scope], Any]]] = {
    "event": lambda scope: scope.event(),
    "vars": lambda scope: scope.vars,
    "state": lambda scope: dict(scope.state()),
    "machine": lambda scope: scope.facts(),
}
