"""The log again, through the detectors: events to their queues, steps as they were taken, the state as it was then."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any, Final

from automation.event_rows import read_row
from automation.events import SemanticEvent
from automation.memory.desk import Desk, Step
from automation.memory.recovery import Earlier
from automation.state import State

log: Final = logging.getLogger(__name__)


class Replaying:
    """Repeats what lies after the parts of the snapshot. What detectors say meanwhile is for nobody: what came of it
    then is in the log too.
    """

    def __init__(self, earlier: Earlier, desks: Mapping[str, Desk], state: State | None) -> None:
        self.failures = 0
        self._earlier: Final = earlier
        self._desks: Final = desks
        self._state: Final = state
        self._waiting: Final[dict[str, deque[SemanticEvent]]] = {name: deque() for name in desks}
        self._positions: Final = {
            desk: {name: part.position for name, part in earlier.parts(desk).items()} for desk in desks
        }
        self._newest: Final = {desk: max(found.values(), default=0) for desk, found in self._positions.items()}

    def run(self) -> dict[str, list[SemanticEvent]]:
        """What waits in each queue at the end."""
        state_position = self._earlier.part("state", "tree").position
        for number, records in self._earlier.frames():
            for kind, *fields in records:
                try:
                    self._record(number, state_position, kind, fields)
                except Exception as error:  # of an older VexFS perhaps
                    self.failures += 1
                    log.warning("a record of the event log cannot be repeated: %r", error)
        return {name: list(events) for name, events in self._waiting.items()}

    def _record(self, number: int, state_position: int, kind: str, fields: list[Any]) -> None:
        if kind == "e":
            self._queue(*fields)
        elif kind == "s" and fields[0] in self._desks:
            self._step(number, *fields)
        elif kind == "t" and number >= state_position and self._state is not None:
            self._state.repeat(*fields)

    def _queue(self, queues: int, row: Any) -> None:
        event = read_row(row)
        for name, desk in self._desks.items():
            if queues & desk.subscription.remembered:
                self._waiting[name].append(event)

    def _step(self, number: int, desk: str, last: int, now: float, wall: float, notes: list[Any]) -> None:
        waiting = self._waiting[desk]
        events = []
        while waiting and waiting[0].seq <= last:
            events.append(waiting.popleft())
        self._desks[desk].replay(events, Step(now, wall, notes), self._done(number, desk))

    def _done(self, number: int, desk: str) -> Collection[str]:
        """The detectors whose part already holds what a frame tells."""
        if number >= self._newest[desk]:
            return ()
        return {name for name, position in self._positions[desk].items() if position > number}
