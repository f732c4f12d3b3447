"""Operations on attributes: getattr, setattr, access, statfs and extended attributes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from pyfuse3 import EntryAttributes, RequestContext, SetattrFields, StatvfsData

from vexfs_fuse import passthrough
from vexfs_fuse.backing import Backing
from vexfs_fuse.callers import in_group
from vexfs_fuse.inodes import Inode
from vexfs_fuse.native import SET_ATIME_NOW, SET_MTIME_NOW


class Attributes:
    """Synchronous, like `Namespace`."""

    def __init__(self, backing: Backing) -> None:
        self._backing: Final = backing
        self._inodes: Final = backing.inodes
        self._emit: Final = backing.observer.emit

    def getattr(self, ino: int, ctx: RequestContext) -> EntryAttributes:
        """Status of an object."""
        inode = self._inodes[ino]
        status = os.fstat(self._inodes.fd(inode))
        self._emit("meta.getattr", inode, ctx, inode=ino, fresh=False)
        return self._backing.attributes(inode, status)

    def setattr(
        self, ino: int, attr: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        """Change owner, size, mode and times, in that order: owner and size clear suid before a new mode is set."""
        inode = self._inodes[ino]
        fd = self._inodes.fd(inode)
        flags = 0 if self._backing.native is None else self._backing.native.request.flags
        before = os.fstat(fd)
        if fields.update_uid or fields.update_gid or not _asked(fields):
            # No field at all is chown(-1, -1), which clears suid and sgid all the same.
            uid = attr.st_uid if fields.update_uid else -1
            gid = attr.st_gid if fields.update_gid else -1
            os.chown(passthrough.link_to(fd), uid, gid)
            self._emit("file.attr.owner", inode, ctx, inode=ino, attrs={"uid": uid, "gid": gid})
        if fields.update_size:
            with self._marked(inode, fd):
                self._truncate(fd, attr.st_size, fh)
            size = {"size_before": before.st_size}
            self._emit("file.truncated", inode, ctx, inode=ino, size=attr.st_size, attrs=size)
        if fields.update_mode:
            os.chmod(passthrough.link_to(fd), stat.S_IMODE(attr.st_mode))
            mode = {"mode": oct(stat.S_IMODE(attr.st_mode)), "before": oct(stat.S_IMODE(before.st_mode))}
            self._emit("file.attr.mode", inode, ctx, inode=ino, attrs=mode)
        if fields.update_size:  # after the mode: without KILLPRIV_V2 the kernel sends one, with its own idea of sgid
            self._backing.drop_set_ids(fd, ctx)
        if fields.update_atime or fields.update_mtime:
            self._set_times(inode, fd, attr, fields, flags)
            if not fields.update_size:  # a truncation sets mtime along the way
                self._emit("file.attr.times", inode, ctx, inode=ino)
        return self._backing.attributes(inode, os.fstat(fd))

    def access(self, ino: int, mode: int, ctx: RequestContext) -> bool:
        """Always granted here: the kernel judges by itself (default_permissions)."""
        self._emit("meta.access", self._inodes[ino].path(), ctx, inode=ino, fresh=False)
        return True

    def statfs(self, ctx: RequestContext) -> StatvfsData:
        """Totals of the filesystem; of the one that the object lies on, where the native library knows it."""
        inode = self._inodes.root
        if self._backing.native is not None:
            inode = self._inodes[self._backing.native.request.ino]
        totals = os.statvfs(passthrough.link_to(self._inodes.fd(inode)))
        result = StatvfsData()
        for name in _STATVFS:
            setattr(result, name, getattr(totals, name))
        self._emit("meta.statfs", inode, ctx, inode=inode.ino, fresh=False)
        return result

    def getxattr(self, ino: int, name: bytes, ctx: RequestContext) -> bytes:
        """An extended attribute's value."""
        inode = self._inodes[ino]
        value = os.getxattr(passthrough.link_to(self._inodes.fd(inode)), name)
        self._emit("meta.xattr", inode, ctx, inode=ino, attrs={"name": os.fsdecode(name)}, fresh=False)
        return value

    def listxattr(self, ino: int, ctx: RequestContext) -> list[bytes]:
        """Names of the extended attributes."""
        inode = self._inodes[ino]
        names = os.listxattr(passthrough.link_to(self._inodes.fd(inode)))
        self._emit("meta.xattr", inode, ctx, inode=ino, fresh=False)
        # The kernel lists `trusted.` to CAP_SYS_ADMIN only, and here that would be us.
        return [os.fsencode(name) for name in names if ctx.uid == 0 or not name.startswith("trusted.")]

    def setxattr(self, ino: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        """Set an extended attribute."""
        inode = self._inodes[ino]
        fd = self._inodes.fd(inode)
        os.setxattr(passthrough.link_to(fd), name, value)
        self._inodes.ask_again(inode)
        if name == b"system.posix_acl_access" and ctx.uid != 0:  # the kernel's rule for who is not in the file's group
            passthrough.drop_set_ids(fd, partial(in_group, ctx), gid_only=True)
        attrs = {"name": os.fsdecode(name), "length": len(value)}
        self._emit("file.attr.xattr", inode, ctx, inode=ino, attrs=attrs)

    def removexattr(self, ino: int, name: bytes, ctx: RequestContext) -> None:
        """Remove an extended attribute."""
        inode = self._inodes[ino]
        os.removexattr(passthrough.link_to(self._inodes.fd(inode)), name)
        self._emit("file.attr.xattr", inode, ctx, inode=ino, attrs={"name": os.fsdecode(name), "removed": True})

    def _truncate(self, fd: int, size: int, fh: int | None) -> None:
        if fh is not None:
            file = self._backing.handles.file(fh)
            os.ftruncate(file.fd, size)
            file.truncated = True
        else:
            os.truncate(passthrough.link_to(fd), size)

    def _set_times(self, inode: Inode, fd: int, attr: EntryAttributes, fields: SetattrFields, flags: int) -> None:
        atime = attr.st_atime_ns if fields.update_atime else passthrough.UTIME_OMIT
        mtime = attr.st_mtime_ns if fields.update_mtime else passthrough.UTIME_OMIT
        if flags & SET_ATIME_NOW:
            atime = passthrough.UTIME_NOW
        if flags & SET_MTIME_NOW:
            mtime = passthrough.UTIME_NOW
        with self._marked(inode, fd):
            passthrough.set_times(fd, atime, mtime)

    @contextmanager
    def _marked(self, inode: Inode, fd: int) -> Iterator[None]:
        """What changes size or times inside is not taken for a write through one of the inode's open files."""
        files = self._backing.handles.of(inode)
        before = os.fstat(fd)
        for file in files:
            if file.native:
                file.settle(before)
        yield
        after = os.fstat(fd) if files else before
        for file in files:
            file.mark(after)


def _asked(fields: SetattrFields) -> bool:
    return bool(fields.update_mode or fields.update_size or fields.update_atime or fields.update_mtime)


_STATVFS: Final = (
    "f_bsize",
    "f_frsize",
    "f_blocks",
    "f_bfree",
    "f_bavail",
    "f_files",
    "f_ffree",
    "f_favail",
    "f_namemax",
)
