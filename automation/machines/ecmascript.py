"""The part of ECMAScript that SCXML documents use in conditions and values; no statements, functions or assignments.

    choice := or ["?" choice ":" choice]      or := and {"||" and}      and := equal {"&&" equal}
    equal  := less {("==" | "!=" | "===" | "!==") less}
    less   := sum {("<" | "<=" | ">" | ">=" | "in" | "instanceof") sum}
    sum    := term {("+" | "-") term}         term := unary {("*" | "/" | "%") unary}
    unary  := ("!" | "-" | "+" | "typeof") unary | ("++" | "--") name | value {part}
    part   := "." name | "[" choice "]" | "(" choices ")"
    value  := number | text | true | false | null | undefined | name | list | object | "(" choice ")"

Names are variables, or `_event _name _sessionid _ioprocessors _x`. Functions are `In(state)` and the methods in
`METHODS`. `undefined` is `null`; `==` is `===` for values of unlike types, but for null and numbers written as text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from automation.machines.ecmascript_values import BINARY, METHODS, number, numeral, truth
from automation.machines.outline import Condition, Value
from automation.machines.scope import ExecutionError, Scope

PROCESSOR: Final = "http://www.w3.org/TR/scxml/#SCXMLEventProcessor"
SYSTEM: Final = ("_event", "_name", "_sessionid", "_ioprocessors", "_x")
_DEEPEST: Final = 60
_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    | (?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    | (?P<name>[A-Za-z_$][\w$]*)
    | (?P<sign>===|!==|==|!=|<=|>=|&&|\+\+|--|\|\||[-+*/%<>!()\[\]{},.?:])
    )""",
    re.VERBOSE,
)
_RESERVED: Final = frozenset(
    ("return", "var", "let", "const", "function", "new", "delete", "if", "else", "for", "this")
)


class SyntaxUnknownError(ValueError):
    """The text is no expression of this language."""


def compile_value(source: str) -> Value:
    """The value of an expression; SyntaxUnknownError with one sentence when it is none."""
    return _Parser(source).parse()


def compile_when(source: str) -> Condition:
    """A condition: any value, true as ECMAScript sees it."""
    value = compile_value(source)
    return lambda scope: truth(value(scope))


def system_value(scope: Scope, name: str) -> Any:
    """`_event` and its like."""
    session = f"{scope.name}:{scope.instance.began}:{scope.instance.key}"
    match name:
        case "_event":
            return _event(scope)
        case "_name":
            return scope.name
        case "_sessionid":
            return session
        case "_ioprocessors":
            location = {"location": f"#_scxml_{session}"}
            return {PROCESSOR: location, "scxml": location}
    return {}


def _event(scope: Scope) -> Any:
    trigger = scope.trigger
    if trigger is None:
        return None
    out: dict[str, Any] = {"name": trigger.name, "type": "external" if trigger.kind == "stream" else trigger.kind}
    if trigger.kind == "stream":
        facts = trigger.facts()
        out["data"] = {**facts, **facts["attrs"]}
    else:
        out["data"] = trigger.data
    out["sendid"] = trigger.sender or None
    external = trigger.kind == "external"
    out["origin"] = f"#_scxml_{system_value(scope, '_sessionid')}" if external else None
    out["origintype"] = PROCESSOR if external else None
    out["invokeid"] = None
    return out


