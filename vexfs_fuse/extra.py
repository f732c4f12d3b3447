"""Operations on data that pyfuse3 lacks, added by the native library: readdir, fallocate, lseek, copy_file_range."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any, Final

import trio

from vexfs_fuse import dirents, passthrough
from vexfs_fuse.answers import Answers, Later
from vexfs_fuse.backing import Backing
from vexfs_fuse.control.numbers import CONTROL_BASE
from vexfs_fuse.directories import Directories
from vexfs_fuse.errors import EINVAL, EXDEV
from vexfs_fuse.guarding import REQUESTS, Guarding
from vexfs_fuse.handles import Opener, OpenFile
from vexfs_fuse.native import Native

_COPY_MOST: Final = 1 << 30  # bytes in one call, so that a signal to the caller is heard now and then
_U64, _I64, _INT = ctypes.c_uint64, ctypes.c_int64, ctypes.c_int
Names = Callable[[int, int], bytes]


class Extra:
    """Registers itself with the library. `control` lists a directory of `/.vexfs` (handle, position) likewise."""

    def __init__(
        self,
        backing: Backing,
        directories: Directories,
        native: Native,
        control: Names,
        guarding: Guarding | None,
        answers: Answers,
    ) -> None:
        self._backing: Final = backing
        self._directories: Final = directories
        self._control: Final = control
        self._guarding: Final = guarding
        self._emit: Final = backing.observer.emit
        self._answers: Final = answers
        native.register("readdir", (_U64, _U64, _U64), self._readdir)
        native.register("fallocate", (_U64, _INT, _I64, _I64), self._fallocate)
        native.register("lseek", (_U64, _I64, _INT), self._lseek)
        native.register("copy_file_range", (_U64, _I64, _U64, _I64, _U64), self._copy_file_range)

    def _readdir(self, request: int, fh: int, start: int, size: int) -> None:
        def answer(entries: bytes, position: int = start) -> None:
            part = dirents.portion(entries, position, size)
            self._answers.data(request, part)

        def work() -> Later | None:
            if fh >= CONTROL_BASE:
                answer(self._control(fh, start), 0)
                return None

            async def later() -> None:
                answer(await self._directories.entries(fh, start))

            return later

        self._answers.work(request, work)

    def _fallocate(self, request: int, fh: int, mode: int, offset: int, length: int) -> None:
        def work() -> Later:
            file, who = self._file(fh)
            wait = self._judged(fh, who)

            async def later() -> None:
                await trio.sleep(wait)
                await trio.to_thread.run_sync(passthrough.fallocate, file.fd, mode, offset, length)
                self._change(file, who, "file.allocated", offset, length, mode=mode)
                self._answers.done(request)

            return later

        self._answers.work(request, work)

    def _lseek(self, request: int, fh: int, offset: int, whence: int) -> None:
        def work() -> None:
            if fh >= CONTROL_BASE:
                raise OSError(EINVAL, "a stream has neither holes nor data that is not a hole")
            found = os.lseek(self._file(fh)[0].fd, offset, whence)
            self._answers.position(request, found)

        self._answers.work(request, work)

    def _copy_file_range(
        self, request: int, source_fh: int, source_at: int, target_fh: int, target_at: int, size: int
    ) -> None:
        def work() -> Later:
            (source, _), (target, who) = self._file(source_fh), self._file(target_fh)
            args = (source.fd, target.fd, min(size, _COPY_MOST), source_at, target_at)
            wait = self._judged(target_fh, who)

            async def later() -> None:
                await trio.sleep(wait)
                count = await trio.to_thread.run_sync(os.copy_file_range, *args)
                origin = {"from": source.inode.path(), "from_offset": source_at}
                self._change(target, who, "file.copied", target_at, count, **origin)
                self._answers.count(request, count)

            return later

        self._answers.work(request, work)

    def _change(self, file: OpenFile, who: Opener, type: str, offset: int, length: int, **attrs: Any) -> None:
        self._backing.drop_set_ids(file.fd, who)
        file.bytes_written += length
        file.who = who
        inode = file.inode
        self._emit(type, inode, who, inode=inode.ino, offset=offset, length=length, attrs=attrs)

    def _judged(self, fh: int, who: Opener) -> float:
        """How long to wait before the file is written to; raises the error of a guard that denies it."""
        if self._guarding is None or not self._guarding.active:
            return 0.0
        return self._guarding.judge(REQUESTS["write"](self._backing, (fh,)), who)[0]

    def _file(self, fh: int) -> tuple[OpenFile, Opener]:
        """The file, and who asks."""
        if fh >= CONTROL_BASE:
            raise OSError(EXDEV, "not between control files and others")  # tools then copy by reading and writing
        file = self._backing.handles.file(fh)
        return file, self._backing.caller(file.who)
