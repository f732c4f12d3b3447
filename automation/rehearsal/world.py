"""What all of a rehearsal share: the time, the shared state with the system state in it, and the events that detection
makes itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from automation.bus import Bus
from automation.errors import CallerError
from automation.events import SemanticEvent
from automation.machines.system_state import SystemState
from automation.machines.thresholds import DEFAULTS, MEASURES, Threshold
from automation.state import State

NS: Final = 1_000_000_000
DEPTH: Final = 8  # an event at the end of so long a chain moves nothing, as on a mount


class World:
    """`now` is in ns since the epoch. Events that detection makes are numbered -1, -2, …, so that those of the input
    keep their numbers; they are queued, without bound, and used before the next line is.
    """

    def __init__(self, thresholds: Sequence[Threshold] | None) -> None:
        self.now = 0
        self.made: Final[deque[SemanticEvent]] = deque()
        self._bus: Final = Bus()
        self._count = 0
        self._changes: Final = self._bus.subscribe("changes", capacity=1 << 30)
        self.state: Final = State(self._bus)
        self.system: Final = SystemState(self.state, lambda: self.now, thresholds or DEFAULTS)

    def publish(self, event: SemanticEvent) -> None:
        """An event that detection made."""
        self._count += 1
        event.seq = -self._count
        self.made.append(event)

    def change(self, values: Mapping[str, Any]) -> None:
        """Set the shared state by hand; None deletes. CallerError for a path or value that it refuses."""
        for path, value in values.items():
            if value is None:
                self.state.delete(path)
            else:
                self.state.set(path, value)
        self._tell()

    def adopt(self, event: SemanticEvent) -> None:
        """A change that the input tells of has been made: the state follows without telling it again."""
        path = event.attrs.get("path")
        if isinstance(path, str) and path:
            try:
                self.state.keep(path, event.attrs.get("new"), quiet=True)
            except CallerError:
                return  # no state of ours; the event is used like any other

    def measure(self, load: Mapping[str, Any]) -> None:
        """One sample of the load; CallerError for a measure that there is not."""
        for name, value in load.items():
            if name not in MEASURES or isinstance(value, bool) or not isinstance(value, int | float):
                raise CallerError(f"{name!r}: {value!r} is no load; numbers of {', '.join(MEASURES)} are")
        self.system.observe({name: float(value) for name, value in load.items()}, self.now)
        self._tell()

    def _tell(self) -> None:
        for event in self._changes.receive_nowait(1 << 30):
            self.publish(SemanticEvent(event.type, cause=event.cause, attrs=event.attrs, ts=self.now))