class _Parser:
    """Recursive descent, one method per line of the grammar; each gives a function of the scope."""

    def __init__(self, source: str) -> None:
        self._source: Final = source
        self._tokens: Final = self._scan(source)
        self._at = 0
        self._depth = 0

    def parse(self) -> Value:
        value = self._choice()
        if self._kind() != "end":
            raise self._wrong()
        return value

    def _scan(self, source: str) -> list[tuple[str, str]]:
        out, at, end = [], 0, len(source.rstrip())
        if not end:
            raise SyntaxUnknownError("the expression is empty")
        while at < end:
            match = _TOKEN.match(source, at)
            if match is None:
                raise SyntaxUnknownError(
                    f"{source.strip()!r} is no expression: {source[at:].strip()[:1]!r} is not understood"
                )
            kind = str(match.lastgroup)
            out.append((kind, match[kind]))
            at = match.end()
        return [*out, ("end", "")]

    def _choice(self) -> Value:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise SyntaxUnknownError(f"{self._source[:60]!r} is nested too deeply")
        value = self._or()
        if self._take("?"):
            value = self._ternary(value)
        self._depth -= 1
        return value

    def _ternary(self, condition: Value) -> Value:
        yes = self._choice()
        self._expect(":")
        no = self._choice()
        return lambda scope: yes(scope) if truth(condition(scope)) else no(scope)

    def _or(self) -> Value:
        left = self._and()
        while self._take("||"):
            left = _either(left, self._and())
        return left

    def _and(self) -> Value:
        left = self._equal()
        while self._take("&&"):
            left = _both(left, self._equal())
        return left

    def _equal(self) -> Value:
        return self._binary(("===", "!==", "==", "!="), self._less)

    def _less(self) -> Value:
        return self._binary(("<=", ">=", "<", ">", "in", "instanceof"), self._sum)

    def _sum(self) -> Value:
        return self._binary(("+", "-"), self._term)

    def _term(self) -> Value:
        return self._binary(("*", "/", "%"), self._unary)

    def _binary(self, signs: tuple[str, ...], operand: Callable[[], Value]) -> Value:
        left = operand()
        while sign := self._take(*signs):
            left = _instance(left, self._name()) if sign == "instanceof" else _apply(BINARY[sign], left, operand())
        return left

    def _unary(self) -> Value:
        step = self._take("++", "--")
        if step is not None:
            return _stepped(self._name(), 1 if step == "++" else -1)
        sign = self._take("!", "-", "+", "typeof")
        if sign is None:
            return self._postfix()
        self._depth += 1
        if self._depth > _DEEPEST:
            raise SyntaxUnknownError(f"{self._source[:60]!r} is nested too deeply")
        operand = self._unary()
        self._depth -= 1
        match sign:
            case "!":
                return lambda scope: not truth(operand(scope))
            case "typeof":
                return lambda scope: _type(operand, scope)
            case "-":
                return lambda scope: -number(operand(scope))
        return lambda scope: number(operand(scope))

    def _postfix(self) -> Value:
        if self._tokens[self._at : self._at + 2] == [("name", "In"), ("sign", "(")]:
            self._at += 2
            state = self._choice()
            self._expect(")")
            return lambda scope: scope.active(str(state(scope)))
        value = self._value()
        while True:
            if self._take("."):
                name = self._name()
                value = self._method(value, name) if self._take("(") else _member(value, _constant(name))
            elif self._take("["):
                value = _member(value, self._choice())
                self._expect("]")
            else:
                return value

    def _method(self, subject: Value, name: str) -> Value:
        method = METHODS.get(name)
        if method is None:
            raise SyntaxUnknownError(
                f"{self._source.strip()!r}: there is no method {name!r}; there are {', '.join(METHODS)}"
            )
        arguments = self._items(")")

        def value(scope: Scope) -> Any:
            try:
                return method(subject(scope), *(argument(scope) for argument in arguments))
            except (TypeError, ValueError, AttributeError, LookupError) as error:
                raise ExecutionError(f"{name}() failed: {error}") from None

        return value

    def _items(self, end: str) -> list[Value]:
        out: list[Value] = []
        while not self._take(end):
            out.append(self._choice())
            if not self._take(","):
                self._expect(end)
                break
        return out

    def _value(self) -> Value:
        kind, text = self._tokens[self._at]
        self._at += 1
        match kind, text:
            case "text", _:
                return _constant(_text(text))
            case "number", _:
                return _constant(numeral(text))
            case "name", ("true" | "false" | "null" | "undefined" | "NaN" | "Infinity"):
                return _constant(_CONSTANTS[text])
            case "name", _ if text not in _RESERVED:
                return _name(text)
            case "sign", "(":
                value = self._choice()
                self._expect(")")
                return value
            case "sign", "[":
                items = self._items("]")
                return lambda scope: [item(scope) for item in items]
            case "sign", "{":
                return self._object()
        self._at -= 1
        raise self._wrong()

    def _object(self) -> Value:
        members: list[tuple[str, Value]] = []
        while not self._take("}"):
            kind, text = self._tokens[self._at]
            if kind not in ("name", "text"):
                raise self._wrong()
            self._at += 1
            self._expect(":")
            members.append((_text(text) if kind == "text" else text, self._choice()))
            if not self._take(","):
                self._expect("}")
                break
        return lambda scope: {name: value(scope) for name, value in members}

    def _kind(self) -> str:
        return self._tokens[self._at][0]

    def _name(self) -> str:
        kind, text = self._tokens[self._at]
        if kind != "name":
            raise self._wrong()
        self._at += 1
        return text

    def _take(self, *signs: str) -> str | None:
        kind, text = self._tokens[self._at]
        if kind in ("sign", "name") and text in signs:
            self._at += 1
            return text
        return None

    def _expect(self, sign: str) -> None:
        if self._take(sign) is None:
            raise self._wrong()

    def _wrong(self) -> SyntaxUnknownError:
        kind, text = self._tokens[self._at]
        what = "it ends too early" if kind == "end" else f"{text!r} is not expected"
        return SyntaxUnknownError(f"{self._source.strip()!r} is no expression: {what}")


