"""The request loop's waiting: pyfuse3 looks `trio` up in its own module at run time, and finds this instead.

pyfuse3's workers hand a lock around, so that each request costs a task switch and a turn of trio's loop, about 60 µs.
Here the worker that answered a request looks for the next one itself, first without waiting, then up to `LINGER_NS` in
the kernel: a caller that does one call after another is back within that time. What the native library can answer by
itself it answers there, and Python never sees it. Every `BURST` requests, and whenever
nothing comes, the other tasks of the nursery have their turn. Measured by `bench/metadata.py`.
"""

from __future__ import annotations

import select
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final

import pyfuse3
import trio

from vexfs_fuse.native import NATIVE

BURST: Final = 32  # requests in a row: at some 40 µs each, the other tasks wait little more than 1 ms
LINGER_NS: Final = 50_000
TURN_NS: Final = 1_000_000  # in which the native library may answer requests without a look at other tasks


# What a look for a request finds (vex_wait): nobody who wants anything, a request for Python, work put off, or that the
# others' turn has come while requests keep coming.
_NOBODY, _OURS, _LADEN, _BUSY = range(4)


class _Done:
    """What is awaited when there is nothing to wait for: cheaper than a coroutine that returns at once."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_DONE: Final = _Done()


class _Lock:
    """A lock that its last holder may take again before a waiter wakes, unlike trio.Lock: no switch without need."""

    def __init__(self) -> None:
        self._held = False
        self._lot: Final = trio.lowlevel.ParkingLot()

    def __aenter__(self) -> Awaitable[None]:
        if self._held:
            return self._wait()
        self._held = True
        return _DONE

    def __aexit__(self, *error: object) -> Awaitable[None]:
        self._held = False
        if self._lot:
            self._lot.unpark()
        return _DONE

    async def _wait(self) -> None:
        while self._held:
            await self._lot.park()
        self._held = True


class _Lowlevel:
    def __init__(self, idle: Callable[[], None], came: Callable[[], None]) -> None:
        self._idle: Final = idle
        self._came: Final = came
        self._burst = 0
        self._poll: Final = select.poll()
        self._polled: Final[set[int]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(trio.lowlevel, name)

    def wait_readable(self, fd: int) -> Awaitable[None]:
        """trio.lowlevel.wait_readable, which see; done at once in mid-burst."""
        self._burst += 1
        self._came()
        found = self._look(fd) if self._burst < BURST else _NOBODY
        if found == _OURS:
            return _DONE
        self._burst = 0
        self._idle()
        if found == _BUSY:
            return trio.lowlevel.checkpoint()  # noqa: ASYNC105 - the caller awaits it, and looks again
        return trio.lowlevel.wait_readable(fd)  # noqa: ASYNC105

    def _look(self, fd: int) -> int:
        if NATIVE is not None:
            end = time.monotonic_ns() + TURN_NS
            while (found := NATIVE.wait(fd, LINGER_NS, TURN_NS)) == _LADEN:
                self._idle()
                if time.monotonic_ns() > end:
                    return _BUSY
            return int(found)
        if fd not in self._polled:
            self._polled.add(fd)
            self._poll.register(fd, select.POLLIN)
        return _OURS if self._poll.poll(0) else _NOBODY


class _Trio:
    """`trio` with the two names above replaced."""

    def __init__(self, idle: Callable[[], None], came: Callable[[], None]) -> None:
        self.lowlevel: Final = _Lowlevel(idle, came)
        self.Lock: Final = _Lock

    def __getattr__(self, name: str) -> Any:
        return getattr(trio, name)


def install(idle: Callable[[], None], came: Callable[[], None]) -> None:
    """Let pyfuse3 wait by this module's means; `idle` is called when no request waits, and `came` when some came. Both
    must be quick.
    """
    pyfuse3.trio = _Trio(idle, came)  # type: ignore[attr-defined]
