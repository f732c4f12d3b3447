"""How long work is watched from the loop: cancelled, and asked how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import trio

from automation.workspace.copying import Check

Progress = Callable[[int, int], None]

_PACE: Final = 0.2  # seconds between two reports of progress


def watching(progress: Progress | None, total: Callable[[], int]) -> Check:
    """What a copy calls in its thread: stops it when cancelled, tells `progress(done, total)` five times a second."""
    done, told = 0, time.monotonic()
    whole: int | None = None

    def check(more: int) -> None:
        nonlocal done, told, whole
        trio.from_thread.check_cancelled()
        done += more
        if progress is not None and time.monotonic() - told > _PACE:
            told = time.monotonic()
            whole = total() if whole is None else whole
            trio.from_thread.run_sync(progress, done, max(done, whole))

    return check
