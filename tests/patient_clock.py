"""A virtual clock that stands still as long as a task waits for a thread.

pytest-trio's own jumps whenever no task can go on: while a thread writes to the disk it runs ahead of the wall's clock
by hours, and every limit of time strikes. This one jumps when nothing but time can bring anything about.
"""

import math
import time
from collections.abc import Awaitable, Callable
from functools import wraps

import pytest
import trio
from trio.testing import MockClock

from automation.journal.writer import Writer

_in_thread = trio.to_thread.run_sync


async def real_sleep(seconds: float) -> None:
    """Let the wall's clock go on; a virtual one is free to do so too."""
    await _in_thread(time.sleep, seconds)


@pytest.fixture
def autojump_clock(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """In place of pytest-trio's: it waits for threads of trio's and for the one that writes the journal."""
    clock, at_work, threshold = MockClock(autojump_threshold=0), 0, 0.0

    def standing(wait: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        @wraps(wait)
        async def waiting(*args: object, **options: object) -> object:
            nonlocal at_work, threshold
            if not at_work:
                threshold, clock.autojump_threshold = clock.autojump_threshold, math.inf
            at_work += 1
            try:
                return await wait(*args, **options)
            finally:
                at_work -= 1
                if not at_work:
                    clock.autojump_threshold = threshold

        return waiting

    monkeypatch.setattr(trio.to_thread, "run_sync", standing(trio.to_thread.run_sync))
    monkeypatch.setattr(Writer, "_finished", standing(Writer._finished))
    return clock
