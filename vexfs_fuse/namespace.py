"""Operations on names: lookup, forget, mknod, mkdir, unlink, rmdir, symlink, rename, link, readlink."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Final

from pyfuse3 import EntryAttributes, RequestContext

from automation.workspace.stats import kind_of
from vexfs_fuse import passthrough
from vexfs_fuse.backing import Backing
from vexfs_fuse.callers import Asking, Who
from vexfs_fuse.inodes import Inode

RENAME_EXCHANGE: Final = 2


class Namespace:
    """All synchronous: each is one or two system calls on cached metadata, cheaper than a hop to a thread."""

    def __init__(self, backing: Backing) -> None:
        self._backing: Final = backing
        self._inodes: Final = backing.inodes
        self._emit: Final = backing.observer.emit

    def lookup(self, parent_ino: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        """Find a name."""
        parent = self._inodes[parent_ino]
        inode, status = self._backing.enter(parent, name)
        self._emit("meta.lookup", parent, ctx, name=name, inode=inode.ino, fresh=False)
        return self._backing.attributes(inode, status)

    def enter(self, parent_ino: int, name: bytes) -> Inode:
        """The inode of what the native library has made, its lookup counted."""
        inode, status = self._backing.enter(self._inodes[parent_ino], name)
        inode.tell(status)
        return inode

    def forget(self, forgotten: Iterable[tuple[int, int]]) -> None:
        """The kernel gives lookups back."""
        for ino, count in forgotten:
            try:
                inode = self._inodes[ino]
            except OSError:
                continue
            self._inodes.forget(inode, count)

    def readlink(self, ino: int, ctx: RequestContext) -> bytes:
        """A symbolic link's target."""
        inode = self._inodes[ino]
        target = os.readlink(b"", dir_fd=self._inodes.fd(inode))
        self._emit("meta.readlink", inode, ctx, inode=ino, fresh=False)
        return target

    def mknod(self, parent_ino: int, name: bytes, mode: int, rdev: int, ctx: RequestContext) -> EntryAttributes:
        """Make a file, fifo, socket or device."""
        parent, fd = self._backing.directory(parent_ino, name)
        with self._backing.credentials.of(ctx.uid, ctx.gid):
            os.mknod(name, self._backing.masked(mode, ctx, parent, fd), rdev, dir_fd=fd)
        return self._made("file.created", parent, name, ctx)

    def mkdir(self, parent_ino: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        """Make a directory."""
        return self._backing.attributes(*self.make_directory(parent_ino, name, mode, ctx))

    def make_directory(self, parent_ino: int, name: bytes, mode: int, ctx: Asking) -> tuple[Inode, os.stat_result]:
        """Make a directory: its inode and status."""
        parent, fd = self._backing.directory(parent_ino, name)
        with self._backing.credentials.of(ctx.uid, ctx.gid):
            os.mkdir(name, self._backing.masked(stat.S_IMODE(mode), ctx, parent, fd), dir_fd=fd)
        return self._entered("dir.created", parent, name, ctx)

    def symlink(self, parent_ino: int, name: bytes, target: bytes, ctx: RequestContext) -> EntryAttributes:
        """Make a symbolic link."""
        parent, fd = self._backing.directory(parent_ino, name)
        with self._backing.credentials.of(ctx.uid, ctx.gid):
            os.symlink(target, name, dir_fd=fd)
        return self._made("file.symlinked", parent, name, ctx, target=os.fsdecode(target))

    def link(self, ino: int, parent_ino: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        """Give a file another name."""
        inode = self._inodes[ino]
        parent, fd = self._backing.directory(parent_ino, name)
        source = inode.path()
        passthrough.link(self._inodes.fd(inode), fd, name)
        inode, status = self._backing.enter(parent, name)
        self._emit("file.linked", source, ctx, parent.path(name), inode=inode.ino)
        return self._backing.attributes(inode, status)

    def unlink(self, parent_ino: int, name: bytes, ctx: Who) -> None:
        """Remove a name of a file."""
        parent, fd = self._backing.directory(parent_ino, name)
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        os.unlink(name, dir_fd=fd)
        inode = self._gone(parent, name, status)
        attrs = {"kind": kind_of(status.st_mode), "nlink": status.st_nlink - 1}
        self._emit("file.deleted", parent, ctx, name=name, inode=inode, size=status.st_size, attrs=attrs)

    def rmdir(self, parent_ino: int, name: bytes, ctx: Who) -> None:
        """Remove an empty directory."""
        parent, fd = self._backing.directory(parent_ino, name)
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        os.rmdir(name, dir_fd=fd)
        self._emit("dir.deleted", parent, ctx, name=name, inode=self._gone(parent, name, status))

    def rename(self, old_parent: int, old: bytes, new_parent: int, new: bytes, flags: int, ctx: Who) -> None:
        """Move a name; over another it replaces, with RENAME_EXCHANGE the two change places."""
        source, source_fd = self._backing.directory(old_parent, old)
        target, target_fd = self._backing.directory(new_parent, new)
        moved = os.stat(old, dir_fd=source_fd, follow_symlinks=False)
        covered = _status(target_fd, new)
        passthrough.rename(source_fd, old, target_fd, new, flags)
        paths = source.path(old), target.path(new)
        if covered is not None and (covered.st_dev, covered.st_ino) == (moved.st_dev, moved.st_ino):
            return  # two names of one file: POSIX says that nothing happens
        over = None if covered is None else self._inodes.find(covered.st_dev, covered.st_ino)
        inode = self._inodes.find(moved.st_dev, moved.st_ino)
        if inode is not None:
            inode.remove_name(source, old)
        if over is not None:
            over.remove_name(target, new)
            if flags & RENAME_EXCHANGE:
                over.add_name(source, old)
        if inode is not None:
            inode.add_name(target, new)
        for one in (inode, over):
            if one is not None:
                self._inodes.named(one)
        self._renamed(paths, ctx, moved, covered, bool(flags & RENAME_EXCHANGE))

    def _renamed(
        self,
        paths: tuple[str, str],
        ctx: Who,
        moved: os.stat_result,
        covered: os.stat_result | None,
        exchange: bool,
    ) -> None:
        old, new = paths
        attrs = {"kind": kind_of(moved.st_mode)}
        if exchange:
            attrs["exchange"] = new
        self._emit(_rename_type(moved), old, ctx, new, inode=moved.st_ino, size=moved.st_size, attrs=attrs)
        if covered is None:
            return
        if exchange:
            attrs = {"kind": kind_of(covered.st_mode), "exchange": old}
            self._emit(_rename_type(covered), new, ctx, old, inode=covered.st_ino, size=covered.st_size, attrs=attrs)
        elif not stat.S_ISDIR(moved.st_mode):
            replaced = {"from": old, "size_before": covered.st_size}
            self._emit("file.replaced", new, ctx, inode=moved.st_ino, size=moved.st_size, attrs=replaced)

    def _made(self, type: str, parent: Inode, name: bytes, ctx: RequestContext, **attrs: str) -> EntryAttributes:
        return self._backing.attributes(*self._entered(type, parent, name, ctx, **attrs))

    def _entered(self, type: str, parent: Inode, name: bytes, ctx: Who, **attrs: str) -> tuple[Inode, os.stat_result]:
        inode, status = self._backing.enter(parent, name)
        attrs["kind"] = kind_of(status.st_mode)
        self._emit(type, parent, ctx, name=name, inode=inode.ino, size=status.st_size, attrs=attrs)
        return inode, status

    def _gone(self, parent: Inode, name: bytes, status: os.stat_result) -> int:
        inode = self._inodes.find(status.st_dev, status.st_ino)
        if inode is None:
            return status.st_ino
        inode.remove_name(parent, name)
        self._inodes.named(inode)
        return inode.ino


def _status(dir_fd: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _rename_type(status: os.stat_result) -> str:
    return "dir.renamed" if stat.S_ISDIR(status.st_mode) else "file.renamed"
