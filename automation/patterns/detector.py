"""One pattern at work: partitions, time and bounds around the matcher. Plain code without clock, task or file."""

from __future__ import annotations

import heapq
import json
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final, Literal

from automation.event_rows import event_row, read_row
from automation.events import SemanticEvent
from automation.patterns.assembly import assemble, type_check
from automation.patterns.automaton import Action
from automation.patterns.closures import compile_value
from automation.patterns.interests import Concern, concern_of, stream_types
from automation.patterns.matcher import Matcher, Partition
from automation.patterns.model import Pattern
from automation.patterns.ordering import Reorder
from automation.patterns.outcomes import Expired, Late, Match, Outcome, Overflow, confidence, identity
from automation.patterns.runs import Run, events_by_step
from automation.patterns.skipping import Skip
from automation.patterns.snapshots import freeze, partition_rows, read_partitions

RUN_BYTES: Final = 160  # a run and its place in the list
NODE_BYTES: Final = 900  # a node, and the event that it keeps alive
WEIGH_EVERY: Final = 1024  # events between two estimates of memory, or sooner:
WEIGH_ABOVE: Final = 64  # when there are more partial matches than this, and twice as many as at the last
_NOTHING: Final[tuple[Outcome, ...]] = ()
_PLAIN: Final = (str, int, float, type(None))
_SCALARS: Final = frozenset(
    ("path", "pid", "uid", "gid", "inode", "type", "comm", "tenant")
)  # fields that are hashable


