"""Requests of the filesystem come first: in what slices the automations have the one thread that serves the mount, and
how much of it while requests come.

    requests ─► came          steps of tasks (`metering`) ─► spend          desks, between batches; runs ─► take
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

import trio

QUIET: Final = 0.02  # seconds without a request, after which all of the time is the automations'
SLICE: Final = 0.002  # seconds that they then compute before others are looked at
CROWD: Final = 8  # of them that are then woken together
FEW: Final = 8  # events that a desk takes at a time while requests come: some 0.3 ms
BURST: Final = 0.001  # seconds that may be computed at once after a pause
DEBT: Final = 0.02  # what is more than this over is forgiven, so that nobody starves

ALLOWED: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "Normal": (0.5, 0.00025),
        "HighLoad": (0.25, 0.000125),
        "Degraded": (0.125, 0.000125),
        "Emergency": (0.125, 0.000125),
    }
)
"""By system state, while requests come: the share of the time, and the seconds of one slice; others are as Normal."""


class Pace(Protocol):
    """How fast somebody may go on."""

    async def rest(self) -> None:
        """Return when there is time for more."""


class Rounds:
    """Whoever has something to compute takes a turn first: at once while this round of the loop is young, else in one
    of the next, in order; those that detect in turn with those that act. While requests come, rounds are short, all of
    them together have no more than a share of the time, and few are woken at once.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.used = 0.0  # seconds in all
        self._clock: Final = clock
        self._share, self._short = ALLOWED["Normal"]
        self._came = -QUIET
        self._level, self._at = BURST, clock()
        self._charged: Final[deque[float]] = deque()
        self._since: float | None = None  # when this round began, if somebody has had a turn in it
        self._timed = False
        self._lots: Final = (trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot())
        self._waiting = 0
        self._held = 0.0  # seconds in which somebody waited while requests came
        self._held_since = 0.0

    def settle(self, state: str) -> None:
        """Allow what this system state allows."""
        self._share, self._short = ALLOWED.get(state, ALLOWED["Normal"])

    def came(self) -> None:
        """A request came."""
        self._came = self._clock()

    @property
    def busy(self) -> bool:
        """Whether requests come."""
        return self._clock() - self._came < QUIET

    @property
    def slice(self) -> float:
        """Seconds to compute before others are looked at."""
        return self._short if self.busy else SLICE

    def batch(self, most: int, few: int = FEW) -> int:
        """How many events to take at a time: `few` while requests come."""
        return few if self.busy else most

    def spend(self, seconds: float) -> None:
        """So much was computed."""
        self._refill()
        self._use(seconds)

    def charge(self, seconds: float) -> None:
        """So much was computed in another thread, which calls this: it held up this one."""
        self._charged.append(seconds)

    @property
    def wait(self) -> float:
        """Seconds until somebody may compute again; 0 when he may now."""
        self._refill()
        return 0.0 if self._level >= 0 else (BURST / 2 - self._level) / self._share

    def held(self) -> float:
        """Seconds in all, in which somebody waited for a turn while requests came."""
        return self._held + (self._clock() - self._held_since if self._waiting and self.busy else 0.0)

    async def take(self, *, detects: bool = False) -> None:
        """Return when it is one's turn. Who is woken has it: to wait once more would cost as much as most turns."""
        if self._is_over():
            await self._park(self._lots[detects])
        if self._since is None:
            self._begin()

    def _is_over(self) -> bool:
        if self._since is not None and self._clock() - self._since > self.slice:
            return True
        return self.busy and (self._waiting > 0 or self.wait > 0)

    def _refill(self) -> None:
        now = self._clock()
        share = self._share if now - self._came < QUIET else 1.0
        self._level = min(BURST, self._level + (now - self._at) * share)
        self._at = now
        while self._charged:
            self._use(self._charged.popleft())

    def _use(self, seconds: float) -> None:
        self.used += seconds
        self._level = max(-DEBT, self._level - seconds)

    async def _park(self, lot: trio.lowlevel.ParkingLot) -> None:
        if self._since is None and not self._timed:
            self._look_later(self.wait)
        if not self._waiting:
            self._held_since = self._clock()
        self._waiting += 1
        try:
            await lot.park()
        finally:
            self._waiting -= 1
            if not self._waiting and self.busy:
                self._held += self._clock() - self._held_since

    def _begin(self) -> None:
        self._since = self._clock()
        trio.lowlevel.current_trio_token().run_sync_soon(self._next_round)

    def _next_round(self) -> None:
        self._since = None
        if not self._waiting or self._timed:
            return
        busy = self.busy
        wait = self.wait if busy else 0.0
        if wait:
            self._look_later(wait)
            return
        self._begin()
        for lot in self._lots:
            lot.unpark(count=1 if busy else CROWD)

    def _look_later(self, seconds: float) -> None:
        self._timed = True
        trio.lowlevel.spawn_system_task(self._later, seconds)

    async def _later(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._timed = False
        self._next_round()


class Paced:
    """The turns of one who has a pace of its own."""

    def __init__(self, rounds: Rounds, pace: Pace) -> None:
        self._rounds: Final = rounds
        self._pace: Final = pace

    async def take(self) -> None:
        """Return when it is one's turn."""
        await self._pace.rest()
        await self._rounds.take()