_CONSTANTS: Final[Mapping[str, Any]] = {
    "true": True,
    "false": False,
    "null": None,
    "undefined": None,
    "NaN": math.nan,
    "Infinity": math.inf,
}


def _constant(value: Any) -> Value:
    return lambda scope: value


def _name(name: str) -> Value:
    if name in SYSTEM:
        return lambda scope: system_value(scope, name)

    def value(scope: Scope) -> Any:
        try:
            return scope.instance.vars[name]
        except KeyError:
            raise _UnboundError(f"there is no variable {name!r}") from None

    return value


def _stepped(name: str, by: int) -> Value:
    """`++name`: the only expression that changes a variable."""
    read = _name(name)

    def value(scope: Scope) -> Any:
        new = number(read(scope)) + by
        if name not in SYSTEM:
            scope.instance.vars[name] = new
        return new

    return value


class _UnboundError(ExecutionError):
    """A name that stands for nothing; `typeof` may ask."""


def _either(left: Value, right: Value) -> Value:
    def value(scope: Scope) -> Any:
        first = left(scope)
        return first if truth(first) else right(scope)

    return value


def _both(left: Value, right: Value) -> Value:
    def value(scope: Scope) -> Any:
        first = left(scope)
        return right(scope) if truth(first) else first

    return value


def _apply(function: Callable[[Any, Any], Any], left: Value, right: Value) -> Value:
    return lambda scope: function(left(scope), right(scope))


def _instance(left: Value, name: str) -> Value:
    kind = {"Array": list, "Object": (dict, list)}.get(name)
    if kind is None:
        raise SyntaxUnknownError(f"instanceof knows Array and Object, not {name!r}")
    return lambda scope: isinstance(left(scope), kind)  # type: ignore[arg-type]  # a type or a tuple of them


def _member(subject: Value, key: Value) -> Value:
    def value(scope: Scope) -> Any:
        whole, part = subject(scope), key(scope)
        if whole is None:
            raise ExecutionError(f"null has no member {part!r}")
        if part == "length" and isinstance(whole, str | list):
            return len(whole)
        if isinstance(whole, dict):
            return whole.get(str(part))
        if isinstance(whole, str | list) and isinstance(part, int) and not isinstance(part, bool):
            return whole[part] if 0 <= part < len(whole) else None
        return None

    return value


def _type(operand: Value, scope: Scope) -> str:
    try:
        value = operand(scope)
    except _UnboundError:
        return "undefined"
    match value:
        case None:
            return "undefined"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int() | float():
            return "number"
    return "object"


def _text(quoted: str) -> str:
    if quoted[0] == "'":
        quoted = '"' + quoted[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
    try:
        value: str = json.loads(quoted, strict=False)
    except ValueError:
        raise SyntaxUnknownError(f"{quoted} is no text") from None
    return value
