"""One partition's partial matches, advanced by one event after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from automation.events import SemanticEvent
from automation.patterns.automaton import Action, Automaton, Kind, Move
from automation.patterns.runs import Node, Run
from automation.patterns.skipping import Skip

_NOTHING: Final[tuple[Run, ...]] = ()


class Partition:
    """The runs of one partition, earliest start first.

    `complete` holds matches that a skip strategy keeps back, because a run that began earlier may still match and
    make them moot. `due` (ns) is when the detector looks at the partition next; never later than the first deadline.
    """

    __slots__ = ("complete", "due", "runs")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.complete: list[Run] = []
        self.due: int | None = None

    @property
    def live(self) -> int:
        """Number of runs and matches that are held."""
        return len(self.runs) + len(self.complete)


class Matcher:
    """Advances partitions by the rules of one automaton and one skip strategy; has no state of its own."""

    def __init__(self, automaton: Automaton, skip: Skip) -> None:
        self.automaton: Final = automaton
        self._skip: Final = skip
        self._start: Final = automaton.start
        self._nobody: Final = Run(automaton.start, None, 0, 0, 0)

    def begins(self, event: SemanticEvent) -> bool:
        """Whether the event could be the first of a match; a partition without runs needs no other event."""
        nobody = self._nobody
        for check, action, _, _, _ in self._start.moves:
            if action is Action.TAKE and (check is None or check(event, nobody)):
                return True
        return False

    def feed(self, partition: Partition, event: SemanticEvent, order: int) -> Sequence[Run]:
        """Advance by one event, number `order` of the stream; returns the matches that are due, in order."""
        kept: list[Run] = []
        complete: list[Run] = []
        for run in partition.runs:
            wait: Move | None = run.state.waits_for
            if wait is None:
                self._advance(run, event, order, kept, complete)
            elif wait.check(event, run):  # type: ignore[misc]  # a state that waits for something has a check
                self._take(run, wait, event, order, kept, complete)
            else:
                kept.append(run)
        self._advance(self._nobody, event, order, kept, complete)
        partition.runs = kept
        if complete or partition.complete:
            partition.complete.extend(complete)
            return self.release(partition)
        return _NOTHING

    def _advance(self, run: Run, event: SemanticEvent, order: int, kept: list[Run], complete: list[Run]) -> None:
        """All that one run becomes with this event."""
        begin, stopped, state, starting = len(kept), False, run.state, run.order == 0
        for move in state.moves:
            check, action, target, _, _ = move
            if check is not None and not check(event, run):
                continue
            if action is Action.TAKE:
                self._take(run, move, event, order, kept, complete)
            elif action is Action.STOP:
                stopped = True
            elif starting:
                continue  # nothing has been matched yet that could wait
            elif target is state:
                kept.append(run)
            else:
                moved = Run(target, run.node, run.start, run.previous, run.order)
                (complete if target.kind is Kind.FINAL else kept).append(moved)
        if stopped:
            del kept[begin:]

    @staticmethod
    def _take(run: Run, move: Move, event: SemanticEvent, order: int, kept: list[Run], complete: list[Run]) -> None:
        _, _, target, label, final = move
        node, ts = Node(label, event, order, run.node), event.ts
        start, first = (run.start, run.order) if run.order else (ts, order)
        taken = Run(target, node, start, ts, first)
        if target.kind is Kind.FINAL:
            complete.append(taken)
            return
        kept.append(taken)
        if final is True or (final is not False and final(event, run)):
            complete.append(taken)

    def expire(self, partition: Partition, now: int) -> tuple[Sequence[Run], list[Run]]:
        """Take out the runs whose time has passed at `now` (ns): matches by absence that are due, and the timed out."""
        kept: list[Run] = []
        out: list[Run] = []
        absent: list[Run] = []
        for run in partition.runs:
            deadline = self.deadline(run)
            if deadline is None or now < deadline:
                kept.append(run)
            else:
                (absent if run.state.kind is Kind.PENDING else out).append(run)
        partition.runs = kept
        partition.complete.extend(absent)
        return (self.release(partition) if partition.complete else _NOTHING), out

    def deadline(self, run: Run) -> int | None:
        """When the run's time is over (ns), None without a window."""
        within, gap = self.automaton.within, run.state.gap
        if gap:
            return min(run.previous + gap, run.start + within) if within else int(run.previous + gap)
        return run.start + within if within else None

    def overrun(self, run: Run, now: int) -> int:
        """Which deadline (ns) a run that has timed out at `now` missed; of two, that of the wait, as in Flink."""
        wait = run.previous + run.state.gap
        return wait if run.state.gap and wait <= now else run.start + self.automaton.within

    def first_deadline(self, partition: Partition) -> int | None:
        """The earliest deadline of the partition's runs."""
        runs = partition.runs
        if not runs:
            return None
        if not self.automaton.has_gaps:
            return runs[0].start + self.automaton.within if self.automaton.within else None
        return min((at for run in runs if (at := self.deadline(run)) is not None), default=None)

    def release(self, partition: Partition) -> Sequence[Run]:
        """The complete matches that nothing can make moot any more, after skipping what each of them rules out."""
        if not self._skip.skips:
            out, partition.complete = partition.complete, []
            return out
        return self._skip.release(partition, self.automaton.labels)
