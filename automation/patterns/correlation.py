"""Correlation of two streams: Pearson's or Spearman's coefficient of their values in equal slices of a window.

Slices are aligned to the epoch. When one ends, the coefficient over the slices of the window is worked out; a match is
reported when it comes to lie beyond a threshold, and again only after it has lain within in between.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from automation.event_rows import event_row, read_row
from automation.events import SemanticEvent
from automation.globs import compile_globs
from automation.patterns.assembly import type_check
from automation.patterns.closures import Names, compile_value, compile_where
from automation.patterns.detector import key_of
from automation.patterns.interests import Concern
from automation.patterns.model import Names as NameList
from automation.patterns.model import Step, Window
from automation.patterns.outcomes import Match, Outcome, Overflow, identity
from automation.patterns.runs import Run

Method = Literal["pearson", "spearman"]
Fold = Literal["sum", "count", "avg", "min", "max", "last"]
MOST_SLICES: Final = 100_000
_NOTHING: Final[tuple[Outcome, ...]] = ()
_NO_RUN: Final = Run(None, None, 0, 0, 0)


class Series(BaseModel):
    """One stream: which events, which value of each, and how the values of one slice become one number.

    A slice without events counts as 0 for `sum` and `count`, and is left out of the pairs for the other folds.
    """

    model_config = ConfigDict(extra="forbid")

    step: str = Field(min_length=1)
    event: NameList = []
    path: NameList = []
    where: str = ""
    value: str = "1"
    fold: Fold = "sum"

    @field_validator("event")
    @classmethod
    def _types(cls, value: list[str]) -> list[str]:
        return Step.check_types(value)


class Correlation(BaseModel):
    """Two series, the window, and the thresholds; at least one of `above` and `below` is given."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    correlate: list[Series] = Field(min_length=2, max_length=2)
    method: Method = "pearson"
    within: Window = Field(description="length of the window")
    every: Window = Field(description="length of a slice")
    above: float | None = Field(None, gt=-1, le=1)
    below: float | None = Field(None, ge=-1, lt=1)
    samples: int = Field(5, ge=3, description="pairs needed before a coefficient means anything")
    by: NameList = []
    max_series: int = Field(1000, ge=1, description="partitions kept; the longest unused goes first")

    @model_validator(mode="after")
    def _consistent(self) -> Correlation:
        if self.above is None and self.below is None:
            raise ValueError("a correlation needs a threshold: above, below, or both")
        if not self.samples <= self.within // self.every <= MOST_SLICES:
            raise ValueError(f"the window must hold {self.samples} (samples) to {MOST_SLICES} slices (every)")
        if self.correlate[0].step == self.correlate[1].step:
            raise ValueError("the two series need different names (step)")
        return self

    def as_dict(self) -> dict[str, Any]:
        """The definition as YAML would hold it."""
        return self.model_dump(mode="json", exclude_defaults=True)


