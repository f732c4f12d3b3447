"""Waits for changes in one directory, by its descriptor: nothing is asked through our own mount, no thread waits."""

from __future__ import annotations

import ctypes
import os
from typing import Final

import trio

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_MASK: Final = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_libc: Final = ctypes.CDLL(None, use_errno=True)


class DirectoryWatch:
    """Tells that names or contents in a directory changed, not which; OSError where the kernel refuses a watch."""

    def __init__(self, directory_fd: int) -> None:
        self._fd: Final[int] = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1 failed")
        # the magic link leads to the directory itself, not through any mount that covers its path
        if _libc.inotify_add_watch(self._fd, f"/proc/self/fd/{directory_fd}".encode(), _MASK) < 0:
            error = OSError(ctypes.get_errno(), "inotify_add_watch failed")
            os.close(self._fd)
            raise error

    async def changed(self) -> None:
        """Wait until something changes; changes before the call count."""
        await trio.lowlevel.wait_readable(self._fd)
        try:
            while os.read(self._fd, 65_536):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Give the watch back."""
        os.close(self._fd)
