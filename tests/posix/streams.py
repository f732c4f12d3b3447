"""Directory streams of the C library, for telldir, seekdir and rewinddir; and the bare getdents64."""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.opendir.restype = _libc.fdopendir.restype = _libc.readdir64.restype = ctypes.c_void_p
_libc.opendir.argtypes = [ctypes.c_char_p]
_libc.telldir.restype = ctypes.c_long
_libc.telldir.argtypes = _libc.readdir64.argtypes = _libc.rewinddir.argtypes = _libc.closedir.argtypes = [
    ctypes.c_void_p
]
_libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
_HEADER = struct.Struct("=QqHB")  # inode, position of the next entry, length, type
GETDENTS64 = 217  # of x86-64


class Stream:
    """An open directory; use as a context manager, iterate for the names that are left."""

    def __init__(self, path: Path) -> None:
        self._stream = _libc.opendir(os.fsencode(path))
        if not self._stream:
            raise OSError(ctypes.get_errno(), f"opendir {path}")

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        _libc.closedir(self._stream)

    def __iter__(self) -> Iterator[str]:
        while (name := self.read()) is not None:
            yield name

    def read(self) -> str | None:
        """The next name, "." and ".." included; None at the end."""
        ctypes.set_errno(0)
        entry = _libc.readdir64(self._stream)
        if entry:
            return os.fsdecode(ctypes.string_at(entry + _HEADER.size))
        if ctypes.get_errno():
            raise OSError(ctypes.get_errno(), "readdir")
        return None

    def tell(self) -> int:
        """A position that `seek` takes; nothing else is known of it."""
        return int(_libc.telldir(self._stream))

    def seek(self, position: int) -> None:
        """Go on from there."""
        _libc.seekdir(self._stream, position)

    def rewind(self) -> None:
        """Go back to the start, and see the directory as it is now."""
        _libc.rewinddir(self._stream)


def getdents(fd: int, size: int) -> list[tuple[str, int, int]]:
    """One getdents64 into `size` bytes: (name, inode, type) of each entry; empty at the end."""
    buffer = ctypes.create_string_buffer(size)
    length = _libc.syscall(GETDENTS64, fd, buffer, size)
    if length < 0:
        raise OSError(ctypes.get_errno(), errno.errorcode[ctypes.get_errno()])
    entries, at = [], 0
    while at < length:
        ino, _, record, kind = _HEADER.unpack_from(buffer, at)
        name = buffer[at + _HEADER.size : at + record].split(b"\0", 1)[0]
        entries.append((os.fsdecode(name), ino, kind))
        at += record
    return entries
