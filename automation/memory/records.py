"""What a desk is given to be remembered by: the clock of its deadlines, its steps on record, its switches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from automation.events import SemanticEvent
from automation.memory.clock import SteadyClock
from automation.memory.recorder import Recorder
from automation.switches import Keep, Switches


class Records:
    """Made without anything it records nothing."""

    def __init__(
        self,
        recorder: Recorder | None = None,
        clock: SteadyClock | None = None,
        values: Mapping[str, Any] | None = None,
        keep: Keep | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.clock: Final = clock or SteadyClock(wall)
        self._recorder: Final = recorder or Recorder()
        self._values: Final = values
        self._keep: Final = keep

    def step(self, desk: str, events: Sequence[SemanticEvent], now: float, wall: float) -> AbstractContextManager[None]:
        """See `Recorder.step`."""
        return self._recorder.step(desk, events, now, wall)

    def note(self, value: Any, *, urgent: bool = False) -> None:
        """See `Recorder.note`."""
        self._recorder.note(value, urgent=urgent)

    def together(self) -> AbstractContextManager[None]:
        """See `Recorder.together`."""
        return self._recorder.together()

    def keep(self, key: str, value: Any) -> None:
        """Keep a plain value over restarts; see `Memory.keep`."""
        if self._keep is not None:
            self._keep(key, value)

    def value(self, key: str) -> Any:
        """What was kept under a key, None when nothing was."""
        return None if self._values is None else self._values.get(key)

    def switches(self, kind: str) -> Switches:
        """Those of one kind of definition."""
        return Switches(kind, self._values, self._keep)
