"""The seed's ten comparison operators over JSON values, with a tolerance for numbers."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

from automation.expressions import nearest

Operator = Literal[
    "equal",
    "not_equal",
    "greater_than",
    "less_than",
    "greater_than_or_equal",
    "less_than_or_equal",
    "contains",
    "starts_with",
    "ends_with",
    "matches",
]
SYMBOLS: Final[Mapping[str, Operator]] = MappingProxyType(
    {
        "==": "equal",
        "=": "equal",
        "!=": "not_equal",
        ">": "greater_than",
        "<": "less_than",
        ">=": "greater_than_or_equal",
        "<=": "less_than_or_equal",
    }
)
ORDERINGS: Final[Mapping[str, Callable[[Any, Any], bool]]] = MappingProxyType(
    {
        "greater_than": operator.gt,
        "less_than": operator.lt,
        "greater_than_or_equal": operator.ge,
        "less_than_or_equal": operator.le,
    }
)
_NAMES: Final[Mapping[str, Operator]] = MappingProxyType(
    {
        **SYMBOLS,
        "equal": "equal",
        "equals": "equal",
        "notequal": "not_equal",
        "notequals": "not_equal",
        "greaterthan": "greater_than",
        "lessthan": "less_than",
        "greaterthanorequal": "greater_than_or_equal",
        "lessthanorequal": "less_than_or_equal",
        "contains": "contains",
        "startswith": "starts_with",
        "endswith": "ends_with",
        "matches": "matches",
    }
)


def parse_operator(text: object) -> Operator:
    """The operator of a name in any spelling (`greater_than`, `GreaterThan`) or a symbol (`>`); ValueError for none."""
    plain = str(text).strip()
    found = _NAMES.get(plain) or _NAMES.get(plain.lower().replace("_", "").replace(" ", ""))
    if found is None:
        known = ("equal", "not_equal", *ORDERINGS, "contains", "starts_with", "ends_with", "matches")
        raise ValueError(f"there is no operator {plain!r}{nearest(plain, known)}; they are {', '.join(known)}")
    return found


def check_operands(name: Operator, value: Any, tolerance: float) -> None:
    """ValueError when the operator cannot be used with that value or tolerance."""
    if name in ORDERINGS and not (_is_number(value) or isinstance(value, str)):
        raise ValueError(f"{name} compares with a number or a text, not {value!r}")
    if name in ("starts_with", "ends_with", "matches") and not isinstance(value, str):
        raise ValueError(f"{name} compares with a text, not {value!r}")
    if name == "matches":
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from None
    if tolerance and not (_is_number(value) and name in (*ORDERINGS, "equal", "not_equal")):
        raise ValueError("a tolerance goes with a comparison of numbers")


def holds(name: Operator, actual: Any, value: Any, tolerance: float = 0.0, *, held: bool = False) -> bool:
    """Whether `actual` compares with `value` as the operator says; false where the two cannot be compared.

    For equality the tolerance is how far apart equal numbers may lie. For an order it is a dead band: what `held` goes
    on holding until the number has gone back by more than the tolerance.
    """
    if name == "equal":
        return _equal(actual, value, tolerance)
    if name == "not_equal":
        return not _equal(actual, value, tolerance)
    if name in ORDERINGS:
        return _ordered(name, actual, value, tolerance if held else 0.0)
    return _contains(actual, value) if name == "contains" else _text(name, actual, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(actual: Any, value: Any, tolerance: float) -> bool:
    if _is_number(actual) and _is_number(value):
        return bool(abs(actual - value) <= tolerance)
    return bool(type(actual) is type(value) and actual == value)


def _ordered(name: str, actual: Any, value: Any, slack: float) -> bool:
    if _is_number(actual) and _is_number(value):
        band = -slack if name.startswith("greater") else slack
        return ORDERINGS[name](actual, value + band)
    return isinstance(actual, str) and isinstance(value, str) and ORDERINGS[name](actual, value)


def _contains(actual: Any, value: Any) -> bool:
    if isinstance(actual, str):
        return isinstance(value, str) and value in actual
    return isinstance(actual, list | dict) and any(_equal(item, value, 0.0) for item in actual)


def _text(name: str, actual: Any, value: str) -> bool:
    if not isinstance(actual, str):
        return False
    if name == "starts_with":
        return actual.startswith(value)
    if name == "ends_with":
        return actual.endswith(value)
    return re.search(value, actual[:MOST_TEXT]) is not None


MOST_TEXT: Final = 10_000  # characters that a regular expression looks at