class Detector:
    """Finds one pattern in the stream. An event's time is its `ts`; the clock only says how late it is.

    At most `max_partials` partial matches of about `max_bytes` are kept; beyond that the oldest are given up, counted
    and reported as `Overflow`. Raises SkipError where a strict skip strategy is violated.
    """

    def __init__(self, pattern: Pattern) -> None:
        self.pattern: Final = pattern
        self.name: Final = pattern.name
        self.dropped = 0
        self.matched = 0
        self.expired = 0
        self._automaton: Final = assemble(pattern)
        self._matcher: Final = Matcher(
            self._automaton, Skip(pattern.skip.strategy, pattern.skip.to, pattern.skip.strict)
        )
        self._in_stream: Final = type_check(stream_types(pattern))
        self._key: Final = key_of(pattern.by)
        self._positive: Final = sum(not step.absent for step in pattern.walk())
        self._reorder: Final = Reorder(pattern.lateness, pattern.max_partials) if pattern.time == "event" else None
        self._partitions: dict[Hashable, Partition] = {}
        self._deadlines: list[tuple[int, int, Hashable]] = []
        self._begun: deque[tuple[int, Hashable]] = deque()
        self._seen: Callable[[Hashable, bool], None] | None = None
        self._said: dict[str, Any] | None = None
        self._order = 0
        self._weigh_at = WEIGH_ABOVE
        self._each = float(RUN_BYTES + NODE_BYTES)  # of memory, when it was weighed last
        self._live = 0

    def concern(self) -> Concern:
        """Which events it needs to see."""
        return concern_of(self.pattern)

    def watch(self, seen: Callable[[Hashable, bool], None]) -> None:
        """Have `seen(key, True)` called when a partition begins, `seen(key, False)` when it ends."""
        self._seen = seen
        for key in self._partitions:
            seen(key, True)

    @property
    def live(self) -> int:
        """Partial matches now, and matches that wait for an earlier one to be decided."""
        return self._live

    @property
    def weight(self) -> int:
        """About how many bytes the partial matches take."""
        return round(self._live * self._each)

    @property
    def late(self) -> int:
        """Events that came too late."""
        return self._reorder.late if self._reorder is not None else 0

    @property
    def held(self) -> int:
        """Distinct events that partial matches hold."""
        seen: set[int] = set()
        for partition in self._partitions.values():
            for run in (*partition.runs, *partition.complete):
                node = run.node
                while node is not None:
                    seen.add(node.order)
                    node = node.parent
        return len(seen)

    def feed(self, event: SemanticEvent, now: int | None = None) -> Sequence[Outcome]:
        """Use one event. `now` (ns) is the protocol of detectors; the event's own `ts` is what counts here."""
        if self._in_stream is not None and not self._in_stream(event, None):  # type: ignore[arg-type]  # looks at no run
            return _NOTHING
        if self._reorder is None:
            return self._process(event)
        hurried = self._reorder.hurried
        if not self._reorder.accept(event):
            return (Late(self.name, event, self._reorder.late),)
        out = self._catch_up()
        if self._reorder.hurried > hurried:
            out.append(Overflow(self.name, "buffered", 1, self._reorder.hurried))
        return out

    def advance(self, now: int) -> Sequence[Outcome]:
        """Let time pass to `now` (ns): absences that are due, partial matches that run out of time.

        In event time the watermark follows, `lateness` behind; without a lateness it only comes from `watermark`.
        """
        if self._reorder is not None:
            return _NOTHING if self.pattern.lateness is None else self.watermark(now - self.pattern.lateness - 1)
        out: list[Outcome] = []
        self._expire(now, out)
        return out

    def watermark(self, ts: int) -> Sequence[Outcome]:
        """In event time: nothing with this `ts` (ns) or an older one comes any more. No effect in order of arrival."""
        if self._reorder is None:
            return _NOTHING
        self._reorder.promise(ts)
        return self._catch_up()

    def deadline(self) -> int | None:
        """When `advance` should be called next (ns), None if nothing waits for time."""
        while self._deadlines and self._stale(*self._deadlines[0]):
            heapq.heappop(self._deadlines)
        first = self._deadlines[0][0] if self._deadlines else None
        if self._reorder is None:
            return first
        waiting = [at for at in (first, self._reorder.earliest) if at is not None]
        lateness = self.pattern.lateness
        return min(waiting) + lateness + 1 if waiting and lateness is not None else None

    def status(self) -> dict[str, Any]:
        """Counters as plain values."""
        return {
            "live_partials": self._live,
            "events_held": self.held,
            "partitions": len(self._partitions),
            "matched": self.matched,
            "timed_out": self.expired,
            "late": self.late,
            "dropped": self.dropped,
        }

    def standing(self, limit: int) -> list[dict[str, Any]]:
        """Where partial matches stand, those of the newest partitions first: event numbers by step, and the steps that
        may come next (none: the end of the window is awaited).
        """
        out: list[dict[str, Any]] = []
        labels = self._automaton.labels
        for key, partition in reversed(self._partitions.items()):
            for run in partition.runs:
                if len(out) >= limit:
                    return out
                moves = [move for move in run.state.moves if move.action is Action.TAKE and move.label >= 0]
                one: dict[str, Any] = {"by": key} if self._key is not None else {}
                one["has"] = {n: [e.seq for e in events] for n, events in events_by_step(run, labels).items()}
                one["waits_for"] = list(dict.fromkeys(labels[move.label] for move in moves)) or "the end of the window"
                deadline = self._matcher.deadline(run)
                out.append(one | ({"until_ns": deadline} if deadline is not None else {}))
        return out

    def rows(self) -> Iterator[Any]:
        """All that it remembers, as rows of plain values, the first of them about itself; `resume` of a detector of the
        same pattern goes on from there.
        """
        frozen, reorder = freeze(self._partitions), self._reorder
        about: dict[str, Any] = {"order": self._order, "matched": self.matched}
        about |= {"expired": self.expired, "dropped": self.dropped}
        if reorder is not None:
            waiting = [event_row(event) for event in reorder.waiting]
            about |= {"watermark": reorder.watermark, "late": reorder.late, "waiting": waiting}
        if self._said is None:
            self._said = self.pattern.as_dict()
        yield about | {"pattern": self._said}
        yield from partition_rows(frozen, self._automaton)

    def resume(self, rows: Sequence[Any]) -> bool:
        """Take over what another remembered, before the first event. False, and nothing is taken, if that was of
        another pattern.
        """
        about = rows[0]
        if about["pattern"] != self.pattern.as_dict():
            return False
        self._order, self.matched = about["order"], about["matched"]
        self.expired, self.dropped = about["expired"], about["dropped"]
        for key, partition in read_partitions(rows[1:], self._automaton):
            self._partitions[key] = partition
            if self._seen is not None:
                self._seen(key, True)
            self._account(key, partition, 0)
        begun = {(run.order, key) for key, partition in self._partitions.items() for run in partition.runs}
        self._begun.extend(sorted(begun, key=lambda entry: entry[0]))
        if self._reorder is not None:
            self._reorder.resume(about["watermark"], about["late"], [read_row(row) for row in about["waiting"]])
        return True

    # --- time ---

    def _catch_up(self) -> list[Outcome]:
        assert self._reorder is not None
        out: list[Outcome] = []
        for event in self._reorder.ready():
            out.extend(self._process(event))
        self._expire(self._reorder.watermark, out)
        return out

    def _expire(self, now: int, out: list[Outcome]) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            due, number, key = heapq.heappop(self._deadlines)
            if self._stale(due, number, key):
                continue
            partition = self._partitions[key]
            partition.due = None
            before = partition.live
            matches, expired = self._matcher.expire(partition, now)
            out.extend(self._matches(matches, "time", now))
            self.expired += len(expired)
            if self.pattern.timeouts:
                out.extend(self._expired(run, now) for run in expired)
            self._account(key, partition, before)

    def _stale(self, due: int, number: int, key: Hashable) -> bool:
        partition = self._partitions.get(key)
        return partition is None or partition.due != due

    def _schedule(self, key: Hashable, partition: Partition) -> None:
        deadline = self._matcher.first_deadline(partition)
        if deadline is None or (partition.due is not None and partition.due <= deadline):
            return
        partition.due = deadline
        heapq.heappush(self._deadlines, (deadline, self._order, key))
        if len(self._deadlines) > 2 * len(self._partitions) + 1000:
            self._deadlines = [entry for entry in self._deadlines if not self._stale(*entry)]
            heapq.heapify(self._deadlines)

    # --- events ---

    def _process(self, event: SemanticEvent) -> Sequence[Outcome]:
        out: list[Outcome] = []
        if self._deadlines and self._deadlines[0][0] <= event.ts:
            self._expire(event.ts, out)
        key = self._key(event) if self._key is not None else None
        partition = self._partitions.get(key)
        if partition is None:
            if not self._matcher.begins(event):
                return out
            partition = self._partitions[key] = Partition()
            if self._seen is not None:
                self._seen(key, True)
        self._order += 1
        before = partition.live
        matches = self._matcher.feed(partition, event, self._order)
        if matches:
            out.extend(self._matches(matches, "event", event.ts))
        if partition.runs and partition.runs[-1].order == self._order:
            self._begun.append((self._order, key))
        self._account(key, partition, before)
        if self._live > self.pattern.max_partials:
            out.extend(self._shed(self._live - self.pattern.max_partials, "partials"))
        elif self._live > self._weigh_at or self._order % WEIGH_EVERY == 0:
            out.extend(self._weigh())
        return out

    def _account(self, key: Hashable, partition: Partition, before: int) -> None:
        live = partition.live
        self._live += live - before
        if live == 0:
            del self._partitions[key]
            if self._seen is not None:
                self._seen(key, False)
        elif partition.runs:
            self._schedule(key, partition)

    def _matches(self, runs: Sequence[Run], on: Literal["event", "time"], ts: int) -> list[Match]:
        out = []
        for run in runs:
            steps = events_by_step(run, self._automaton.labels)
            sureness = confidence(
                steps,
                positive=self._positive,
                missing=self._missing(steps),
                span=run.previous - run.start,
                within=self._automaton.within,
            )
            if sureness >= self.pattern.min_confidence:
                out.append(Match(self.name, identity(self.name, steps), steps, sureness, on, ts))
        self.matched += len(out)
        return out

    def _missing(self, steps: dict[str, list[SemanticEvent]]) -> int:
        return sum(step.optional and step.step not in steps for step in self.pattern.walk() if not step.absent)

    def _expired(self, run: Run, now: int) -> Expired:
        steps = events_by_step(run, self._automaton.labels)
        return Expired(self.name, identity(self.name, steps), steps, self._matcher.overrun(run, now))

    # --- bounds ---

    def _weigh(self) -> list[Outcome]:
        """Compare an upper estimate of memory with the bound; shared events are counted once for each run."""
        total = self._bytes()
        self._weigh_at = max(WEIGH_ABOVE, 2 * self._live)
        self._each = total / self._live if self._live else self._each
        if total <= self.pattern.max_bytes:
            return []
        share = 1 - self.pattern.max_bytes / total
        return self._shed(max(1, round(self._live * min(1.0, share * 1.1))), "bytes")

    def _bytes(self) -> int:
        nodes = runs = 0
        for partition in self._partitions.values():
            for run in (*partition.runs, *partition.complete):
                runs += 1
                nodes += run.node.depth if run.node is not None else 0
        return runs * RUN_BYTES + nodes * NODE_BYTES

    def _shed(self, count: int, what: Literal["partials", "bytes"]) -> list[Outcome]:
        """Give up at least `count` partial matches, those that began first."""
        target, out = max(0, self._live - count), 0
        released: list[Outcome] = []
        while self._live > target and self._begun:
            order, key = self._begun.popleft()
            partition = self._partitions.get(key)
            if partition is None:
                continue
            before = partition.live
            partition.runs = [run for run in partition.runs if run.order != order]
            partition.complete = [run for run in partition.complete if run.order != order]
            out += before - partition.live
            ts = partition.runs[0].previous if partition.runs else 0
            released.extend(self._matches(self._matcher.release(partition), "time", ts))
            self._account(key, partition, before)
        self.dropped += out
        return [*released, Overflow(self.name, what, out, self.dropped)]

    def shed(self, count: int, what: Literal["partials", "bytes"] = "partials") -> list[Outcome]:
        """Give up `count` of the oldest partial matches, because all patterns together hold too many, or too much."""
        return self._shed(count, what)


def key_of(by: Sequence[str]) -> Callable[[SemanticEvent], Hashable] | None:
    """The partition of an event by fields and expressions; None without any. ValueError for a wrong one."""
    if not by:
        return None
    values = [compile_value(source) for source in by]
    if len(values) == 1:
        single = values[0]
        return single if by[0].removeprefix("event.") in _SCALARS else lambda event: _hashable(single(event))
    return lambda event: tuple(_hashable(value(event)) for value in values)


def _hashable(value: Any) -> Hashable:
    if isinstance(value, _PLAIN):
        return value
    return json.dumps(value, sort_keys=True, default=str)
