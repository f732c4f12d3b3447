"""The aggregates of a window, as a definition writes them: `count`, `mean(event.size)`, `top(5, event.path)`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from automation.expressions import compile_expression, nearest

NUMBERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "count": "events in the window",
        "rate": "events a second",
        "sum": "total of the values",
        "mean": "their mean",
        "min": "the least",
        "max": "the greatest",
        "variance": "their variance (of a sample)",
        "stddev": "its square root",
        "first": "the first value",
        "last": "the last value",
    }
)
SKETCHES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "distinct": "how many different values (HyperLogLog, 2 % of standard error)",
        "quantile": "the value that this share stays below (KLL, 1.7 % of rank error)",
        "median": "quantile(0.5)",
        "top": "the most frequent values, each with its count (frequent items)",
        "entropy": "Shannon's entropy of the values in bits (exact up to 10,000 different ones)",
    }
)
ARGUMENT: Final = ("quantile", "top")
EMPTY_IS_ZERO: Final = frozenset({"count", "rate", "sum", "distinct", "entropy"})
_FORM: Final = re.compile(r"\s*([a-z]+)\s*(?:\((.*)\))?\s*\Z", re.DOTALL)
_NUMBER: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:,(.*))?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`kind` of NUMBERS or SKETCHES, its argument, and the expression of its values (empty: the stream's own)."""

    kind: str
    argument: float = 0.0
    expression: str = ""

    @property
    def is_number(self) -> bool:
        """Whether it is of the statistics of a number."""
        return self.kind in NUMBERS and self.kind not in ("count", "rate")

    @property
    def is_sketch(self) -> bool:
        """Whether it takes more than a few numbers to keep."""
        return self.kind in SKETCHES


def parse_aggregate(text: Any) -> Aggregate:
    """The aggregate of a text; ValueError says what would be right."""
    found = _FORM.match(text) if isinstance(text, str) else None
    kind = found[1] if found else ""
    if found is None or kind not in (*NUMBERS, *SKETCHES):
        known = ", ".join((*NUMBERS, *SKETCHES))
        raise ValueError(f"there is no aggregate {text!r}{nearest(kind, (*NUMBERS, *SKETCHES))}; they are {known}")
    inner, argument = (found[2] or "").strip(), 0.0
    if kind in ARGUMENT:
        number = _NUMBER.match(inner)
        if number is None:
            example = "quantile(0.99)" if kind == "quantile" else "top(5, event.path)"
            raise ValueError(f"{kind} needs a number first, for instance {example}")
        argument, inner = float(number[1]), (number[2] or "").strip()
    if kind == "median":
        kind, argument = "quantile", 0.5
    _check(kind, argument, inner)
    return Aggregate(kind, argument, inner)


def _check(kind: str, argument: float, expression: str) -> None:
    if kind == "quantile" and not 0 < argument < 1:
        raise ValueError(f"a quantile lies between 0 and 1, not at {argument:g}")
    if kind == "top" and not (argument.is_integer() and 1 <= argument <= 100):
        raise ValueError(f"top takes 1 to 100, not {argument:g}")
    if kind in ("count", "rate") and expression:
        raise ValueError(f"{kind} counts events, it takes no expression; count some of them by `where` of the stream")
    if expression:
        compile_expression(expression)
