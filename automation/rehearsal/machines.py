"""Statecharts in a rehearsal: they move, and say what they would do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from automation.events import SemanticEvent
from automation.machines.detector import Detector
from automation.machines.host import changed_event
from automation.machines.machine import Machine
from automation.machines.outcomes import Moved, Outcome
from automation.rehearsal.records import Record, moved
from automation.rehearsal.world import World


class Machines:
    """Each machine hears every event; none is told how the actions of a move ended, since they do not begin."""

    def __init__(self, machines: Iterable[Machine], world: World) -> None:
        self._world: Final = world
        self._detectors: Final = [Detector(machine, world.state.view) for machine in machines if machine.enabled]
        self._by_name: Final = {one.machine.name: one for one in self._detectors}

    def holds(self, name: str, state: str, event: SemanticEvent) -> bool:
        """Whether the instance of a machine that an event belongs to is in a state."""
        return name in self._by_name and self._by_name[name].holds(state, event)

    def begin(self, ts: int, at: int) -> list[Record]:
        """Begin the instances of machines without a key."""
        return [record for one in self._detectors for record in self._tell(one.start(ts), at)]

    def feed(self, event: SemanticEvent, at: int) -> list[Record]:
        """What an event moves."""
        return [record for one in self._detectors for record in self._tell(one.feed(event, event.ts), at)]

    def deadline(self) -> int | None:
        """When a timer ends next (ns)."""
        return min((due for one in self._detectors if (due := one.deadline()) is not None), default=None)

    def advance(self, ts: int, at: int) -> list[Record]:
        """What moves by the clock until `ts` (ns)."""
        return [record for one in self._detectors for record in self._tell(one.advance(ts), at)]

    def _tell(self, outcomes: Iterable[Outcome], at: int) -> list[Record]:
        out = []
        for outcome in outcomes:
            out.append(moved(outcome, at))
            if isinstance(outcome, Moved) and (outcome.before != outcome.after or outcome.finished):
                self._world.publish(changed_event(outcome, outcome.at))
        return out
