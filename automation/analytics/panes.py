"""A pane: what one stretch of time holds, for all keys at once, in arrays; whole windows are merged panes.

Keys are small integers here (slots). A batch of events is added in some twenty numpy operations whatever its length:
see `bench/analytics.py`. Variance is Chan's parallel form of Welford's method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from automation.analytics.aggregates import Aggregate
from automation.analytics.sketches import new_sketch

Floats = npt.NDArray[np.float64]
Slots = npt.NDArray[np.intp]
MOMENTS: Final = frozenset({"variance", "stddev"})
EXTREMES: Final = frozenset({"min", "max"})
ENDS: Final = frozenset({"first", "last"})


class Column:
    """Statistics of one value by slot: how many, mean, sum of squared differences, extremes, first and last; only those
    that the aggregates of `needs` take are kept up.
    """

    __slots__ = ("count", "first", "high", "last", "low", "m2", "mean", "needs", "total")

    def __init__(self, slots: int, needs: frozenset[str]) -> None:
        self.needs = needs
        self.count = np.zeros(slots)
        self.total = np.zeros(slots)
        self.mean = np.zeros(slots)
        self.m2 = np.zeros(slots)
        self.low = np.full(slots, np.inf)
        self.high = np.full(slots, -np.inf)
        self.first = np.full(slots, np.nan)
        self.last = np.full(slots, np.nan)

    def grow(self, slots: int) -> None:
        """Make room."""
        more = Column(slots - len(self.count), self.needs)
        for name in self.__slots__:
            if name != "needs":
                setattr(self, name, np.concatenate([getattr(self, name), getattr(more, name)]))

    def add(self, slots: Slots, values: Floats) -> None:
        """Take a value for each slot of a batch, NaN for none."""
        good = ~np.isnan(values)
        if not good.all():
            slots, values = slots[good], values[good]
        if not len(slots):
            return
        if len(self.count) > 4 * len(slots):
            self._add_few(slots, values)
            return
        size = len(self.count)
        count: Floats = np.bincount(slots, minlength=size).astype(np.float64)
        total = _sums(slots, values, size)
        mean: Floats = np.divide(total, count, out=np.zeros(size), where=count > 0)
        m2 = _sums(slots, (values - mean[slots]) ** 2, size) if self.needs & MOMENTS else np.zeros(size)
        if self.needs & EXTREMES:
            np.minimum.at(self.low, slots, values)
            np.maximum.at(self.high, slots, values)
        if self.needs & ENDS:
            firsts, where = np.unique(slots, return_index=True)
            new = self.count[firsts] == 0
            self.first[firsts[new]] = values[where[new]]
            self.last[slots] = values  # of equal slots the last assignment stays
        self._combine(count, total, mean, m2)

    def _add_few(self, slots: Slots, values: Floats) -> None:
        """The same where the batch has few of many slots: only those are touched."""
        used, inverse = np.unique(slots, return_inverse=True)
        few = Column(len(used), self.needs)
        few.add(inverse.astype(np.intp, copy=False), values)
        mine = self.part(used)
        mine.merge(few)
        for name in self.__slots__:
            if name != "needs":
                getattr(self, name)[used] = getattr(mine, name)

    def part(self, slots: Slots) -> Column:
        """A column of these slots alone."""
        out = Column(0, self.needs)
        for name in self.__slots__:
            if name != "needs":
                setattr(out, name, getattr(self, name)[slots])
        return out

    def merge(self, other: Column) -> None:
        """Take what another column, of later events, holds."""
        if len(other.count) < len(self.count):
            other.grow(len(self.count))
        size = len(self.count)
        np.minimum(self.low, other.low[:size], out=self.low)
        np.maximum(self.high, other.high[:size], out=self.high)
        there = other.count[:size] > 0
        self.first = np.where(self.count > 0, self.first, other.first[:size])
        self.last = np.where(there, other.last[:size], self.last)
        self._combine(other.count[:size], other.total[:size], other.mean[:size], other.m2[:size])

    def _combine(self, count: Floats, total: Floats, mean: Floats, m2: Floats) -> None:
        both = self.count + count
        share = np.divide(count, both, out=np.zeros(len(both)), where=both > 0)
        delta = mean - self.mean
        self.m2 += m2 + delta**2 * self.count * share
        self.mean += delta * share
        self.total += total
        self.count = both

    def clear(self, slot: int) -> None:
        """Forget a slot."""
        self.count[slot] = self.total[slot] = self.mean[slot] = self.m2[slot] = 0.0
        self.low[slot], self.high[slot] = np.inf, -np.inf
        self.first[slot] = self.last[slot] = np.nan


class Pane:
    """`events` counts by slot; `columns` are the numeric expressions, `sketches` are by aggregate and slot."""

    __slots__ = ("columns", "events", "sketches")

    def __init__(self, slots: int, needs: Sequence[frozenset[str]]) -> None:
        self.events = np.zeros(slots)
        self.columns: Final = [Column(slots, one) for one in needs]
        self.sketches: Final[dict[tuple[str, int], Any]] = {}

    def add(self, slots: Slots, columns: Sequence[Floats]) -> None:
        """Take a batch: the slot of each event, and its value in each column."""
        need = int(slots.max()) + 1
        if need > len(self.events):
            self._grow(max(need, 2 * len(self.events)))
        np.add.at(self.events, slots, 1.0)
        for column, values in zip(self.columns, columns, strict=True):
            column.add(slots, values)

    def sketch(self, name: str, aggregate: Aggregate, slot: int, values: Sequence[Any]) -> None:
        """Take values of one slot for one sketch."""
        found = self.sketches.get((name, slot))
        if found is None:
            found = self.sketches[name, slot] = new_sketch(aggregate)
        found.add(values)

    def merge(self, other: Pane, aggregates: Mapping[str, Aggregate]) -> None:
        """Take what a later pane holds; that one stays as it is."""
        if len(other.events) > len(self.events):
            self._grow(len(other.events))
        self.events[: len(other.events)] += other.events
        for mine, theirs in zip(self.columns, other.columns, strict=True):
            mine.merge(theirs)
        for (name, slot), sketch in other.sketches.items():
            found = self.sketches.get((name, slot))
            if found is None:
                found = self.sketches[name, slot] = new_sketch(aggregates[name])
            found.merge(sketch)

    def present(self) -> Slots:
        """The slots that have events."""
        return np.flatnonzero(self.events)

    def clear(self, slot: int) -> None:
        """Forget a slot."""
        if slot < len(self.events):
            self.events[slot] = 0.0
            for column in self.columns:
                column.clear(slot)
            for key in [key for key in self.sketches if key[1] == slot]:
                del self.sketches[key]

    def value(self, name: str, aggregate: Aggregate, column: int, slot: int, seconds: float) -> Any:
        """An aggregate of a slot; None where there is nothing to say."""
        if aggregate.is_sketch:
            sketch = self.sketches.get((name, slot))
            return None if sketch is None else sketch.result()
        if aggregate.kind == "count":
            return int(self.events[slot])
        if aggregate.kind == "rate":
            return float(self.events[slot] / seconds) if seconds else None
        return _number(self.columns[column], aggregate.kind, slot)

    def _grow(self, slots: int) -> None:
        self.events = np.concatenate([self.events, np.zeros(slots - len(self.events))])
        for column in self.columns:
            column.grow(slots)


def _sums(slots: Slots, values: Floats, size: int) -> Floats:
    """The total of the values of each slot."""
    return np.bincount(slots, weights=values, minlength=size).astype(np.float64, copy=False)


def _number(column: Column, kind: str, slot: int) -> float | None:
    count = column.count[slot]
    if kind == "sum":
        return float(column.total[slot])
    if not count:
        return None
    match kind:
        case "mean":
            return float(column.mean[slot])
        case "min":
            return float(column.low[slot])
        case "max":
            return float(column.high[slot])
        case "first":
            return float(column.first[slot])
        case "last":
            return float(column.last[slot])
    variance = float(column.m2[slot] / (count - 1)) if count > 1 else 0.0
    return variance if kind == "variance" else variance**0.5
