"""Operations on open files: open, create, read, write, flush, release, fsync, poll.

With the kernel's passthrough every open of a regular file carries the inode's one backing id: a *native* open leaves
reading and writing to the kernel, a *traced* one (FOPEN_DIRECT_IO beside it) sends each to us, and both may be open at
once. Without passthrough all data comes through here, by way of the kernel's page cache.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
from functools import partial
from typing import Any, Final

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, RequestContext

from vexfs_fuse import pace, passthrough
from vexfs_fuse.backing import Backing
from vexfs_fuse.callers import Asking, Who, opens_for_itself
from vexfs_fuse.errors import EINVAL, code_of, fail
from vexfs_fuse.handles import Opener, OpenFile
from vexfs_fuse.inodes import Inode
from vexfs_fuse.interest import Interest, maker_of
from vexfs_fuse.native import FOPEN_NOFLUSH, FOPEN_PASSTHROUGH, Native

_READY: Final = select.POLLIN | select.POLLOUT | select.POLLRDNORM | select.POLLWRNORM
UNNAMED: Final = os.O_TMPFILE
_SUID: Final = stat.S_ISUID | stat.S_ISGID


Created = tuple[Inode, os.stat_result, int, bool]  # with the handle, and whether reads and writes are to be sent


class Files:
    """What may block runs in threads (`pace`)."""

    def __init__(self, backing: Backing, interest: Interest) -> None:
        self._backing: Final = backing
        self._inodes: Final = backing.inodes
        self._handles: Final = backing.handles
        self._emit: Final = backing.observer.emit
        self._data: Final = backing.observer.data
        self._interest: Final = interest
        self._pace: Final = pace.Pace()
        if backing.native is not None:
            self._handles.fetch = partial(self.take_over, backing.native)

    def open(self, ino: int, flags: int, ctx: RequestContext) -> FileInfo:
        """Open an existing file."""
        return _info(*self.opened(ino, flags, ctx))

    def opened(self, ino: int, flags: int, ctx: Asking) -> tuple[int, bool]:
        """Open an existing file: its handle, and whether the kernel is to send each read and write."""
        inode = self._inodes[ino]
        path_fd = self._inodes.fd(inode)
        size_before = os.fstat(path_fd).st_size if flags & os.O_TRUNC else 0
        fd = passthrough.reopen(self._backing.links, path_fd, flags)
        if flags & os.O_TRUNC:
            self._backing.drop_set_ids(fd, ctx)
        direct = self._opened(inode, fd, flags, os.fstat(fd), ctx, created=False)
        if size_before:
            self._handles.file(fd).truncated = True
            attrs = {"size_before": size_before}
            self._emit("file.truncated", inode, ctx, inode=ino, size=0, attrs=attrs, fresh=False)
        return fd, direct

    def create(
        self, parent_ino: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        """Open a file that the kernel did not find; it may have appeared in between."""
        inode, status, fh, direct = self.created(parent_ino, name, mode, flags, ctx)
        return _info(fh, direct), self._backing.attributes(inode, status)

    def created(self, parent_ino: int, name: bytes, mode: int, flags: int, ctx: Asking) -> Created:
        """Create and open a file."""
        parent, dir_fd = self._backing.directory(parent_ino, name)
        if flags & UNNAMED == UNNAMED:
            return self._unnamed(parent, dir_fd, name, mode, flags, ctx)
        created = True
        with self._backing.credentials.of(ctx.uid, ctx.gid):
            wanted = flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                fd = os.open(name, wanted, self._backing.masked(stat.S_IMODE(mode), ctx, parent, dir_fd), dir_fd=dir_fd)
            except FileExistsError:
                if flags & os.O_EXCL:
                    raise
                created = False
                fd = os.open(name, wanted & ~(os.O_CREAT | os.O_EXCL), dir_fd=dir_fd)
        return self._made(parent, name, fd, flags, ctx, created=created)

    def entered(self, parent_ino: int, name: bytes, flags: int, fd: int, ctx: Who) -> Created:
        """A file that the native library has created and opened."""
        return self._made(self._inodes[parent_ino], name, fd, flags, ctx, created=True)

    def _made(self, parent: Inode, name: bytes, fd: int, flags: int, ctx: Who, *, created: bool) -> Created:
        try:
            status = os.fstat(fd)
            inode = self._inodes.enter(parent, name, passthrough.reopen(self._backing.links, fd, os.O_PATH), status)
        except BaseException:
            os.close(fd)
            raise
        if created:
            self._emit("file.created", parent, ctx, name=name, inode=inode.ino, size=0, attrs={"kind": "file"})
        return inode, status, fd, self._opened(inode, fd, flags, status, ctx, created=created)

    def _unnamed(self, parent: Inode, dir_fd: int, name: bytes, mode: int, flags: int, ctx: Asking) -> Created:
        """O_TMPFILE: a file without a name, which a link may give it. `name` stands for it in paths."""
        with self._backing.credentials.of(ctx.uid, ctx.gid):
            wanted = self._backing.masked(stat.S_IMODE(mode), ctx, parent, dir_fd)
            fd = os.open(b".", flags | os.O_CLOEXEC, wanted, dir_fd=dir_fd)
        try:
            status = os.fstat(fd)
            inode = self._inodes.enter(parent, name, passthrough.reopen(self._backing.links, fd, os.O_PATH), status)
        except BaseException:
            os.close(fd)
            raise
        inode.remove_name(parent, name)
        self._inodes.named(inode)
        attrs = {"kind": "file", "unnamed": True}
        self._emit("file.created", parent, ctx, name=name, inode=inode.ino, size=0, attrs=attrs)
        return inode, status, fd, self._opened(inode, fd, flags & ~UNNAMED, status, ctx, created=True)

    async def read(self, fh: int, offset: int, size: int) -> bytes | bytearray | memoryview:
        """Bytes at an offset; fewer at the end of the file."""
        file = self._handles.file(fh)
        if (offset | size) % file.align:
            fail(EINVAL)
        who = self._backing.caller(file.who)
        data = await self._pace.read(file.inode.dev, file.fd, size, offset)
        file.bytes_read += len(data)
        self._data("file.read", file, who, offset, len(data))
        return data

    async def write(self, fh: int, offset: int, data: bytes) -> int:
        """Bytes written."""
        file = self._handles.file(fh)
        if (offset | len(data)) % file.align:
            fail(EINVAL)
        who = self._backing.caller(file.who)
        library = self._backing.native
        drop = file.set_ids if library is None else library.request.flags
        count = await self._pace.call(file.inode.dev, os.pwrite, file.fd, data, offset)
        if drop:
            self._backing.drop_set_ids(file.fd, who)
        file.bytes_written += count
        if who.pid != file.who.pid:
            file.who = who
        self._data("file.written", file, who, offset, count)
        return count

    def told(self, fh: int, written: int, pid: int, uid: int, gid: int, offset: int, length: int) -> None:
        """The native library has read from a file, or written to it, and will answer when this returns."""
        try:
            file = self._handles.file(fh)
            who = file.who if file.who.pid == pid else Opener(pid, uid, gid)
            if written:
                file.bytes_written += length
                file.who = who
            else:
                file.bytes_read += length
            self._data("file.written" if written else "file.read", file, who, offset, length)
        except Exception as error:  # what was done is done
            code_of(error)

    async def flush(self, fh: int) -> None:
        """A descriptor is closed; says what only shows then, e.g. that a network filesystem's server is full."""
        file = self._handles.file(fh)
        who = self._backing.caller(file.who)
        if file.bytes_written:
            await self._pace.call(file.inode.dev, lambda: os.close(os.dup(file.fd)))
        self._emit("sync.flush", file.inode, who, inode=file.inode.ino)

    async def release(self, fh: int) -> None:
        """The last descriptor is closed."""
        self.close(fh)

    def close(self, fh: int) -> None:
        """What a release does. The kernel names nobody: the event tells who wrote last, else who opened."""
        file = self._handles.file(fh)
        del self._handles.files[fh]
        inode = file.inode
        status = os.fstat(file.fd)
        self._closed(file, status)
        inode.data = (status.st_size, status.st_mtime_ns)
        if file.mappable:
            self._inodes.mapped(inode, -1)
        if file.changed:
            _expire(inode)
        if file.writable and self._handles.closed_writers is not None:
            self._handles.closed_writers.append(file)
        self._release_backing(inode)
        if self._handles.on_close is not None:
            self._handles.on_close(file)
        if inode.removed:
            pace.close_last(file.fd)
        else:
            os.close(file.fd)
        self._inodes.closed(inode)

    async def fsync(self, fh: int, datasync: bool) -> None:
        """To stable storage."""
        file = self._handles.file(fh)
        who = self._backing.caller(file.who)
        await trio.to_thread.run_sync(os.fdatasync if datasync else os.fsync, file.fd)
        attrs = {"datasync": datasync}
        self._emit("sync.fsync", file.inode, who, inode=file.inode.ino, attrs=attrs)

    async def poll(self, ino: int, fh: int, handle: object, ctx: RequestContext) -> int:
        """A regular file is always ready."""
        return _READY

    def _opened(self, inode: Inode, fd: int, flags: int, status: os.stat_result, ctx: Who, *, created: bool) -> bool:
        """Remember it; whether the kernel is to send each read and write."""
        if self._handles.fetch is not None:
            self._handles.fetch(inode.ino, 0)
        align = passthrough.honour_direct(fd) if flags & os.O_DIRECT else 1
        path = inode.path()
        who = Opener(ctx.pid, ctx.uid, ctx.gid, self._backing.observer.opener(ctx, path))
        native = self._register(inode, fd, flags, status, path, who)
        set_ids = bool(status.st_mode & _SUID)
        backed, size, mtime = inode.backing_id != 0, status.st_size, status.st_mtime_ns
        file = OpenFile(fd, inode, flags, who, created, native, backed, set_ids, size, mtime, align=align)
        self._handles.files[fd] = file
        self._inodes.opened(inode)
        if file.mappable:
            self._inodes.mapped(inode, 1)
            if not created:
                _expire(inode)
        mode = "rw" if flags & os.O_RDWR else "w" if flags & os.O_WRONLY else "r"
        attrs = {"mode": mode, "append": bool(flags & os.O_APPEND), "truncate": bool(flags & os.O_TRUNC)}
        self._emit("file.opened", path, ctx, inode=inode.ino, size=status.st_size, attrs=attrs)
        return backed and not native

    def take_over(self, library: Native, ino: int, fh: int) -> None:
        """The files that the native library has open; see `Handles.fetch`."""
        if fh and not (ino := library.files.inode_of(fh)):
            return
        for one in library.files.take(ino):
            inode, native = self._inodes[one.ino], bool(one.native)
            who = Opener(one.pid, one.uid, one.gid)
            file = OpenFile(
                *(one.fd, inode, one.flags, who, bool(one.created), native, native, False, one.size, one.mtime_ns),
                changed=bool(one.changed),
                truncated=bool(one.truncated),
            )
            self._handles.files[file.fd] = file
            inode.opens += 1
            if native:
                inode.backing_id = one.backing_id
                inode.backing_opens += 1
            if file.mappable:
                self._inodes.mapped(inode, 1)

    def _register(self, inode: Inode, fd: int, flags: int, status: os.stat_result, path: str, who: Opener) -> bool:
        """Put the open's flags and backing id into the reply; whether it is a native one."""
        library = self._backing.native
        if library is None:
            return False
        tenant, writer = self._backing.observer.tenant(path, who), bool(flags & (os.O_WRONLY | os.O_RDWR))
        extra = 0 if self._interest.in_flush(path, tenant, writer=writer) else FOPEN_NOFLUSH
        judged = self._interest.judged(path)
        if library.passthrough and inode.backing_id == 0 and inode.opens == 0 and not judged:
            try:
                inode.backing_id = library.backing_open(fd)
            except OSError:
                inode.backing_id = 0  # stacked too deep, say: this file's data comes through us
        if not inode.backing_id:
            library.reply_flags(extra)
            return False
        inode.backing_opens += 1
        library.reply_flags(extra | FOPEN_PASSTHROUGH, inode.backing_id)
        # The kernel writes without CAP_FSETID and so clears suid for root too, which a plain filesystem does not.
        keeps_suid = bool(status.st_mode & _SUID and who.uid == 0 and flags & (os.O_WRONLY | os.O_RDWR))

        def name() -> str | None:
            who.caller = who.caller or self._backing.observer.callers.at(who.pid)
            comm = who.caller.comm()
            return comm if opens_for_itself(who.pid, comm) else None

        return not keeps_suid and not judged and not self._interest.in_data(path, tenant, maker_of(who, name))

    def _release_backing(self, inode: Inode) -> None:
        if inode.backing_id and self._backing.native is not None:
            inode.backing_opens -= 1
            if inode.backing_opens == 0:
                self._backing.native.backing_close(inode.backing_id)
                inode.backing_id = 0

    def _closed(self, file: OpenFile, status: os.stat_result) -> None:
        if file.native or (file.bytes_written == 0 and file.inode.opens == 1):  # a traced file may have been mapped
            file.settle(status)
        path, ino = file.inode.path(), file.inode.ino
        written = bool(file.bytes_written) or file.changed or file.truncated
        who, size = file.who, status.st_size
        if file.changed:
            attrs: dict[str, Any] = {"summary": True, "size_before": file.size}
            self._emit("file.written", path, who, inode=ino, size=size, attrs=attrs, fresh=False, caller=who.caller)
        attrs = {
            "written": written,
            "bytes_written": None if file.native else file.bytes_written,
            "bytes_read": None if file.native else file.bytes_read,
            "created": file.created,
            "mode": "rw" if file.flags & os.O_RDWR else "w" if file.flags & os.O_WRONLY else "r",
            "size_before": file.size,
            "nlink": status.st_nlink,
        }
        self._emit("file.closed", path, who, inode=ino, size=size, attrs=attrs, fresh=False, caller=who.caller)


def _info(fh: int, direct: bool) -> FileInfo:
    # Coherent with what was written behind the kernel's back since; passthrough opens have no cache of ours anyway.
    return FileInfo(fh=fh, keep_cache=False, direct_io=direct)


def _expire(inode: Inode) -> None:
    """Let the kernel ask for the attributes anew: it does not know what a mapping of the backing file changed.

    Without pages to drop this waits for nothing, so it may be done within a request.
    """
    with contextlib.suppress(OSError):
        pyfuse3.invalidate_inode(inode.ino, attr_only=True)
