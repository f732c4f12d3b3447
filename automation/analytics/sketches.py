"""Sketches: what is kept of many values in little memory, so that it can be merged. From Apache DataSketches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Protocol

import datasketches
import numpy as np

from automation.analytics.aggregates import Aggregate

MOST_EXACT: Final = 10_000
_HLL_BITS: Final = 12
_KLL_SIZE: Final = 200
_FREQUENT_BITS: Final = 10


class Sketch(Protocol):
    """Takes values and others of its kind."""

    def add(self, values: Sequence[Any]) -> None:
        """Take values."""

    def merge(self, other: Any) -> None:
        """Take all that another one of the same aggregate took."""

    def result(self) -> Any:
        """What it says of them; None of nothing."""


class Distinct:
    """HyperLogLog of 4,096 registers."""

    def __init__(self) -> None:
        self._sketch: Final = datasketches.hll_union(_HLL_BITS)

    def add(self, values: Sequence[Any]) -> None:
        """Their texts."""
        update = self._sketch.update
        for value in values:
            update(value if isinstance(value, str) and value.isascii() else repr(value))

    def merge(self, other: Distinct) -> None:
        """Union."""
        self._sketch.update(other._sketch.get_result())

    def result(self) -> float:
        """How many different ones."""
        return float(round(self._sketch.get_estimate()))


class Quantile:
    """KLL sketch of size 200; values that are no numbers are left out."""

    def __init__(self, share: float) -> None:
        self._share: Final = share
        self._sketch: Final = datasketches.kll_doubles_sketch(_KLL_SIZE)

    def add(self, values: Sequence[Any]) -> None:
        """Numbers."""
        array = np.array([value for value in values if isinstance(value, int | float)], dtype=np.float64)
        array = array[np.isfinite(array)]
        if len(array):
            self._sketch.update(array)

    def merge(self, other: Quantile) -> None:
        """As if it had taken its values."""
        self._sketch.merge(other._sketch)

    def result(self) -> float | None:
        """The value at the share."""
        return None if self._sketch.is_empty() else float(self._sketch.get_quantile(self._share))


class Top:
    """Frequent items in at most 768 counters; a value's count is never too small."""

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._sketch: Final = datasketches.frequent_items_sketch(_FREQUENT_BITS)

    def add(self, values: Sequence[Any]) -> None:
        """Texts, or what is written as such."""
        for value in values:
            self._sketch.update(value if isinstance(value, str) else repr(value))

    def merge(self, other: Top) -> None:
        """Sum of the counts."""
        self._sketch.merge(other._sketch)

    def result(self) -> list[list[Any]]:
        """`[value, count]`, the most frequent first."""
        found = self._sketch.get_frequent_items(datasketches.frequent_items_error_type.NO_FALSE_NEGATIVES)
        ordered = sorted(((item[0], int(item[1])) for item in found), key=lambda item: (-item[1], item[0]))
        return [list(item) for item in ordered[: self._most]]


class Entropy:
    """Exact counts of up to 10,000 different values; the rest counts as one more."""

    def __init__(self) -> None:
        self._counts: Final[Counter[Any]] = Counter()

    def add(self, values: Sequence[Any]) -> None:
        """Count."""
        for value in values:
            self._note(value if isinstance(value, str | int) else repr(value), 1)

    def merge(self, other: Entropy) -> None:
        """Sum of the counts."""
        for value, count in other._counts.items():
            self._note(value, count)

    def result(self) -> float:
        """Bits."""
        total = self._counts.total()
        if not total:
            return 0.0
        return abs(math.fsum(-count / total * math.log2(count / total) for count in self._counts.values()))

    def _note(self, value: Any, count: int) -> None:
        known = value in self._counts or len(self._counts) < MOST_EXACT
        self._counts[value if known else None] += count


def new_sketch(aggregate: Aggregate) -> Any:
    """An empty sketch for an aggregate of SKETCHES."""
    match aggregate.kind:
        case "distinct":
            return Distinct()
        case "quantile":
            return Quantile(aggregate.argument)
        case "top":
            return Top(int(aggregate.argument))
    return Entropy()
