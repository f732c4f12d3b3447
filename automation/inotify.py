"""Waits for changes in one directory, by its descriptor: nothing is asked through our own mount, no thread waits."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

import trio

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_MASK: Final = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_HEADER: Final = struct.Struct("=iIII")  # watch, mask, cookie, bytes of the name
_libc: Final = ctypes.CDLL(None, use_errno=True)


class Notice(NamedTuple):
    """What inotify(7) tells; `cookie` is the same for both names of a rename."""

    watch: int
    mask: int
    cookie: int
    name: bytes


def notices(fd: int) -> Iterator[Notice]:
    """All that wait in the queue `fd`, which is not blocking."""
    try:
        while data := os.read(fd, 65_536):
            at = 0
            while at < len(data):
                watch, mask, cookie, length = _HEADER.unpack_from(data, at)
                at += _HEADER.size + length
                yield Notice(watch, mask, cookie, data[at - length : at].rstrip(b"\0"))
    except BlockingIOError:
        return


class DirectoryWatch:
    """Tells that names or contents in a directory changed, not which; OSError where the kernel refuses a watch.

    A new file counts when its writer closes it, a new link at once.
    """

    def __init__(self, directory_fd: int) -> None:
        self._directory: Final = directory_fd
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
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            told = list(notices(self._fd))  # all of them, however soon one matters
            if any(self._matters(one.mask, one.name) for one in told):
                return

    def close(self) -> None:
        """Give the watch back."""
        os.close(self._fd)

    def _matters(self, mask: int, name: bytes) -> bool:
        if not mask & _CREATE:
            return True
        try:
            found = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISLNK(found.st_mode) or found.st_nlink > 1
