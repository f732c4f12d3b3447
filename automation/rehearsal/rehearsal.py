"""All detectors together: one event or moment after the other, and what they make of it in turn."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, Final

from automation.event_lines import END_OF_TIME
from automation.events import SemanticEvent
from automation.patterns.outcomes import Expired, Match, Outcome
from automation.patterns.routing import PatternSet
from automation.provenance.announcing import events_of
from automation.provenance.tracker import Tracker
from automation.rehearsal.loading import Ensemble
from automation.rehearsal.machines import Machines
from automation.rehearsal.records import Record, found
from automation.rehearsal.rules import Rules
from automation.rehearsal.workflows import Workflows
from automation.rehearsal.world import DEPTH, World
from automation.triggers.pattern_desk import found_event, match_attrs

MOST_STEPS: Final = 10_000


class Rehearsal:
    """Every call gives records; `at` is the number of the input item. Time is that of the events (ns).

    Between two items the clock goes from deadline to deadline, at most 10,000 of them; what is due beyond comes with
    the next item. Where there are patterns alone, which nobody hears, it goes there at once, as a watermark does in
    Flink: all that is due by then has timed out before a match rules out anything.
    """

    def __init__(self, patterns: PatternSet, ensemble: Ensemble) -> None:
        self._patterns: Final = patterns
        self._world: Final = World(ensemble.thresholds)
        self._workflows: Final = Workflows(ensemble.workflows, self._world)
        self._machines: Final = Machines(ensemble.machines, self._world)
        self._rules: Final = Rules(ensemble.books, self._world, self._machines.holds)
        self._alone: Final = not (ensemble.workflows or ensemble.books or ensemble.machines)
        self._begun = False
        self._timed = False
        self.lineage: Final = _lineage(ensemble)

    def feed(self, event: SemanticEvent, at: int) -> list[Record]:
        """Use one event of the input; the clock goes to its time first."""
        out = self.advance(event.ts, at)
        if event.type == "system.state":
            self._world.adopt(event)
        if self.lineage is not None:
            for told in events_of(self.lineage.feed(event), lambda name: True, event.ts):
                self._world.publish(told)
        return out + self._use(event, at) + self._made(at)

    def advance(self, ts: int, at: int) -> list[Record]:
        """Let time pass to `ts`; at the end of time only what does not come again and again."""
        out = self._begin(ts, at)
        self._wind(ts)
        endless = ts == END_OF_TIME
        for _ in range(MOST_STEPS):
            due = self._deadline(periodic=not endless)
            if due is None or due > ts:
                break
            out += self._advance(due, at, periodic=not endless)
        self._world.now = max(self._world.now, ts)
        out += self._tell(self._patterns.advance(ts), at)
        return out + self._made(at)

    def watermark(self, ts: int, at: int) -> list[Record]:
        """In event time: nothing of this time or older comes any more."""
        return self._tell(self._patterns.watermark(ts), at) + self._made(at)

    def change(self, values: Mapping[str, Any], at: int) -> list[Record]:
        """The shared state is set by hand. CallerError for what it refuses."""
        out = self._begin(self._world.now, at)
        self._world.change(values)
        return out + self._made(at)

    def measure(self, load: Mapping[str, Any], at: int) -> list[Record]:
        """The load is measured; the system state follows. CallerError for what is no load."""
        out = self._begin(self._world.now, at)
        self._world.measure(load)
        return out + self._made(at)

    def _begin(self, ts: int, at: int) -> list[Record]:
        if self._begun:
            return []
        self._begun = True
        self._world.now = ts
        return self._workflows.begin(ts, at) + self._machines.begin(ts, at) + self._made(at)

    def _wind(self, ts: int) -> None:
        """What comes again and again counts from the first line that says what time it is."""
        if not self._timed:
            self._timed = True
            self._rules.begin(ts)
            self._workflows.wind(ts)

    def _deadline(self, *, periodic: bool) -> int | None:
        times = [self._workflows.deadline(periodic=periodic), self._machines.deadline()]
        times += [] if self._alone else [self._patterns.deadline()]
        times += [self._rules.deadline()] if periodic else []
        return min((time for time in times if time is not None), default=None)

    def _advance(self, ts: int, at: int, *, periodic: bool) -> list[Record]:
        self._world.now = max(self._world.now, ts)
        out = self._workflows.advance(ts, at, periodic=periodic)
        out += self._rules.advance(ts, at) if periodic else []
        out += self._machines.advance(ts, at)
        out += self._tell(self._patterns.advance(ts), at)
        return out + self._made(at)

    def _made(self, at: int) -> list[Record]:
        """Use the events that detection has made, and those that come of them."""
        out: list[Record] = []
        while self._world.made:
            out += self._use(self._world.made.popleft(), at)
        return out

    def _use(self, event: SemanticEvent, at: int) -> list[Record]:
        if event.cause is not None and event.cause.depth >= DEPTH:
            return []
        out = self._workflows.feed(event, at) + self._rules.feed(event, at) + self._machines.feed(event, at)
        without: Container[str] = {str(event.attrs.get("pattern"))} if event.type.startswith("pattern.") else ()
        return out + self._tell(self._patterns.feed(event, event.ts, without=without), at)

    def _tell(self, outcomes: Iterable[Outcome], at: int) -> list[Record]:
        out = []
        for outcome in outcomes:
            out.append(found(outcome, at))
            if isinstance(outcome, Match):
                out += self._workflows.matched(outcome, outcome.ts, at)
                attrs = match_attrs(outcome)
                self._world.publish(found_event("pattern.matched", outcome.pattern, outcome.steps, attrs, outcome.ts))
            elif isinstance(outcome, Expired) and outcome.steps:
                attrs = {"id": outcome.id, "deadline": outcome.deadline}
                at_end = outcome.deadline
                self._world.publish(found_event("pattern.expired", outcome.pattern, outcome.steps, attrs, at_end))
        return out


def _lineage(ensemble: Ensemble) -> Tracker | None:
    if ensemble.provenance is None:
        return None
    tracker = Tracker(ensemble.provenance)
    tracker.repeats = True
    for pattern in ensemble.asked:
        tracker.require(pattern)
    return tracker