def pearson(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Linear correlation, None where one side does not vary."""
    mean_left, mean_right = math.fsum(left) / len(left), math.fsum(right) / len(right)
    both = math.fsum((a - mean_left) * (b - mean_right) for a, b in zip(left, right, strict=True))
    spread = math.fsum((a - mean_left) ** 2 for a in left) * math.fsum((b - mean_right) ** 2 for b in right)
    return max(-1.0, min(1.0, both / math.sqrt(spread))) if spread > 0 else None


def spearman(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Correlation of the ranks; equal values share the mean of their ranks."""
    return pearson(_ranks(left), _ranks(right))


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    out = [0.0] * len(values)
    at = 0
    while at < len(order):
        end = at
        while end < len(order) and values[order[end]] == values[order[at]]:
            end += 1
        for index in order[at:end]:
            out[index] = (at + end - 1) / 2
        at = end
    return out


_COEFFICIENTS: Final[Mapping[str, Callable[[Sequence[float], Sequence[float]], float | None]]] = {
    "pearson": pearson,
    "spearman": spearman,
}
_FOLDS: Final[
    Mapping[str, Callable[[float, float, int], float]]
] = {  # so far (the value itself at first), new value, number of values with it
    "sum": lambda old, new, count: new if count == 1 else old + new,
    "count": lambda old, new, count: count,
    "avg": lambda old, new, count: old + (new - old) / count,
    "min": lambda old, new, count: min(old, new),
    "max": lambda old, new, count: max(old, new),
    "last": lambda old, new, count: new,
}


class _Window:
    """One partition: by series, slice → (folded value, number of values); and the last events."""

    __slots__ = ("beyond", "current", "last", "slices")

    def __init__(self, current: int) -> None:
        self.current = current
        self.slices: Final[tuple[dict[int, tuple[float, int]], dict[int, tuple[float, int]]]] = ({}, {})
        self.last: Final[list[SemanticEvent | None]] = [None, None]
        self.beyond = False


class CorrelationDetector:
    """Watches one correlation; the protocol is that of `Detector`."""

    def __init__(self, definition: Correlation) -> None:
        self.definition: Final = definition
        self.name: Final = definition.name
        self.dropped = 0
        self.matched = 0
        self._readers: Final = [_Reader(series) for series in definition.correlate]
        self._slices: Final = definition.within // definition.every
        self._key: Final = key_of(definition.by)
        self._windows: Final[OrderedDict[Hashable, _Window]] = OrderedDict()

    @property
    def live(self) -> int:
        """Partitions with values in the window."""
        return len(self._windows)

    @property
    def weight(self) -> int:
        """Little: each slice of its windows is a few numbers."""
        return self.live * 200

    def concern(self) -> Concern:
        """Which events it needs to see."""
        return Concern(tuple((tuple(series.event), tuple(series.path)) for series in self.definition.correlate))

    def watch(self, seen: Callable[[Hashable, bool], None]) -> None:
        """It needs to see the same events whatever its partitions; `seen` is never called."""

    def feed(self, event: SemanticEvent, now: int | None = None) -> Sequence[Outcome]:
        """Use one event; its time is its `ts`."""
        values = [reader(event) for reader in self._readers]
        if values == [None, None]:
            return _NOTHING
        key, at = self._key(event) if self._key is not None else None, event.ts // self.definition.every
        out: list[Outcome] = []
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(at)
        elif at > window.current:
            self._close(key, window, at, event.ts, out)
            self._windows[key] = window
        for side, value in enumerate(values):
            if value is not None and at > window.current - self._slices:
                fold, found = _FOLDS[self.definition.correlate[side].fold], window.slices[side].get(at)
                old, count = (value, 1) if found is None else (found[0], found[1] + 1)
                window.slices[side][at] = (fold(old, value, count), count)
                window.last[side] = event
        self._windows.move_to_end(key)
        return [*out, *self.shed(self.live - self.definition.max_series)]

    def advance(self, now: int) -> Sequence[Outcome]:
        """Let time pass to `now` (ns): slices end."""
        out: list[Outcome] = []
        at = now // self.definition.every
        for key, window in list(self._windows.items()):
            if at > window.current:
                self._close(key, window, at, now, out)
        return out

    def watermark(self, ts: int) -> Sequence[Outcome]:
        """As `advance`: slices are kept open for the window's length anyway."""
        return self.advance(ts)

    def deadline(self) -> int | None:
        """When the first open slice ends (ns)."""
        first = min((window.current for window in self._windows.values()), default=None)
        return None if first is None else (first + 1) * self.definition.every

    def shed(self, count: int, what: Literal["partials", "bytes"] = "partials") -> list[Outcome]:
        """Give up `count` partitions, the longest unused first."""
        count = min(count, self.live)
        if count <= 0:
            return []
        for _ in range(count):
            self._windows.popitem(last=False)
        self.dropped += count
        return [Overflow(self.name, "partials", count, self.dropped)]

    def status(self) -> dict[str, Any]:
        """Counters as plain values."""
        return {"live_partials": self.live, "matched": self.matched, "dropped": self.dropped}

    def rows(self) -> Iterator[Any]:
        """All that it remembers, as rows of plain values, the first about itself."""
        windows = [
            (key, w.current, [dict(side) for side in w.slices], list(w.last), w.beyond)
            for key, w in self._windows.items()
        ]
        yield {"pattern": self.definition.as_dict(), "matched": self.matched, "dropped": self.dropped}
        for key, current, slices, last, beyond in windows:
            events = [None if event is None else event_row(event) for event in last]
            yield key, current, slices, events, beyond

    def resume(self, rows: Sequence[Any]) -> bool:
        """Take over what another remembered; False if that was of another correlation."""
        if rows[0]["pattern"] != self.definition.as_dict():
            return False
        self.matched, self.dropped = rows[0]["matched"], rows[0]["dropped"]
        for key, current, slices, events, beyond in rows[1:]:
            window = self._windows[key] = _Window(current)
            window.slices[0].update(slices[0])
            window.slices[1].update(slices[1])
            window.last[:] = [None if row is None else read_row(row) for row in events]
            window.beyond = beyond
        return True

    def _close(self, key: Hashable, window: _Window, at: int, ts: int, out: list[Outcome]) -> None:
        """End the slices before `at`, the last of which had an event; look at the window that ends with it."""
        ended, window.current = window.current, at
        found = self._coefficient(window, ended)
        beyond = found is not None and self._is_beyond(found[0])
        if beyond and not window.beyond and found is not None:
            out.append(self._match(window, found[0], found[1], ts))
        window.beyond = beyond
        for side in window.slices:
            for old in [number for number in side if number <= at - self._slices]:
                del side[old]
        if not any(window.slices):
            del self._windows[key]

    def _coefficient(self, window: _Window, ended: int) -> tuple[float, int] | None:
        known = set(window.slices[0]) | set(window.slices[1])
        first = max(min(known, default=ended), ended - self._slices + 1)
        pairs = [
            (a, b)
            for number in range(first, ended + 1)
            if (a := self._value(window, 0, number)) is not None and (b := self._value(window, 1, number)) is not None
        ]
        if len(pairs) < self.definition.samples:
            return None
        coefficient = _COEFFICIENTS[self.definition.method]([a for a, _ in pairs], [b for _, b in pairs])
        return None if coefficient is None else (coefficient, len(pairs))

    def _value(self, window: _Window, side: int, number: int) -> float | None:
        empty = 0.0 if self.definition.correlate[side].fold in ("sum", "count") else None
        found = window.slices[side].get(number)
        return empty if found is None else found[0]

    def _is_beyond(self, coefficient: float) -> bool:
        above, below = self.definition.above, self.definition.below
        return (above is not None and coefficient >= above) or (below is not None and coefficient <= below)

    def _match(self, window: _Window, coefficient: float, pairs: int, ts: int) -> Match:
        self.matched += 1
        names = [series.step for series in self.definition.correlate]
        steps = {name: [event] for name, event in zip(names, window.last, strict=True) if event is not None}
        values = {"coefficient": coefficient, "pairs": float(pairs)}
        sureness = abs(coefficient) * min(1.0, pairs / self._slices)
        return Match(self.name, identity(self.name, steps), steps, sureness, "time", ts, values)


class _Reader:
    """The value that an event adds to a series, None if it is not of the series."""

    def __init__(self, series: Series) -> None:
        self._of_type: Final = type_check(series.event)
        self._of_path: Final = compile_globs(tuple(series.path)) if series.path else None
        self._where: Final = compile_where(series.where, Names({})) if series.where else None
        self._value: Final = compile_value(series.value)

    def __call__(self, event: SemanticEvent) -> float | None:
        if self._of_type is not None and not self._of_type(event, _NO_RUN):
            return None
        if self._of_path is not None and not self._of_path(event.path):
            return None
        if self._where is not None and not self._where(event, _NO_RUN):
            return None
        value = self._value(event)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
