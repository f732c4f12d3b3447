"""What the families of operations share: tables, the caller's identity, the observer, entries for the kernel."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from pyfuse3 import EntryAttributes

from vexfs_fuse import passthrough
from vexfs_fuse.callers import Asking, Who, in_group
from vexfs_fuse.control.numbers import CONTROL_BASE
from vexfs_fuse.credentials import Credentials
from vexfs_fuse.errors import EBUSY, EXDEV, fail
from vexfs_fuse.handles import Handles, Opener
from vexfs_fuse.inodes import Inode, Inodes
from vexfs_fuse.native import Native
from vexfs_fuse.observer import Observer

CONTROL_NAME: Final = b".vexfs"


@dataclass(slots=True)
class Timeouts:
    """For how many seconds the kernel may believe names and attributes; shortened when a watch fails.

    `file` is for regular files, which others may be writing to without closing them. `listings` says whether it may
    keep a listing until the directory changes.
    """

    entry: float = 1.0
    attr: float = 1.0
    file: float = 1.0
    listings: bool = False


@dataclass(slots=True, frozen=True)
class Backing:
    """The backing tree as one mount sees it."""

    inodes: Inodes
    observer: Observer
    native: Native | None
    timeouts: Timeouts = field(default_factory=Timeouts)
    handles: Handles = field(default_factory=Handles)
    credentials: Credentials = field(default_factory=Credentials)
    links: int = field(default_factory=passthrough.open_links)

    def close(self) -> None:
        """Close every descriptor but the root's (the mount is gone)."""
        self.handles.close()
        self.inodes.close()
        os.close(self.links)

    def masked(self, mode: int, ctx: Asking, parent: Inode, fd: int) -> int:
        """`mode` without the caller's umask, unless the directory (`parent`, `fd`) has a default ACL.

        The process's own umask is 0. That there is no ACL is remembered for a second, like a name's attributes.
        """
        if not ctx.umask:
            return mode
        now = time.monotonic_ns()
        if parent.plain_until < now:
            if passthrough.has_default_acl(fd):
                return mode
            parent.plain_until = now + 1_000_000_000
        return mode & ~ctx.umask

    def attributes(self, inode: Inode, status: os.stat_result) -> EntryAttributes:
        """`status` in the kernel's form, under the mount's inode number."""
        entry = EntryAttributes()
        entry.st_ino = inode.ino
        entry.generation = inode.generation
        timeouts = self.timeouts
        entry.entry_timeout = timeouts.entry
        entry.attr_timeout = 0 if inode.mappable else timeouts.file if inode.kind == stat.S_IFREG else timeouts.attr
        inode.tell(status)
        entry.st_mode = status.st_mode
        entry.st_nlink = status.st_nlink
        entry.st_uid = status.st_uid
        entry.st_gid = status.st_gid
        entry.st_rdev = status.st_rdev
        entry.st_size = status.st_size
        entry.st_blksize = status.st_blksize
        entry.st_blocks = status.st_blocks
        entry.st_atime_ns = status.st_atime_ns
        entry.st_mtime_ns = status.st_mtime_ns
        entry.st_ctime_ns = status.st_ctime_ns
        return entry

    def directory(self, ino: int, name: bytes) -> tuple[Inode, int]:
        """The directory in which `name` is made, moved or removed, and its descriptor; `.vexfs` is not to be had."""
        if ino >= CONTROL_BASE:
            fail(EXDEV)  # the other end of a rename or link lies in `/.vexfs`
        inode = self.inodes[ino]
        if inode is self.inodes.root and name == CONTROL_NAME:
            fail(EBUSY)
        return inode, self.inodes.fd(inode)

    def enter(self, parent: Inode, name: bytes) -> tuple[Inode, os.stat_result]:
        """Look a name up, counted: what the kernel knows already needs no new descriptor. Raises OSError."""
        fd = self.inodes.fd(parent)
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        inode = self.inodes.find(status.st_dev, status.st_ino)
        if inode is not None and inode.fd >= 0 and inode is not self.inodes.root:
            self.inodes.meet(inode, parent, name)
            return inode, status
        path_fd, status = passthrough.open_path(fd, name)
        return self.inodes.enter(parent, name, path_fd, status), status

    def drop_set_ids(self, fd: int, who: Who) -> None:
        """`who` changed the content of a file: suid and sgid go, unless root did."""
        if who.uid != 0:
            passthrough.drop_set_ids(fd, partial(in_group, who))

    def caller(self, otherwise: Opener) -> Opener:
        """Who makes the request in hand, where pyfuse3 does not say; without the native library, `otherwise`.

        A copy, which outlives the request; to be asked for before the first await.
        """
        if self.native is None:
            return otherwise
        request = self.native.request
        return Opener(request.pid, request.uid, request.gid)
