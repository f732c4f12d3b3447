"""fanotify(7): what happens on whole filesystems, read in batches; needs root (CAP_SYS_ADMIN) and Linux 5.17.

Objects are told by file handles, names by the handle of their directory. Most of what is read is this process's own
doing, on behalf of the mount, and is passed over by its process number at 0.4 µs each.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from vexfs_fuse.native import Native

MODIFY: Final = 0x2
ATTRIB: Final = 0x4
CLOSE_WRITE: Final = 0x8
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
OVERFLOW: Final = 0x4000
RENAME: Final = 0x1000_0000
DIRECTORY: Final = 0x4000_0000
# Not MODIFY: it would cost every write on the filesystem 1.5 µs, and 0.45 µs where it is ignored (a write of 4 KiB to
# tmpfs takes 1.1), also those that the kernel does for our clients natively. The close of a writer says enough.
_MASK: Final = ATTRIB | CLOSE_WRITE | CREATE | DELETE | RENAME | DIRECTORY

_DATA: Final = MODIFY | ATTRIB | CLOSE_WRITE

# CLOEXEC, NONBLOCK, and of each event: the object, its directory, its name, and the object that the name is of
_INIT: Final = 0x1 | 0x2 | 0x200 | 0x400 | 0x800 | 0x1000
_MARK_ADD_FILESYSTEM: Final = 0x1 | 0x100
_FID, _DFID_NAME, _DFID, _OLD, _NEW = 1, 2, 3, 10, 12
_EVENT: Final = struct.Struct("=IBBHQii")  # length, version, reserved, length of this header, mask, fd, pid
_WHOSE: Final = struct.Struct("=I16xi")  # length and pid of the same
_INFO: Final = struct.Struct("=BBHQI")  # type, padding, length, fsid, bytes of the handle (its type is 4 more)
_AT_FDCWD: Final = -100
_BUFFER: Final = 1 << 16  # bytes a read; about 650 events

_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Name:
    """A directory by its handle, in the form of `file_handles`, and a name in it; `.` is the directory itself."""

    fsid: int
    directory: bytes
    name: bytes


@dataclass(slots=True)
class Notice:
    """What one process did to one name: `mask` may hold several changes, whose order is not told.

    `at` is None for a change that came by no name (through another hard link, say); `to` is set for a rename.
    """

    mask: int
    pid: int
    at: Name | None
    to: Name | None
    fsid: int
    target: bytes | None


class Fanotify:
    """One queue; at most `fs.fanotify.max_queued_events` wait in it, then the kernel drops and says OVERFLOW once."""

    def __init__(self) -> None:
        self.fd: Final[int] = _libc.fanotify_init(_INIT, os.O_RDONLY | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._own: Final = os.getpid()
        self._buffer: Final = bytearray(_BUFFER)

    def mark(self, fd: int) -> None:
        """Watch the whole filesystem that the object `fd` lies on. Raises OSError where it cannot be watched."""
        path = f"/proc/self/fd/{fd}".encode()
        if _libc.fanotify_mark(self.fd, _MARK_ADD_FILESYSTEM, ctypes.c_uint64(_MASK), _AT_FDCWD, path) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def read(self, clients: Callable[[], Mapping[bytes, int]], library: Native | None) -> tuple[list[Notice], bytes]:
        """What others did since the last read, as much as fits the buffer; raises BlockingIOError when there is none.

        `clients` are those who wrote natively and closed: the handle of the directory with the name → the process.

        Empty when all of it was our own; else with the bytes that were read, for `own_targets`.
        """
        length = os.readv(self.fd, [self._buffer])
        if library is not None and not library.writers.foreign(self._buffer, length, self._own):
            return [], b""
        notices = list(foreign(memoryview(self._buffer)[:length], self._own, clients()))
        return notices, bytes(self._buffer[:length]) if notices else b""

    def own_targets(self, data: bytes) -> set[bytes]:
        """The handles of what this process made or removed."""
        return {notice.target for notice in _own(memoryview(data), self._own) if notice.target is not None}

    def close(self) -> None:
        """Give the queue and its marks back."""
        os.close(self.fd)


def foreign(data: memoryview, own: int, clients: Mapping[bytes, int]) -> Iterator[Notice]:
    """The notices in `data` that are neither of the process `own` nor about what `clients` did natively."""
    at, end, unpack = 0, len(data), _WHOSE.unpack_from
    while at < end:
        length, pid = unpack(data, at)
        if pid != own:
            _, _, _, header, mask, _, _ = _EVENT.unpack_from(data, at)
            start = at + header
            if mask & ~_DATA:
                yield _notice(mask, pid, data[start : at + length])
            else:
                first = start + int.from_bytes(data[start + 2 : start + 4], "little")
                writer = clients.get(bytes(data[start + 12 : first]).rstrip(b"\0"))
                if writer is None or (writer != pid and mask & (MODIFY | ATTRIB)):
                    yield _notice(mask, pid, data[start : at + length])
        at += length


def _own(data: memoryview, own: int) -> Iterator[Notice]:
    at = 0
    while at < len(data):
        length, _, _, header, mask, _, pid = _EVENT.unpack_from(data, at)
        if pid == own and mask & (CREATE | DELETE):
            yield _notice(mask, pid, data[at + header : at + length])
        at += length


def _notice(mask: int, pid: int, infos: memoryview) -> Notice:
    names: dict[int, Name] = {}
    fsid, target = 0, None
    at = 0
    while at < len(infos):
        kind, _, length, fsid, size = _INFO.unpack_from(infos, at)
        start = at + 12
        handle = bytes(infos[start : start + 8 + size])
        if kind == _FID:
            target = handle
        elif kind in (_DFID_NAME, _OLD, _NEW, _DFID):
            name = b"." if kind == _DFID else bytes(infos[start + 8 + size : at + length]).split(b"\0", 1)[0]
            names[kind] = Name(fsid, handle, name)
        at += length
    first = names.get(_OLD) or names.get(_DFID_NAME) or names.get(_DFID)
    return Notice(mask, pid, first, names.get(_NEW), fsid, target)
