"""Attributes that pyfuse3 has no operation for, added by the native library: birth times (statx) and inode flags
(ioctl, for lsattr and chattr).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Awaitable, Callable
from typing import Final

from pyfuse3 import EntryAttributes

from vexfs_fuse import passthrough
from vexfs_fuse.answers import Answers, Later
from vexfs_fuse.backing import Backing
from vexfs_fuse.callers import Who
from vexfs_fuse.control.numbers import CONTROL_BASE
from vexfs_fuse.errors import ENOTTY, fail
from vexfs_fuse.guarding import Asked, Guarding
from vexfs_fuse.handles import DIRECTORIES, Opener
from vexfs_fuse.native import Native

FS_IOC_SETFLAGS: Final = 0x40086602
FS_IOC_FSSETXATTR: Final = 0x401C5820
_SETTING: Final = (FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR)
_SECOND: Final = 1_000_000_000  # ns
_BASIC, _BTIME = 0x7FF, 0x800
_U64, _U32 = ctypes.c_uint64, ctypes.c_uint
# fuse_statx_out: for how long it may be believed; then struct statx (linux/stat.h), whose inode number is ours.
_VALID: Final = struct.Struct("=QIIQQ")
_STATX: Final = struct.Struct("=IIQIIIHxxQQQQ" + "qIxxxx" * 4 + "IIII112x")
_BIRTH: Final = struct.Struct("=qI")
_BIRTH_AT: Final = 0x50
Control = Callable[[int, Who], Awaitable[EntryAttributes]]


class ExtraAttributes:
    """Registers itself with the library. `control` tells the attributes of an inode of `/.vexfs`."""

    def __init__(
        self, backing: Backing, native: Native, control: Control, guarding: Guarding | None, answers: Answers
    ) -> None:
        self._backing: Final = backing
        self._control: Final = control
        self._guarding: Final = guarding
        self._answers: Final = answers
        self._emit: Final = backing.observer.emit
        native.register("statx", (_U64,), self._statx)
        native.register("ioctl", (_U64, _U32, ctypes.c_void_p, _U64, _U64), self._ioctl)

    def _statx(self, request: int, ino: int) -> None:
        def work() -> Later | None:
            who = self._who()
            if ino >= CONTROL_BASE:

                async def later() -> None:
                    self._answers.data(request, _statx(await self._control(ino, who), None))

                return later
            inode = self._backing.inodes[ino]
            fd = self._backing.inodes.fd(inode)
            entry = self._backing.attributes(inode, os.fstat(fd))
            self._emit("meta.getattr", inode, who, inode=ino, fresh=False)
            self._answers.data(request, _statx(entry, birth(fd)))
            return None

        self._answers.work(request, work)

    def _ioctl(self, request: int, fh: int, command: int, given: int | None, in_size: int, out_size: int) -> None:
        def work() -> None:
            if fh >= CONTROL_BASE:
                fail(ENOTTY)
            handles, who = self._backing.handles, self._who()
            file = handles.listing(fh) if fh >= DIRECTORIES else handles.file(fh)
            data = bytearray(max(in_size, out_size, 8))
            if given is not None:
                data[:in_size] = ctypes.string_at(given, in_size)
            if command in _SETTING and self._guarding is not None and self._guarding.active:
                self._guarding.judge(iter((Asked("chmod", file.inode),)), who)
            fcntl.ioctl(file.fd, command, data)
            attrs = {"flags": hex(int.from_bytes(data[:4], "little"))}
            name = "file.attr.flags" if command in _SETTING else "meta.flags"
            self._emit(name, file.inode, who, inode=file.inode.ino, attrs=attrs)
            self._answers.ioctl(request, bytes(data[:out_size]))

        self._answers.work(request, work)

    def _who(self) -> Opener:
        return self._backing.caller(_NOBODY)


_NOBODY: Final = Opener(0, 0, 0)  # never told: these operations come with a caller


def birth(fd: int) -> tuple[int, int] | None:
    """When the object was made, seconds and nanoseconds; None where the filesystem does not know. Raises OSError."""
    found = passthrough.statx(fd, _BTIME)
    if not int.from_bytes(found[:4], "little") & _BTIME:
        return None
    seconds, nanoseconds = _BIRTH.unpack_from(found, _BIRTH_AT)
    return seconds, nanoseconds


def _statx(entry: EntryAttributes, birth: tuple[int, int] | None) -> bytes:
    timeout = divmod(int(entry.attr_timeout * _SECOND), _SECOND)
    atime, ctime, mtime = (divmod(ns, _SECOND) for ns in (entry.st_atime_ns, entry.st_ctime_ns, entry.st_mtime_ns))
    return _VALID.pack(*timeout, 0, 0, 0) + _STATX.pack(
        _BASIC | (_BTIME if birth else 0),
        entry.st_blksize,
        0,
        entry.st_nlink,
        entry.st_uid,
        entry.st_gid,
        entry.st_mode,
        entry.st_ino,
        entry.st_size,
        entry.st_blocks,
        0,
        *atime,
        *(birth or (0, 0)),
        *ctime,
        *mtime,
        os.major(entry.st_rdev),
        os.minor(entry.st_rdev),
        0,
        0,
    )
