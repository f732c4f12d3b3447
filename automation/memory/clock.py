"""The clock of deadlines: seconds since the epoch that never go back, in this process or from one to the next."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import trio


class SteadyClock:
    """Starts at the wall's time, or at `floor` when that is later, and goes on at trio's pace. So a deadline means the
    same after a restart, and what passed meanwhile has passed.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self.floor = 0.0
        self._wall: Final = wall
        self._offset: float | None = None

    def now(self) -> float:
        """The time; within trio only."""
        return trio.current_time() + self._ahead()

    def in_trio(self, when: float) -> float:
        """The same moment for trio's deadlines."""
        return when - self._ahead()

    def _ahead(self) -> float:
        if self._offset is None:
            self._offset = max(self._wall(), self.floor) - trio.current_time()
        return self._offset
