"""One stream: events in, a row for each window and key out.

Tumbling and sliding windows are made of panes (`panes.py`), aligned to the epoch. A window ends when the watermark
passes its end: the latest event time or the clock, less the lateness. Sessions and counts are per key: their events go
one by one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from automation.analytics.aggregates import Aggregate
from automation.analytics.batch import Batch, Booleans, Integers
from automation.analytics.extraction import getter
from automation.analytics.forms import StreamForm
from automation.analytics.panes import Pane, Slots
from automation.events import SemanticEvent, covers

IDLE: Final = 100  # windows in which nothing came, after which a key is forgotten
MOST_FILLED: Final = 1000  # windows without any event that are made up for at once
_NS: Final = 1e9


@dataclass(frozen=True, slots=True)
class Row:
    """What one window of one key came to; `start` and `end` in nanoseconds since the epoch."""

    stream: str
    key: str
    start: int
    end: int
    values: dict[str, Any]


class Stream:
    """`feed` takes events in any batches, `advance` lets time pass to `now` (ns); both give the rows of windows that
    ended. At most `max_keys` keys; further ones are counted in `dropped`, late events in `late`.
    """

    def __init__(self, name: str, form: StreamForm) -> None:
        self.name: Final = name
        self.form: Final = form
        self.taken = 0
        self.late = 0
        self.dropped = 0
        self.rows: Final[deque[Row]] = deque(maxlen=form.history)
        self._types: Final = tuple(form.events or ("analytics.window",))
        self._path: Final = tuple(form.path or ())
        self._where: Final = getter(form.where) if form.where else None
        self._key: Final = tuple(form.key)
        self._aggregates: Final[dict[str, Aggregate]] = form.aggregates
        numeric = {name: a for name, a in form.aggregates.items() if a.is_number}
        own = form.value or "1"
        expressions = list(dict.fromkeys(a.expression or own for a in numeric.values()))
        self._column: Final = {name: expressions.index(a.expression or own) for name, a in numeric.items()}
        self._numbers: Final = expressions
        self._needs: Final = [
            frozenset(a.kind for name, a in numeric.items() if self._column[name] == i) for i in range(len(expressions))
        ]
        sketches = {name: a for name, a in form.aggregates.items() if a.is_sketch}
        self._sketched: Final = [(name, a, getter(a.expression or own)) for name, a in sketches.items()]
        self._slots: Final[dict[str, int]] = {}
        self._names: Final[list[str]] = []
        self._free: Final[list[int]] = []
        self._idle: Final[dict[str, int]] = {}
        self._last: Final[dict[str, dict[str, Any]]] = {}
        self._panes: Final[dict[int, Pane]] = {}  # by number; per key windows are all in number 0
        self._open: Final[dict[int, tuple[int, int]]] = {}  # slot of a session or count → first and last time
        self._watermark = -(1 << 62)
        self._ended: int | None = None  # the last pane that ended
        self._timed: Final = form.window.pane_ns > 0

    def wants(self, type_name: str) -> bool:
        """Whether events of this type are taken."""
        return any(covers(one, type_name) for one in self._types)

    def feed(self, batch: Batch, now: int) -> list[Row]:
        """Take what is ours of a batch of events; `now` is the time by the clock."""
        ours = self._ours(batch)
        if ours is None:
            return []
        self.taken += len(ours)
        times = np.full(len(ours), now) if self.form.time == "processing" else batch.times[ours]
        if not self._timed:
            return self._one_by_one(batch, ours, times)
        self._add(batch, ours, self._slots_of(batch, ours), times)
        return self._pass(int(times.max()) - self._lateness)

    def advance(self, now: int) -> list[Row]:
        """Let time pass to `now`."""
        return self._pass(now - self._lateness)

    def deadline(self) -> int | None:
        """When `advance` has something to do, in ns; None while nothing is under way."""
        if not self._timed:
            gap = self.form.window.session
            ends = [last for _, last in self._open.values()] if gap is not None else []
            return min(ends) + round((gap or 0) * _NS) + self._lateness if ends else None
        waiting = [*self._panes, *([self._ended + 1] if self._ended is not None and self._fills else [])]
        return (min(waiting) + 1) * self.form.window.pane_ns + self._lateness if waiting else None

    def status(self) -> dict[str, Any]:
        """Plain numbers."""
        out: dict[str, Any] = {"taken": self.taken, "keys": len(self._slots), "rows": len(self.rows)}
        counts = Counter({"late": self.late, "dropped": self.dropped})
        return out | {name: count for name, count in counts.items() if count}

    @property
    def _lateness(self) -> int:
        return round(self.form.lateness * _NS)

    @property
    def _fills(self) -> bool:
        return self.form.fills and bool(self._last)

    def _ours(self, batch: Batch) -> Slots | None:
        """The positions of the events that are ours; None when there are none."""
        good = batch.of(self._types, failed=self.form.failed)
        if good is None:
            return None
        ours = np.flatnonzero(good & batch.covered(self._path) if self._path else good)
        if self._where is not None or self.form.stream is not None:
            ours = ours[[self._takes(batch.events[i]) for i in ours.tolist()]]
        return ours if len(ours) else None

    def _takes(self, event: SemanticEvent) -> bool:
        if self.form.stream is not None and event.attrs.get("stream") != self.form.stream:
            return False
        return self._where is None or self._where(event) is True

    def _slots_of(self, batch: Batch, ours: Slots) -> Slots:
        """The slot of each of our events; -1 where there are too many keys."""
        names, codes = batch.keys(self._key)
        used = codes[ours]
        slots = np.full(len(names), -1, dtype=np.intp)
        for code in np.unique(used).tolist():
            slots[code] = self._slot(names[code])
        found: Slots = slots[used]
        return found

    # Windows by time

    def _add(self, batch: Batch, ours: Slots, slots: Slots, times: Integers) -> None:
        """Put events into their panes; what is too late is left out."""
        numbers = times // self.form.window.pane_ns
        good = slots >= 0
        late = self._late(numbers, times)
        if late is not None:
            self.late += int(late.sum())
            good &= ~late
        if numbers[0] == numbers[-1] and good.all() and (numbers == numbers[0]).all():
            self._into(self._pane(int(numbers[0])), batch, ours, slots)
            return
        for number in np.unique(numbers[good]).tolist():
            chosen = good & (numbers == number)
            self._into(self._pane(number), batch, ours[chosen], slots[chosen])

    def _late(self, numbers: Integers, times: Integers) -> Booleans | None:
        """Which events come after the end of their window, by the watermark that those before them made."""
        ended = -(1 << 62) if self._ended is None else self._ended
        if (numbers[1:] >= numbers[:-1]).all():  # in order, as they come from the mount
            return None if numbers[0] > ended else np.asarray(numbers <= ended)
        passed = np.concatenate([[-(1 << 62)], np.maximum.accumulate(times)[:-1] - self._lateness])
        return np.asarray(numbers <= np.maximum(passed // self.form.window.pane_ns - 1, ended))

    def _into(self, pane: Pane, batch: Batch, ours: Slots, slots: Slots) -> None:
        pane.add(slots, [batch.numbers(source)[ours] for source in self._numbers])
        for name, aggregate, get in self._sketched:
            by_slot: dict[int, list[Any]] = {}
            for slot, i in zip(slots.tolist(), ours.tolist(), strict=True):
                value = get(batch.events[i])
                if value is not None:
                    by_slot.setdefault(slot, []).append(value)
            for slot, values in by_slot.items():
                pane.sketch(name, aggregate, slot, values)

    def _pane(self, number: int) -> Pane:
        pane = self._panes.get(number)
        if pane is None:
            pane = self._panes[number] = Pane(max(8, len(self._names)), self._needs)
        return pane

    def _pass(self, watermark: int) -> list[Row]:
        """The rows of all windows that end by `watermark`."""
        if watermark <= self._watermark:
            return []
        self._watermark = watermark
        if not self._timed:
            return self._silent(watermark)
        rows: list[Row] = []
        last = watermark // self.form.window.pane_ns - 1  # the last pane that is over
        for number in self._numbers_to_end(last):
            rows += self._end(number)
        if self._ended is not None or self._panes or rows:
            self._ended = last if self._ended is None else max(self._ended, last)
        return rows

    def _numbers_to_end(self, last: int) -> Iterable[int]:
        panes = self.form.window.panes
        known = sorted({number + i for number in self._panes for i in range(panes) if number + i <= last})
        fresh = [number for number in known if self._ended is None or number > self._ended]
        if not self.form.fills or (self._ended is None and not fresh):
            return fresh
        first = fresh[0] if self._ended is None else self._ended + 1
        return range(max(first, last - MOST_FILLED + 1), last + 1)

    def _end(self, number: int) -> list[Row]:
        """The rows of the window whose last pane is `number`."""
        window, panes = self.form.window, self.form.window.panes
        parts = [self._panes[i] for i in range(number - panes + 1, number + 1) if i in self._panes]
        if panes == 1:
            pane = parts[0] if parts else None
        else:
            pane = Pane(max(8, len(self._names)), self._needs)
            for part in parts:
                pane.merge(part, self._aggregates)
        start, end = (number - panes + 1) * window.pane_ns, (number + 1) * window.pane_ns
        rows = [] if pane is None else [self._row(pane, int(slot), start, end) for slot in pane.present()]
        rows += self._filled({row.key for row in rows}, start, end)
        self._panes.pop(number - panes + 1, None)
        self.rows.extend(rows)
        return rows

    def _row(self, pane: Pane, slot: int, start: int, end: int) -> Row:
        seconds = (end - start) / _NS
        values = {
            name: pane.value(name, aggregate, self._column.get(name, 0), slot, seconds)
            for name, aggregate in self._aggregates.items()
        }
        key = self._names[slot]
        if self.form.fills:
            self._last[key] = values
        self._idle[key] = 0
        return Row(self.name, key, start, end, values)

    def _filled(self, there: set[str], start: int, end: int) -> list[Row]:
        """Rows for the known keys that had no events, and farewell to those that have been silent for long."""
        rows = []
        for key in [key for key in self._slots if key not in there]:
            self._idle[key] = self._idle.get(key, 0) + 1
            if key in self._last:
                last = self._last[key]
                values = {name: self.form.empty(name, last.get(name)) for name in self._aggregates}
                rows.append(Row(self.name, key, start, end, values))
            if self._idle[key] > IDLE:
                self._forget(key)
        return rows

    # Keys

    def _slot(self, key: str) -> int:
        """The number of a key; -1 when there are too many."""
        slot = self._slots.get(key)
        if slot is None:
            if len(self._slots) >= self.form.max_keys:
                self.dropped += 1
                return -1
            if self._free:
                slot = self._free.pop()
                self._names[slot] = key
            else:
                slot = len(self._names)
                self._names.append(key)
            self._slots[key] = slot
        return slot

    def _forget(self, key: str) -> None:
        slot = self._slots.pop(key)
        for pane in self._panes.values():
            pane.clear(slot)
        self._free.append(slot)
        self._idle.pop(key, None)
        self._last.pop(key, None)

    # Windows by key

    def _one_by_one(self, batch: Batch, ours: Slots, times: Integers) -> list[Row]:
        rows: list[Row] = []
        names, codes = batch.keys(self._key)
        for at, (i, ts) in enumerate(zip(ours.tolist(), times.tolist(), strict=True)):
            rows += self._pass(ts - self._lateness)
            slot = self._slot(names[codes[i]])
            if slot < 0:
                continue
            first, last = self._open.get(slot, (ts, ts))
            self._open[slot] = (min(first, ts), max(last, ts))
            pane = self._pane(0)
            self._into(pane, batch, ours[at : at + 1], np.array([slot], dtype=np.intp))
            if self.form.window.count is not None and pane.events[slot] >= self.form.window.count:
                rows.append(self._finish(slot))
        return rows

    def _silent(self, watermark: int) -> list[Row]:
        """The sessions that are over."""
        gap = self.form.window.session
        if gap is None:
            return []
        over = [slot for slot, (_, last) in self._open.items() if last + round(gap * _NS) <= watermark]
        return [self._finish(slot) for slot in over]

    def _finish(self, slot: int) -> Row:
        start, end = self._open.pop(slot)
        pane = self._panes[0]
        row = self._row(pane, slot, start, end)
        pane.clear(slot)
        if self.form.window.session is not None:
            self._forget(row.key)
        self.rows.append(row)
        return row
