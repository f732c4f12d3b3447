"""Inline or in a thread: a hop to a thread costs some 70 µs, a stalled disk may cost seconds.

Calls that are usually fast run inline. One that took long marks its device as slow for a while, and calls on a slow
device run in threads, so at most one request in that while finds the mount waiting.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

import trio

SLOW_NS: Final = 20_000_000  # a call beyond this marks the device
REMEMBER_NS: Final = 5_000_000_000
FREED_INLINE: Final = 16 << 20  # bytes of disk space that a close in line may free

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Pace:
    """Remembers which devices (st_dev) were slow."""

    def __init__(self) -> None:
        self._slow_until: Final[dict[int, int]] = {}

    async def call(self, dev: int, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run `function` inline, or in a thread while `dev` is slow."""
        start = time.monotonic_ns()
        if self._slow_until.get(dev, 0) > start:
            return await trio.to_thread.run_sync(function, *args)
        try:
            return function(*args)
        finally:
            end = time.monotonic_ns()
            if end - start > SLOW_NS:
                self._slow_until[dev] = end + REMEMBER_NS

    async def read(self, dev: int, fd: int, size: int, offset: int) -> bytes | bytearray | memoryview:
        """pread(2): from the page cache inline, from the disk in a thread; from filesystems that do not tell the two
        apart (tmpfs, network filesystems) like any other call.
        """
        buffer = bytearray(size)
        try:
            count = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            count = -1
        except OSError:
            return await self.call(dev, os.pread, fd, size, offset)
        if count == size:
            return buffer
        if count >= 0 and offset + count >= os.fstat(fd).st_size:
            return memoryview(buffer)[:count]
        return await trio.to_thread.run_sync(os.pread, fd, size, offset)


def close_last(fd: int) -> None:
    """Close what may be a removed file's last descriptor: freeing a large file takes long, so a thread does it."""
    if os.fstat(fd).st_blocks * 512 <= FREED_INLINE:
        os.close(fd)
    else:
        trio.lowlevel.start_thread_soon(lambda: os.close(fd), lambda _: None, name="vexfs-close")
