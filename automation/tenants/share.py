"""A tenant's share of the one thread that serves the mount: what its tasks compute there is measured and bounded.

each step of a task (`metering`) ─► spend          desks, between batches; runs, before a step ─► rest
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from automation.metering import Payer

BURST: Final = 0.02  # seconds that may be used at once after a pause


class Share:
    """`share` of the thread's time, over what is longer than `BURST`. Who has used more rests, one after the other, so
    that those who have waited do not all come at once. What it uses is charged to `whole` too.
    """

    def __init__(
        self, share: float, clock: Callable[[], float] = time.perf_counter, whole: Payer | None = None
    ) -> None:
        self.share: Final = share
        self.used = 0.0  # seconds in all
        self._clock: Final = clock
        self._whole: Final = whole
        self._level = BURST
        self._charged: Final[deque[float]] = deque()
        self._at = clock()
        self._turn: Final = trio.Lock()
        self._since = self._at, 0.0  # when `recent` began, and what had been used by then
        self._recent = 0.0

    def spend(self, seconds: float) -> None:
        """So much was computed."""
        self._refill()
        self.used += seconds
        self._level -= seconds
        if self._whole is not None:
            self._whole.spend(seconds)

    def charge(self, seconds: float) -> None:
        """So much was computed in another thread, which calls this."""
        self._charged.append(seconds)

    def forgive(self) -> None:
        """Begin anew: what was used so far is no debt."""
        self._charged.clear()
        self._level, self._at = BURST, self._clock()
        self._since = self._at, self.used

    def recent(self) -> float:
        """The part of the time that was used since this was asked last, but for the last second."""
        now, (then, before) = self._clock(), self._since
        if now - then >= 1.0:
            self._recent = round((self.used - before) / (now - then), 4)
            self._since = now, self.used
        return self._recent

    @property
    def wait(self) -> float:
        """Seconds until it may compute again; 0 when it may now."""
        while self._charged:
            self.spend(self._charged.popleft())
        self._refill()
        return 0.0 if self._level >= 0 else -self._level / self.share

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(BURST, self._level + (now - self._at) * self.share)
        self._at = now

    async def rest(self) -> None:
        """Let others come first, and wait for as long as must be."""
        if not self._turn.locked() and not self.wait:
            await trio.lowlevel.checkpoint()
            return
        async with self._turn:
            while wait := self.wait:  # noqa: ASYNC110 - time is all that is waited for
                await trio.sleep(wait)
