"""Answers to the requests that reach us by the native library, through libfuse's public reply functions.

Each such operation is a function that is called synchronously with the request's pointer, and answers at once or from
a task.
"""

from __future__ import annotations

import ctypes
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from vexfs_fuse.errors import code_of

Later = Callable[[], Awaitable[None]]


class Answers:
    """`libfuse` is the one that made the requests; `nursery` is where tasks run; the session sets it."""

    def __init__(self, libfuse: ctypes.PyDLL) -> None:
        self._libfuse: Final = libfuse
        self.nursery: trio.Nursery | None = None

    def done(self, request: int) -> None:
        """It is done."""
        self._libfuse.fuse_reply_err(ctypes.c_void_p(request), 0)

    def data(self, request: int, data: bytes) -> None:
        """Bytes, as the kernel expects them of this operation."""
        self._libfuse.fuse_reply_buf(ctypes.c_void_p(request), data, ctypes.c_size_t(len(data)))

    def count(self, request: int, count: int) -> None:
        """So many bytes were written."""
        self._libfuse.fuse_reply_write(ctypes.c_void_p(request), ctypes.c_size_t(count))

    def position(self, request: int, offset: int) -> None:
        """A position in the file."""
        self._libfuse.fuse_reply_lseek(ctypes.c_void_p(request), ctypes.c_int64(offset))

    def ioctl(self, request: int, data: bytes) -> None:
        """What an ioctl gives back."""
        self._libfuse.fuse_reply_ioctl(ctypes.c_void_p(request), 0, data, ctypes.c_size_t(len(data)))

    def error(self, request: int, error: Exception) -> None:
        """It failed."""
        self._libfuse.fuse_reply_err(ctypes.c_void_p(request), code_of(error))

    def work(self, request: int, work: Callable[[], Later | None]) -> None:
        """Do `work` now and what it returns as a task; an exception of either becomes the answer."""
        try:
            later = work()
        except Exception as error:
            self.error(request, error)
            return
        if later is not None:
            assert self.nursery is not None
            self.nursery.start_soon(self._finish, request, later)

    async def _finish(self, request: int, later: Later) -> None:
        try:
            await later()
        except Exception as error:
            self.error(request, error)
