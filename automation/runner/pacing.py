"""When runs go on: timers by the wall clock, a few at a time, so that thousands that wake at once delay no request."""

from __future__ import annotations

import gc
import heapq
import itertools
import logging
from collections.abc import Callable
from typing import Final

import trio

from automation.rounds import CROWD

log: Final = logging.getLogger(__name__)

SHELF: Final = 100
RECHECK_SECONDS: Final = 300.0  # the wall clock may be set, and stands still for us while the machine sleeps


class Timer:
    """One wake-up; `cancel` forgets it."""

    __slots__ = ("_wake",)

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake: Callable[[], None] | None = wake

    def cancel(self) -> None:
        """Wake nobody."""
        self._wake = None

    def ring(self) -> None:
        """Wake whoever waits."""
        wake, self._wake = self._wake, None
        if wake is not None:
            try:
                wake()
            except Exception:  # a bug of ours must not stop the clock of all others
                log.exception("what a timer wakes met a bug")


class Timers:
    """One heap of wake-up times (ns since the epoch) for all runs; `clock` is the wall clock."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock: Final = clock
        self._heap: Final[list[tuple[int, int, Timer]]] = []
        self._tie: Final = itertools.count()
        self._sooner = trio.Event()

    def set(self, at: int, wake: Callable[[], None]) -> Timer:
        """Call `wake` at that time, or soon when it has passed."""
        timer = Timer(wake)
        heapq.heappush(self._heap, (at, next(self._tie), timer))
        if self._heap[0][2] is timer:
            self._sooner.set()
        return timer

    async def sleep_until(self, at: int) -> None:
        """Sleep until that time."""
        event = trio.Event()
        timer = self.set(at, event.set)
        try:
            await event.wait()
        finally:
            timer.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ring until cancelled."""
        task_status.started()
        while True:
            self._sooner = trio.Event()
            with trio.move_on_after(self._seconds_left()):
                await self._sooner.wait()
            now, rung = self._clock(), 0
            while self._heap and self._heap[0][0] <= now:
                heapq.heappop(self._heap)[2].ring()
                rung += 1
                if rung % CROWD == 0:
                    await trio.lowlevel.checkpoint()

    def _seconds_left(self) -> float:
        if not self._heap:
            return float("inf")
        return min(RECHECK_SECONDS, max(0.0, (self._heap[0][0] - self._clock()) / 1e9))


class Waiting:
    """Counts the runs that wait. Thousands of them are a million objects, over which a full garbage collection takes
    half a second; so each time that more wait than ever before, by another 100, what there is by then is set aside.
    It is still freed when nothing refers to it any more.
    """

    def __init__(self) -> None:
        self.count = 0
        self._most = 0

    def more(self) -> None:
        """Another run waits."""
        self.count += 1
        if self.count >= self._most + SHELF:
            self._most = self.count
            gc.freeze()

    def fewer(self) -> None:
        """One waits no more."""
        self.count -= 1
