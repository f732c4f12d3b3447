"""Requests that are carried out at once: the native library calls the handler and answers, without a coroutine.

The same functions serve as in `operations`; what that adds is here too: the one place that turns an exception into an
errno, and the question whether it is ours at all. `/.vexfs`, and everything while a guard is loaded, goes the long way.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from pyfuse3 import FUSEError

from automation.bus import Bus
from vexfs_fuse.control.numbers import CONTROL_BASE
from vexfs_fuse.directories import Directories
from vexfs_fuse.files import Files
from vexfs_fuse.guarding import Guarding
from vexfs_fuse.inodes import Inode
from vexfs_fuse.namespace import Namespace
from vexfs_fuse.native import ASIDE, Native
from vexfs_fuse.observer import BEGAN

_U64, _U32, _INT, _NAME = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int, ctypes.c_char_p
Failed = Callable[[str, Exception, tuple[Any, ...]], FUSEError]


class Direct:
    """Registers itself with the library. `failed` says what the kernel gets for an exception."""

    def __init__(
        self, families: Sequence[object], native: Native, guarding: Guarding | None, failed: Failed, bus: Bus
    ) -> None:
        self._bus: Final = bus
        self._native: Final = native
        self._guarding: Final = guarding
        self._failed: Final = failed
        for family in families:
            if isinstance(family, Namespace):
                self._names: Namespace = family
            elif isinstance(family, Files):
                self._files: Files = family
            elif isinstance(family, Directories):
                self._directories: Directories = family
        self._register("open", (_U64, _INT), self._open)
        self._register("opendir", (_U64,), self._directories.opendir)
        self._register("create", (_U64, _NAME, _U32, _INT), self._create)
        self._register("mkdir", (_U64, _NAME, _U32), self._mkdir)
        self._register("unlink", (_U64, _NAME), self._names.unlink)
        self._register("rmdir", (_U64, _NAME), self._names.rmdir)
        self._register("rename", (_U64, _NAME, _U64, _NAME, _U32), self._names.rename)
        self._register("enter", (_U64, _NAME), self._enter)
        self._register("enter_open", (_U64, _NAME, _INT, _INT), self._enter_open)

    def _register(self, name: str, types: Sequence[Any], function: Callable[..., int | None]) -> None:
        """`function` takes what the request says, and who asks."""
        guarding, failed, who, bus = self._guarding, self._failed, self._native.request, self._bus

        def carry_out(key: int, *args: Any) -> int:
            if key >= CONTROL_BASE or (guarding is not None and guarding.active):
                return ASIDE
            token = BEGAN.set(time.perf_counter()) if bus.clocked else None
            try:
                return function(key, *args, who) or 0
            except Exception as error:
                return -failed(name, error, (key, *args, who)).errno
            finally:
                if token is not None:
                    BEGAN.reset(token)

        self._native.carry_out(name, types, carry_out)

    def _open(self, ino: int, flags: int, who: Any) -> int:
        fh, direct = self._files.opened(ino, flags, who)
        if direct:
            self._native.reply_direct_io()
        return fh

    def _create(self, parent: int, name: bytes, mode: int, flags: int, who: Any) -> int:
        return self._opened(*self._files.created(parent, name, mode, flags, who))

    def _enter_open(self, parent: int, name: bytes, flags: int, fd: int, who: Any) -> int:
        return self._opened(*self._files.entered(parent, name, flags, fd, who))

    def _enter(self, parent: int, name: bytes, who: Any) -> int:
        return self._names.enter(parent, name).ino

    def _opened(self, inode: Inode, status: os.stat_result, fh: int, direct: bool) -> int:
        inode.tell(status)
        if direct:
            self._native.reply_direct_io()
        self._native.created.value = inode.ino
        return fh

    def _mkdir(self, parent: int, name: bytes, mode: int, who: Any) -> int:
        inode, status = self._names.make_directory(parent, name, mode, who)
        inode.tell(status)
        return inode.ino
