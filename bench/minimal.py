"""The baseline: a passthrough written the way pyfuse3 invites one to, as short as it can be.

    python bench/minimal.py SOURCE MOUNT [--timeout SECONDS]

Inodes are remembered by path, every handler is one or two system calls, the loop is pyfuse3's own. It takes the same
caching times as `passthrough_ll` (1 s), publishes nothing, and is in no way correct under renames of directories: it
shows what Python, trio and pyfuse3 cost before VexFS adds anything.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import pyfuse3
import trio

Ctx = pyfuse3.RequestContext


def fail(error: OSError) -> NoReturn:
    """Turn an `OSError` into the reply that carries its errno."""
    raise pyfuse3.FUSEError(error.errno or 5) from None


class Minimal(pyfuse3.Operations):
    """Paths by inode, descriptors by handle, nothing else."""

    enable_writeback_cache = False

    def __init__(self, source: str, timeout: float) -> None:
        super().__init__()
        self._paths: Final[dict[int, bytes]] = {pyfuse3.ROOT_INODE: os.fsencode(source)}
        self._lookups: Final[defaultdict[int, int]] = defaultdict(int)
        self._listings: Final[dict[int, tuple[int, list[bytes]]]] = {}
        self._next_listing = 1
        self._timeout: Final = timeout

    def _join(self, parent: int, name: bytes) -> bytes:
        return self._paths[parent] + b"/" + name

    def _entry(self, stat: os.stat_result) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = pyfuse3.InodeT(stat.st_ino)
        entry.st_mode = pyfuse3.ModeT(stat.st_mode)
        entry.st_nlink = stat.st_nlink
        entry.st_uid = stat.st_uid
        entry.st_gid = stat.st_gid
        entry.st_rdev = stat.st_rdev
        entry.st_size = stat.st_size
        entry.st_blksize = stat.st_blksize
        entry.st_blocks = stat.st_blocks
        entry.st_atime_ns = stat.st_atime_ns
        entry.st_mtime_ns = stat.st_mtime_ns
        entry.st_ctime_ns = stat.st_ctime_ns
        entry.generation = 0
        entry.entry_timeout = self._timeout
        entry.attr_timeout = self._timeout
        return entry

    def _adopt(self, path: bytes) -> pyfuse3.EntryAttributes:
        entry = self._entry(os.lstat(path))
        self._paths[entry.st_ino] = path
        self._lookups[entry.st_ino] += 1
        return entry

    def _made(self, path: bytes, make: Callable[[], object], ctx: Ctx) -> pyfuse3.EntryAttributes:
        try:
            make()
            os.lchown(path, ctx.uid, ctx.gid)
            return self._adopt(path)
        except OSError as error:
            fail(error)

    async def lookup(self, parent_inode: pyfuse3.InodeT, name: bytes, ctx: Ctx) -> pyfuse3.EntryAttributes:
        try:
            return self._adopt(self._join(parent_inode, name))
        except OSError as error:
            fail(error)

    async def forget(self, inode_list: Sequence[tuple[pyfuse3.InodeT, int]]) -> None:
        for inode, count in inode_list:
            self._lookups[inode] -= count
            if self._lookups[inode] <= 0:
                del self._lookups[inode]
                self._paths.pop(inode, None)

    async def getattr(self, inode: pyfuse3.InodeT, ctx: Ctx) -> pyfuse3.EntryAttributes:
        try:
            return self._entry(os.lstat(self._paths[inode]))
        except OSError as error:
            fail(error)

    async def setattr(
        self,
        inode: pyfuse3.InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: pyfuse3.FileHandleT | None,
        ctx: Ctx,
    ) -> pyfuse3.EntryAttributes:
        path = self._paths[inode]
        try:
            if fields.update_size:
                os.truncate(path if fh is None else fh, attr.st_size)
            if fields.update_mode:
                os.chmod(path, attr.st_mode & 0o7777)
            if fields.update_uid or fields.update_gid:
                uid = attr.st_uid if fields.update_uid else -1
                os.lchown(path, uid, attr.st_gid if fields.update_gid else -1)
            if fields.update_atime or fields.update_mtime:
                now = os.lstat(path)
                atime = attr.st_atime_ns if fields.update_atime else now.st_atime_ns
                mtime = attr.st_mtime_ns if fields.update_mtime else now.st_mtime_ns
                os.utime(path, ns=(atime, mtime), follow_symlinks=False)
            return self._entry(os.lstat(path))
        except OSError as error:
            fail(error)

    async def readlink(self, inode: pyfuse3.InodeT, ctx: Ctx) -> bytes:
        try:
            return os.readlink(self._paths[inode])
        except OSError as error:
            fail(error)

    async def mkdir(self, parent: pyfuse3.InodeT, name: bytes, mode: int, ctx: Ctx) -> pyfuse3.EntryAttributes:
        path = self._join(parent, name)
        return self._made(path, lambda: os.mkdir(path, mode & ~ctx.umask), ctx)

    async def symlink(self, parent: pyfuse3.InodeT, name: bytes, target: bytes, ctx: Ctx) -> pyfuse3.EntryAttributes:
        path = self._join(parent, name)
        return self._made(path, lambda: os.symlink(target, path), ctx)

    async def link(
        self, inode: pyfuse3.InodeT, new_parent: pyfuse3.InodeT, new_name: bytes, ctx: Ctx
    ) -> pyfuse3.EntryAttributes:
        path = self._join(new_parent, new_name)
        try:
            os.link(self._paths[inode], path, follow_symlinks=False)
            return self._adopt(path)
        except OSError as error:
            fail(error)

    async def unlink(self, parent: pyfuse3.InodeT, name: bytes, ctx: Ctx) -> None:
        try:
            os.unlink(self._join(parent, name))
        except OSError as error:
            fail(error)

    async def rmdir(self, parent: pyfuse3.InodeT, name: bytes, ctx: Ctx) -> None:
        try:
            os.rmdir(self._join(parent, name))
        except OSError as error:
            fail(error)

    async def rename(
        self,
        parent_old: pyfuse3.InodeT,
        name_old: bytes,
        parent_new: pyfuse3.InodeT,
        name_new: bytes,
        flags: int,
        ctx: Ctx,
    ) -> None:
        if flags:
            raise pyfuse3.FUSEError(22)
        path = self._join(parent_new, name_new)
        try:
            os.rename(self._join(parent_old, name_old), path)
            inode = os.lstat(path).st_ino
        except OSError as error:
            fail(error)
        if inode in self._paths:
            self._paths[inode] = path

    async def statfs(self, ctx: Ctx) -> pyfuse3.StatvfsData:
        now = os.statvfs(self._paths[pyfuse3.ROOT_INODE])
        out = pyfuse3.StatvfsData()
        for field in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail"):
            setattr(out, field, getattr(now, field))
        out.f_namemax = now.f_namemax
        return out

    async def opendir(self, inode: pyfuse3.InodeT, ctx: Ctx) -> pyfuse3.FileHandleT:
        handle, self._next_listing = self._next_listing, self._next_listing + 1
        try:
            self._listings[handle] = (inode, os.listdir(self._paths[inode]))
        except OSError as error:
            fail(error)
        return pyfuse3.FileHandleT(handle)

    async def readdir(self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        inode, names = self._listings[fh]
        for at in range(start_id, len(names)):
            path = self._join(inode, names[at])
            try:
                entry = self._entry(os.lstat(path))
            except FileNotFoundError:
                continue
            if not pyfuse3.readdir_reply(token, names[at], entry, at + 1):
                return
            self._paths[entry.st_ino] = path
            self._lookups[entry.st_ino] += 1

    async def releasedir(self, fh: pyfuse3.FileHandleT) -> None:
        del self._listings[fh]

    async def open(self, inode: pyfuse3.InodeT, flags: int, ctx: Ctx) -> pyfuse3.FileInfo:
        try:
            fd = os.open(self._paths[inode], flags & ~(os.O_CREAT | os.O_NOFOLLOW))
        except OSError as error:
            fail(error)
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(fd), keep_cache=False)

    async def create(
        self, parent: pyfuse3.InodeT, name: bytes, mode: int, flags: int, ctx: Ctx
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        path = self._join(parent, name)
        try:
            fd = os.open(path, flags | os.O_CREAT | os.O_TRUNC, mode & ~ctx.umask)
            os.fchown(fd, ctx.uid, ctx.gid)
            return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(fd), keep_cache=False), self._adopt(path)
        except OSError as error:
            fail(error)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        try:
            return os.pread(fh, size, off)
        except OSError as error:
            fail(error)

    async def write(self, fh: pyfuse3.FileHandleT, off: int, buf: bytes) -> int:
        try:
            return os.pwrite(fh, buf, off)
        except OSError as error:
            fail(error)

    async def fsync(self, fh: pyfuse3.FileHandleT, datasync: bool) -> None:
        try:
            (os.fdatasync if datasync else os.fsync)(fh)
        except OSError as error:
            fail(error)

    async def release(self, fh: pyfuse3.FileHandleT) -> None:
        os.close(fh)


async def serve() -> None:
    """pyfuse3's loop, until the mount is taken away or SIGTERM or SIGINT comes."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_until_signal)
        await pyfuse3.main()
        nursery.cancel_scope.cancel()


async def _until_signal() -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            pyfuse3.terminate()
            return


def main(arguments: Sequence[str] | None = None, loop: Callable[[], Any] = serve) -> None:
    """Mount and serve in the foreground."""
    parser = argparse.ArgumentParser(description="The pyfuse3 baseline of the benchmarks.")
    parser.add_argument("source")
    parser.add_argument("mount")
    parser.add_argument(
        "--timeout", type=float, default=1.0, help="seconds that the kernel may keep names and attributes"
    )
    chosen = parser.parse_args(arguments)
    options = set(pyfuse3.default_options) | {"fsname=minimal"}
    pyfuse3.init(Minimal(os.path.realpath(chosen.source), chosen.timeout), os.path.realpath(chosen.mount), options)
    os.umask(0)
    try:
        trio.run(loop)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
