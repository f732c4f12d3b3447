"""Locks that hold in the source too (`--locks shared`): flock(2) and fcntl(2), each an event.

A flock belongs to an open file description, which is one descriptor of ours. A fcntl lock belongs to what the
kernel calls its owner, a process or (F_OFD_SETLK) an open file description: each owner of locks on a file has a
descriptor here, whose OFD locks stand for them. Who waits tries again, at once when something is unlocked through the
mount, at most 50 ms later when that happens in the source. Who would wait for somebody who waits for it gets EDEADLK,
as long as all of that is in the mount.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from vexfs_fuse import passthrough
from vexfs_fuse.answers import Answers, Later
from vexfs_fuse.backing import Backing
from vexfs_fuse.callers import Who
from vexfs_fuse.control.numbers import CONTROL_BASE
from vexfs_fuse.errors import EAGAIN, EDEADLK, EINTR, EINVAL
from vexfs_fuse.handles import OpenFile
from vexfs_fuse.inodes import Inode
from vexfs_fuse.native import Native

_RECORD: Final = struct.Struct("@hhqqi4x")  # struct flock: type, whence, start, length (0: to the end), pid
_OFD_GETLK: Final = 36
_OFD_SETLK: Final = 37
_SOONEST, _LATEST = 0.001, 0.05  # seconds between two tries
_END: Final = 1 << 63
_MODES: Final = {fcntl.F_RDLCK: "shared", fcntl.F_WRLCK: "exclusive", fcntl.F_UNLCK: "none"}
_U64, _I64, _INT = ctypes.c_uint64, ctypes.c_int64, ctypes.c_int


@dataclass(slots=True, eq=False)
class Owner:
    """Whoever holds fcntl locks on a file, by `fd`: `held` are their types and ranges (the end is excluded), which do
    not overlap; `handles` are the open files that it locked by.
    """

    fd: int
    pid: int
    handles: set[int] = field(default_factory=set)
    held: list[tuple[int, int, int]] = field(default_factory=list)

    def note(self, kind: int, start: int, end: int) -> None:
        """Remember a request that was granted."""
        rest = [(one, a, min(b, start)) for one, a, b in self.held if a < start]
        rest += [(one, max(a, end), b) for one, a, b in self.held if b > end]
        self.held = rest if kind == fcntl.F_UNLCK else [*rest, (kind, start, end)]

    def keeps_out(self, kind: int, start: int, end: int) -> bool:
        """Whether it holds what a lock of another's would conflict with."""
        return any(fcntl.F_WRLCK in (kind, one) and a < end and start < b for one, a, b in self.held)

    def holds(self, at: int) -> int:
        """The type of the lock at a byte, F_UNLCK for none."""
        return next((kind for kind, start, end in self.held if start <= at < end), fcntl.F_UNLCK)


