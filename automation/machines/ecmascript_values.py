"""The values of ECMAScript expressions in SCXML: what operators and methods make of them.

`undefined` is `null` (None). Whole numbers stay whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from automation.machines.scope import ExecutionError


def truth(value: Any) -> bool:
    """Whether a value counts as true: all but false, 0, NaN, the empty text and null."""
    if isinstance(value, list | dict):
        return True
    return bool(value) and value == value


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    if isinstance(left, list | dict) or isinstance(right, list | dict):
        return left is right or (type(left) is type(right) and left == right)
    return bool(left == right)


def _alike(left: Any, right: Any) -> bool:
    if left is not None and right is not None and isinstance(left, str) is not isinstance(right, str):
        one, other = (left, right) if isinstance(left, str) else (right, left)
        return isinstance(other, int | float) and number(one) == other
    if isinstance(left, bool) is not isinstance(right, bool):
        return isinstance(left, int | float) and isinstance(right, int | float) and left == right
    return _same(left, right)


def number(value: Any) -> int | float:
    """A value as a number, NaN where it is none."""
    match value:
        case bool():
            return int(value)
        case int() | float():
            return value
        case str():
            try:
                return numeral(value.strip()) if value.strip() else 0
            except ValueError:
                return math.nan
    return math.nan


def numeral(text: str) -> int | float:
    """A number as it is written; ValueError when the text is none."""
    try:
        return int(text, 16) if text[:2].lower() == "0x" else int(text)
    except ValueError:
        return float(text)


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str | list | dict) or isinstance(right, str | list | dict):
        out = _written(left) + _written(right)
        if len(out) > 1 << 16:
            raise ExecutionError("the text is longer than 64 KiB")
        return out
    return number(left) + number(right)


def _written(value: Any) -> str:
    match value:
        case None:
            return "undefined"
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case list():
            return ",".join(_written(item) for item in value)
        case dict():
            return "[object Object]"
    return str(value)


def _divide(left: Any, right: Any) -> Any:
    a, b = number(left), number(right)
    if b == 0:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a)
    out = a / b
    return int(out) if out.is_integer() and abs(out) < 2**53 else out


def _remainder(left: Any, right: Any) -> Any:
    a, b = number(left), number(right)
    if b == 0 or math.isinf(a):
        return math.nan
    out = math.fmod(a, b)
    return int(out) if isinstance(a, int) and isinstance(b, int) else out


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            return test(left, right)
        return test(number(left), number(right))

    return compare


def _contains(key: Any, whole: Any) -> bool:
    if not isinstance(whole, dict | list):
        raise ExecutionError("'in' needs an object or a list")
    return str(key) in whole if isinstance(whole, dict) else 0 <= number(key) < len(whole)


BINARY: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "===": _same,
    "!==": lambda a, b: not _same(a, b),
    "==": _alike,
    "!=": lambda a, b: not _alike(a, b),
    "<": _ordered(lambda a, b: bool(a < b)),
    "<=": _ordered(lambda a, b: bool(a <= b)),
    ">": _ordered(lambda a, b: bool(a > b)),
    ">=": _ordered(lambda a, b: bool(a >= b)),
    "in": _contains,
    "+": _add,
    "-": lambda a, b: number(a) - number(b),
    "*": lambda a, b: number(a) * number(b),
    "/": _divide,
    "%": _remainder,
}


def _concat(whole: Any, *parts: Any) -> Any:
    if isinstance(whole, str):
        return whole + "".join(map(_written, parts))
    out = list(whole)
    for part in parts:
        out += part if isinstance(part, list) else [part]
    return out


def _index(whole: Any, part: Any) -> int:
    if isinstance(whole, str):
        return whole.find(part)
    return whole.index(part) if part in whole else -1


def _elements(whole: Any, name: str) -> list[Any]:
    """All elements called so in an element of data, in document order."""
    found: list[Any] = []
    for child in whole["children"]:
        found += [child] if child["tagName"] == name else []
        found += _elements(child, name)
    return found


METHODS: Final[Mapping[str, Callable[..., Any]]] = {
    "concat": _concat,
    "includes": lambda whole, part: part in whole,
    "indexOf": lambda whole, part: (
        whole.find(part) if isinstance(whole, str) else (whole.index(part) if part in whole else -1)
    ),
    "startsWith": lambda whole, part: whole.startswith(part),
    "endsWith": lambda whole, part: whole.endswith(part),
    "slice": lambda whole, start=0, end=None: whole[start:end],
    "toLowerCase": lambda whole: whole.lower(),
    "toUpperCase": lambda whole: whole.upper(),
    "trim": lambda whole: whole.strip(),
    "toString": _written,
    "hasOwnProperty": lambda whole, key: str(key) in whole,
    "getElementsByTagName": _elements,
    "getAttribute": lambda whole, name: whole["attributes"].get(name),
    "join": lambda whole, between=",": between.join(map(_written, whole)),
}
