"""How late the event loop is: the delay that a request may meet before anyone looks at it."""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

BEAT_SECONDS: Final = 0.25
WINDOW: Final = 240  # beats: one minute


class Heartbeat:
    """Sleeps a quarter of a second again and again and measures how much later it wakes; the last minute counts."""

    def __init__(self) -> None:
        self._lags: Final[deque[float]] = deque(maxlen=WINDOW)

    @property
    def p99(self) -> float:
        """Seconds that 99 of 100 beats stayed below."""
        ordered = sorted(self._lags)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] if ordered else 0.0

    @property
    def worst(self) -> float:
        """The latest beat, in seconds."""
        return max(self._lags, default=0.0)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Measure until cancelled."""
        task_status.started()
        while True:
            expected = trio.current_time() + BEAT_SECONDS
            await trio.sleep_until(expected)
            self._lags.append(max(0.0, trio.current_time() - expected))
