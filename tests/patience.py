"""Waiting for what comes in its own time.

The limit is for what never comes, so it is far away: on a busy machine everything takes longer, and nothing is wrong.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import trio

SECONDS = 90.0
Found = TypeVar("Found")


def eventually(condition: Callable[[], Found], what: str = "it") -> Found:
    """What the condition gives once that counts as true; AssertionError when it never does."""
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come to pass within {SECONDS} s"
        time.sleep(0.01)
    return found


async def comes_true(condition: Callable[[], Found], what: str = "it") -> Found:
    """The same in trio, on a clock that goes as the wall's does."""
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come to pass within {SECONDS} s"
        await trio.sleep(0.005)
    return found
