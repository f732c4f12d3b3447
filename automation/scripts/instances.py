"""How many scripts compute at once: between two numbers, by how busy those are that do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import trio

QUIET_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Scale:
    """From `least` to `most`; above `threshold`, as a share of those there are, there shall be one more."""

    least: int = 2
    most: int = 2
    threshold: float = 0.8


PLAIN: Final = Scale()


class Instances:
    """`async with` it to compute. Grows by one when somebody comes while more than the threshold are busy; shrinks by
    one when for 30 seconds at most half of them were.
    """

    def __init__(self, scale: Scale) -> None:
        self._scale: Final = scale
        self._limiter: Final = trio.CapacityLimiter(scale.least)
        self._busy_at = 0.0

    @property
    def count(self) -> int:
        """How many may compute at once now."""
        return int(self._limiter.total_tokens)

    @property
    def busy(self) -> float:
        """The share of the greatest number that is at work or waited for, 0 to 1."""
        stats = self._limiter.statistics()
        return min(1.0, (stats.borrowed_tokens + stats.tasks_waiting) / self._scale.most)

    async def __aenter__(self) -> None:
        self._settle(coming=1)
        await self._limiter.acquire()

    async def __aexit__(self, *exc_info: object) -> None:
        self._limiter.release()
        self._settle(coming=0)

    def _settle(self, coming: int) -> None:
        now, stats = trio.current_time(), self._limiter.statistics()
        wanted = stats.borrowed_tokens + stats.tasks_waiting + coming
        if wanted > self.count * self._scale.threshold and self.count < self._scale.most:
            self._limiter.total_tokens = self.count + 1
        if wanted * 2 > self.count:
            self._busy_at = now
        elif now - self._busy_at >= QUIET_SECONDS and self.count > self._scale.least:
            self._limiter.total_tokens = self.count - 1
            self._busy_at = now
