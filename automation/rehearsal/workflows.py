"""The triggers of workflows in a rehearsal: fed, woken, joined as the dispatcher does, but what they fire is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from automation.definitions import Workflow
from automation.events import SemanticEvent
from automation.facts import target_of
from automation.index import Index
from automation.patterns.outcomes import Match
from automation.rehearsal.records import Record, would_run
from automation.rehearsal.world import NS, World
from automation.triggers import writers
from automation.triggers.factory import Fed, build
from automation.triggers.firing import Firing
from automation.triggers.join import Joint
from automation.triggers.on_pattern import OnPattern
from automation.triggers.on_schedule import OnSchedule
from automation.triggers.on_state import OnState
from automation.triggers.pending import Pending


class Workflows:
    """Begins at the time of the first line: what schedules have missed by then is none of theirs."""

    def __init__(self, workflows: Iterable[Workflow], world: World) -> None:
        self._workflows: Final = [workflow for workflow in workflows if workflow.enabled]
        self._world: Final = world
        self._writers: Final = writers.Writers()
        self._index: Final[Index[Fed]] = Index()
        self._by_pattern: Final[dict[str, list[OnPattern]]] = {}
        self._schedules: Final[list[OnSchedule]] = []
        self._deadlines: Final[Pending[Fed]] = Pending(10_000_000)
        self._joints: Final = {
            one.name: Joint(one.join, len(one.triggers), world.state.view) for one in self._workflows if one.join
        }

    def begin(self, ts: int, at: int) -> list[Record]:
        """Take the triggers up; those on the state look at what it is."""
        out: list[Record] = []
        state = self._world.state
        for workflow in self._workflows:
            for number in range(len(workflow.triggers)):
                made = build(workflow, number, state=state.view, busy=self._writers.busy, now=ts / NS)
                if isinstance(made, Fed):
                    self._index.add(made, made.types, made.anchors)
                elif isinstance(made, OnPattern):
                    self._by_pattern.setdefault(made.pattern, []).append(made)
                if isinstance(made, OnState):
                    path = made.form.state_path
                    attrs = {"path": path, "new": state.get(path), "loaded": True}
                    event, trigger = SemanticEvent("system.state", attrs=attrs, ts=ts), made
                    out += self._ask(made, lambda _, e=event, t=trigger: t.begin(e, ts / NS), ts, at)  # type: ignore[misc]
        return out

    def wind(self, ts: int) -> None:
        """Schedules count from this time (ns) on."""
        for workflow in self._workflows:
            for number in range(len(workflow.triggers)):
                made = build(workflow, number, state=self._world.state.view, busy=self._writers.busy, now=ts / NS)
                if isinstance(made, OnSchedule):
                    self._schedules.append(made)

    def feed(self, event: SemanticEvent, at: int) -> list[Record]:
        """What an event starts at once."""
        if event.type in writers.TYPES:
            self._writers.note(event)
        triggers = self._index.find(event.type, target_of(event))
        if event.dest is not None:
            triggers = list(dict.fromkeys([*triggers, *self._index.find(event.type, event.path)]))
        now, out = event.ts / NS, []
        for trigger in triggers:
            out += self._ask(trigger, lambda one: one.feed(event, now), event.ts, at)
        return out

    def matched(self, match: Match, ts: int, at: int) -> list[Record]:
        """What a match starts, by triggers on its pattern."""
        found = [firing for one in self._by_pattern.get(match.pattern, ()) for firing in one.fire(match, ts / NS)]
        return self._told(found, match.ts, at)

    def deadline(self, *, periodic: bool = True) -> int | None:
        """When something is due next (ns); schedules, which never end, only if `periodic`."""
        times = [one.next for one in self._schedules] if periodic else []
        if self._deadlines.deadline is not None:
            times.append(self._deadlines.deadline)
        return round(min(times) * NS) if times else None

    def advance(self, ts: int, at: int, *, periodic: bool = True) -> list[Record]:
        """What starts by the clock until `ts` (ns), in order."""
        out: list[Record] = []
        while (deadline := self._deadlines.deadline) is not None and round(deadline * NS) <= ts:
            for _, trigger in list(self._deadlines.due(deadline)):
                out += self._ask(trigger, lambda one: one.due(deadline), round(deadline * NS), at)
        for schedule in self._schedules if periodic else ():
            while round(schedule.next * NS) <= ts:
                due = round(schedule.next * NS)
                for came in schedule.due(schedule.next):
                    out += self._scheduled(schedule, came, due, at)
        return out

    def _scheduled(self, schedule: OnSchedule, came: float, ts: int, at: int) -> list[Record]:
        attrs = {"workflow": schedule.workflow, "scheduled": came}
        attrs |= {k: v for k, v in (("cron", schedule.form.cron), ("every", schedule.form.every)) if v is not None}
        event = SemanticEvent("system.schedule", attrs=attrs, ts=ts)
        self._world.publish(event)
        firing = Firing(schedule.workflow, schedule.number, "schedule", "schedule", (event,))
        return self._told([firing], ts, at)

    def _ask(self, trigger: Fed, question: Callable[[Fed], list[Firing]], ts: int, at: int) -> list[Record]:
        firings = question(trigger)
        key = f"{trigger.workflow}\0{trigger.number}"
        if trigger.deadline is not None:
            self._deadlines.put(key, trigger, trigger.deadline)
        elif key in self._deadlines:
            self._deadlines.pop(key)
        return self._told(firings, ts, at)

    def _told(self, firings: Iterable[Firing], ts: int, at: int) -> list[Record]:
        out = []
        for firing in firings:
            joint = self._joints.get(firing.workflow)
            if joint is None:
                out.append(would_run(firing, ts, at))
            elif (joined := joint.offer(firing, ts / NS)) is not None:
                out.append(would_run(joined, ts, at))
        return out