class Locks:
    """Registers itself with the library, which has the kernel send us locks from then on."""

    def __init__(self, backing: Backing, native: Native, answers: Answers) -> None:
        self._backing: Final = backing
        self._answers: Final = answers
        self._emit: Final = backing.observer.emit
        self._libfuse: Final = native.libfuse
        self._owners: Final[dict[int, dict[int, Owner]]] = {}  # by inode number, then by the kernel's number
        self._flocked: Final[set[int]] = set()  # descriptors
        self._lots: Final[dict[int, trio.lowlevel.ParkingLot]] = {}  # of those who wait, by inode number
        self._waits: Final[dict[int, tuple[int, int, int, int]]] = {}  # owner → the inode, type and range it waits for
        self._interrupts: Final[dict[int, Callable[[], None]]] = {}  # by request
        self._callback: Final = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(self._interrupted)
        native.register("getlk", (_U64, _U64, _INT, _I64, _I64), self._getlk)
        native.register("setlk", (_U64, _U64, _INT, _I64, _I64, _INT, _INT), self._setlk)
        native.register("flock", (_U64, _INT), self._flock)
        native.register("unlock", (_U64, _U64), self._flushed)
        backing.handles.on_close = self._closed

    @property
    def owners(self) -> int:
        """How many owners have locked something by fcntl."""
        return sum(map(len, self._owners.values()))

    def close(self) -> None:
        """Let go of all (the mount is gone)."""
        for owners in self._owners.values():
            for owner in owners.values():
                os.close(owner.fd)
        self._owners.clear()

    # Requests

    def _getlk(self, request: int, fh: int, key: int, kind: int, start: int, length: int) -> None:
        def work() -> None:
            file = self._file(fh)
            owners = self._owners.get(file.inode.ino, {})
            fd = owners[key].fd if key in owners else file.fd
            record = fcntl.fcntl(fd, _OFD_GETLK, _RECORD.pack(kind, os.SEEK_SET, start, length, 0))
            kind_found, whence, at, length_found, pid = _RECORD.unpack(record)
            if kind_found != fcntl.F_UNLCK and pid == -1:
                others = (owner for number, owner in owners.items() if number != key)
                pid = next((owner.pid for owner in others if owner.holds(max(at, start)) == kind_found), 0)
                record = _RECORD.pack(kind_found, whence, at, length_found, pid)
            self._libfuse.fuse_reply_lock(ctypes.c_void_p(request), record)

        self._answers.work(request, work)

    def _setlk(self, request: int, fh: int, key: int, kind: int, start: int, length: int, pid: int, wait: int) -> None:
        def work() -> Later | None:
            file = self._file(fh)
            who, end = self._backing.caller(file.who), start + length if length else _END
            if kind == fcntl.F_UNLCK and key not in self._owners.get(file.inode.ino, ()):
                self._answers.done(request)
                return None

            def attempt() -> bool:
                owner = self._owner(file, key, pid)
                granted = _locked(owner.fd, kind, start, length)
                if granted:
                    owner.handles.add(fh)
                    owner.note(kind, start, end)
                if not owner.held:
                    self._drop(file.inode, key)
                if granted:
                    self._done(request, file.inode, who, "posix", kind, start, length)
                return granted

            if attempt():
                return None
            wish = (file.inode.ino, kind, start, end)
            if wait and self._circular(key, wish):
                raise OSError(EDEADLK, "who has the lock waits for one of this process")
            return self._waiting(request, file.inode, attempt, wait=bool(wait), key=key, wish=wish)

        self._answers.work(request, work)

    def _flock(self, request: int, fh: int, operation: int) -> None:
        def work() -> Later | None:
            file, operation_now = self._file(fh), operation | fcntl.LOCK_NB
            who = self._backing.caller(file.who)
            kinds = {fcntl.LOCK_SH: fcntl.F_RDLCK, fcntl.LOCK_EX: fcntl.F_WRLCK, fcntl.LOCK_UN: fcntl.F_UNLCK}
            kind = kinds[operation & ~fcntl.LOCK_NB]

            def attempt() -> bool:
                try:
                    fcntl.flock(file.fd, operation_now)
                except BlockingIOError:
                    return False
                (self._flocked.discard if kind == fcntl.F_UNLCK else self._flocked.add)(file.fd)
                self._done(request, file.inode, who, "flock", kind, 0, 0)
                return True

            if attempt():
                return None
            return self._waiting(request, file.inode, attempt, wait=not operation & fcntl.LOCK_NB)

        self._answers.work(request, work)

    def _flushed(self, request: int, fh: int, key: int) -> None:
        """A process closed a descriptor: its fcntl locks on the file end, as POSIX has it. Answers nothing."""
        if fh >= CONTROL_BASE or not self._owners:
            return
        file = self._backing.handles.files.get(fh)
        if file is not None and key in self._owners.get(file.inode.ino, ()):
            who = self._backing.caller(file.who)
            self._drop(file.inode, key)
            self._tell(file.inode, who, "posix", fcntl.F_UNLCK, 0, 0)

    def _closed(self, file: OpenFile) -> None:
        """An open file is no more: its flock ends with it, and the fcntl locks that were its own."""
        if file.fd in self._flocked:
            self._flocked.discard(file.fd)
            fcntl.flock(file.fd, fcntl.LOCK_UN)  # the kernel's passthrough may keep the description
            self._tell(file.inode, file.who, "flock", fcntl.F_UNLCK, 0, 0)
        for key, owner in list(self._owners.get(file.inode.ino, {}).items()):
            owner.handles.discard(file.fd)
            if not owner.handles:
                self._drop(file.inode, key)
                self._tell(file.inode, file.who, "posix", fcntl.F_UNLCK, 0, 0)

    # Within

    def _file(self, fh: int) -> OpenFile:
        if fh >= CONTROL_BASE:
            raise OSError(EINVAL, "control files cannot be locked")
        if self._backing.observer.before is not None:
            self._backing.observer.before()  # a release that was put off may unlock
        return self._backing.handles.file(fh)

    def _owner(self, file: OpenFile, key: int, pid: int) -> Owner:
        owners = self._owners.get(file.inode.ino, {})
        if key not in owners:
            links, path_fd = self._backing.links, self._backing.inodes.fd(file.inode)
            try:
                fd = passthrough.reopen(links, path_fd, os.O_RDWR)
            except OSError:  # read-only, or being executed
                fd = passthrough.reopen(links, path_fd, file.flags & os.O_ACCMODE)
            owners[key] = Owner(fd, pid)
            self._owners[file.inode.ino] = owners
        return owners[key]

    def _drop(self, inode: Inode, key: int) -> None:
        owners = self._owners.get(inode.ino, {})
        owner = owners.pop(key, None)
        if owner is not None:
            os.close(owner.fd)
        if not owners:
            self._owners.pop(inode.ino, None)
        self._wake(inode)

    def _wake(self, inode: Inode) -> None:
        if inode.ino in self._lots:
            self._lots[inode.ino].unpark_all()

    def _circular(self, key: int, wish: tuple[int, int, int, int]) -> bool:
        """Whether those in the way of a wish wait, through however many others, for the owner who has it."""
        seen, ahead = {key}, [(key, wish)]
        while ahead:
            whose, (ino, kind, start, end) = ahead.pop()
            for other, owner in self._owners.get(ino, {}).items():
                if other == whose or not owner.keeps_out(kind, start, end):
                    continue
                if other == key:
                    return True
                if other in self._waits and other not in seen:
                    seen.add(other)
                    ahead.append((other, self._waits[other]))
        return False

    def _waiting(
        self,
        request: int,
        inode: Inode,
        attempt: Callable[[], bool],
        *,
        wait: bool,
        key: int = 0,
        wish: tuple[int, int, int, int] | None = None,
    ) -> Later:
        """What waits for a lock; OSError EAGAIN where that is not wished."""
        if not wait:
            raise OSError(EAGAIN, "locked by another")
        lot = self._lots.setdefault(inode.ino, trio.lowlevel.ParkingLot())
        interrupted = False

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            lot.unpark_all()

        self._interrupts[request] = interrupt
        if wish is not None:
            self._waits[key] = wish
        self._libfuse.fuse_req_interrupt_func(ctypes.c_void_p(request), self._callback, None)

        async def later() -> None:
            delay = _SOONEST
            try:
                while not interrupted:
                    with trio.move_on_after(delay):
                        await lot.park()
                    if not interrupted and attempt():
                        return
                    delay = min(delay * 2, _LATEST)
                raise OSError(EINTR, "interrupted")
            finally:
                self._interrupts.pop(request, None)
                self._waits.pop(key, None)
                if not lot:
                    self._lots.pop(inode.ino, None)

        return later

    def _interrupted(self, request: int, _: int | None) -> None:
        """By libfuse, from within `fuse_req_interrupt_func` too; must not answer the request."""
        interrupt = self._interrupts.get(request)
        if interrupt is not None:
            interrupt()

    def _done(self, request: int, inode: Inode, who: Who, how: str, kind: int, start: int, length: int) -> None:
        self._tell(inode, who, how, kind, start, length)
        self._answers.done(request)

    def _tell(self, inode: Inode, who: Who, how: str, kind: int, start: int, length: int) -> None:
        if kind == fcntl.F_UNLCK:
            self._wake(inode)
        attrs = {"kind": how, "mode": _MODES[kind]}
        self._emit("file.locked", inode, who, inode=inode.ino, offset=start, length=length, attrs=attrs, fresh=False)


def _locked(fd: int, kind: int, start: int, length: int) -> bool:
    """Whether the lock could be set at once; raises OSError for any other reason than that another has it."""
    try:
        fcntl.fcntl(fd, _OFD_SETLK, _RECORD.pack(kind, os.SEEK_SET, start, length, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True
