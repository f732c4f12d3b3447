"""Where in the mount is what a notification tells of by file handle?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vexfs_fuse import file_handles
from vexfs_fuse.backing import CONTROL_NAME
from vexfs_fuse.fanotify import CREATE, DELETE, DIRECTORY, Name, Notice
from vexfs_fuse.inodes import Inode, Inodes

_DEEPEST: Final = 2048  # directories; a path of PATH_MAX has no more
_DELETED: Final = b" (deleted)"


@dataclass(frozen=True, slots=True)
class Spot:
    """A name in a directory beneath the source: `parent` is that directory if the kernel knows it.

    `name` is empty for the directory itself. `path` is relative to the mount.
    """

    parent: Inode | None
    name: bytes
    path: str


@dataclass(frozen=True, slots=True)
class Change:
    """What one process (0 if untold) did to one object: `mask` in the words of `fanotify`.

    `old` is where it was and `new` where it went, for a rename; else only `new` is set. None lies outside the source.
    `inode` is the object if the kernel knows it, `status` what it is now, if it is still there.
    """

    mask: int
    pid: int
    old: Spot | None
    new: Spot | None
    inode: Inode | None
    status: os.stat_result | None
    named: bool = True  # whether the change came by the name that is told


class Places:
    """Directories are looked up once in each batch: between two of them they may have moved."""

    def __init__(self, inodes: Inodes) -> None:
        self._inodes: Final = inodes
        self._mounts: Final[dict[int, int]] = {}  # fsid → a readable directory there
        self._passing: dict[tuple[int, bytes], Name] = {}
        self._seen: Final[dict[tuple[int, bytes], tuple[Inode, bytes, tuple[int, int]] | None]] = {}

    def add(self, inode: Inode) -> None:
        """Objects of this inode's filesystem can be told. Raises OSError where handles cannot be resolved."""
        fd = self._inodes.mount_fd(inode)
        if fd < 0:
            raise OSError(0, "the filesystem has no file handles")
        self._mounts[os.statvfs(f"/proc/self/fd/{fd}").f_fsid] = fd

    def begin(self, batch: Sequence[Notice]) -> None:
        """A new batch: what it says of directories that came or went names them when they are gone."""
        self._seen.clear()
        self._passing = {
            (notice.fsid, notice.target): notice.at
            for notice in batch
            if notice.mask & DIRECTORY and notice.mask & (CREATE | DELETE) and notice.target and notice.at
        }

    def change(self, notice: Notice) -> Change:
        """The notice in terms of the mount."""
        status = self._status(notice)
        inode = None if status is None else self._inodes.find(status.st_dev, status.st_ino)
        if notice.to is not None:
            old = None if notice.at is None else self._spot(notice.at)
            return Change(notice.mask, notice.pid, old, self._spot(notice.to), inode, status)
        if notice.at is not None:
            return Change(notice.mask, notice.pid, None, self._spot(notice.at), inode, status)
        spot = None  # through no name: all that can be said is which object of ours it is
        if inode is not None and inode.parent is not None:
            spot = Spot(inode.parent, inode.name, inode.path())
        return Change(notice.mask, notice.pid, None, spot, inode, status, named=False)

    def _status(self, notice: Notice) -> os.stat_result | None:
        if notice.target is None or notice.fsid not in self._mounts:
            return None
        try:
            fd = file_handles.decode(self._mounts[notice.fsid], notice.target)
        except OSError:
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def _spot(self, name: Name) -> Spot | None:
        key = (name.fsid, name.directory)
        if key not in self._seen:
            self._seen[key] = self._find(name)
        found = self._seen[key]
        if found is None:
            return None
        ancestor, rest, identity = found
        parent = self._inodes.find(*identity)
        last = b"" if name.name == b"." else name.name
        below = b"/".join(part for part in (rest, last) if part)
        if ancestor is self._inodes.root and (below == CONTROL_NAME or below.startswith(CONTROL_NAME + b"/")):
            return None  # hidden by ours
        path = ancestor.path(below) if below else ancestor.path()
        return Spot(parent, last, path)

    def _find(self, name: Name) -> tuple[Inode, bytes, tuple[int, int]] | None:
        """The directory as a known one and the path from there, with its device and number; None if outside."""
        if name.fsid not in self._mounts:
            return None
        try:
            fd = file_handles.decode(self._mounts[name.fsid], name.directory)
        except OSError:
            return self._gone(name)
        try:
            return self._climb(fd)
        except OSError:
            return None
        finally:
            os.close(fd)

    def _gone(self, name: Name) -> tuple[Inode, bytes, tuple[int, int]] | None:
        """A directory that was removed meanwhile, by what was said of it."""
        place = self._passing.pop((name.fsid, name.directory), None)
        found = None if place is None else self._find(place)
        if place is None or found is None:
            return None
        ancestor, rest, _ = found
        return ancestor, b"/".join(part for part in (rest, place.name) if part), (0, 0)

    def _climb(self, fd: int) -> tuple[Inode, bytes, tuple[int, int]] | None:
        """Up by `..` to what is known, since a path as text may lie about what is beneath what (bind mounts)."""
        status = os.fstat(fd)
        identity = (status.st_dev, status.st_ino)
        link = os.readlink(b"/proc/self/fd/%d" % fd)
        if status.st_nlink == 0:
            link = link.removesuffix(_DELETED)
        here, at = identity, os.dup(fd)
        try:
            for steps in range(_DEEPEST):
                inode = self._inodes.find(*here)
                if inode is not None:
                    rest = b"/".join(link.split(b"/")[-steps:]) if steps else b""
                    return None if _gone(inode) else (inode, rest, identity)
                up = os.open(b"..", os.O_PATH | os.O_CLOEXEC, dir_fd=at)
                os.close(at)
                at = up
                status = os.fstat(at)
                if (status.st_dev, status.st_ino) == here:
                    return None
                here = (status.st_dev, status.st_ino)
            return None
        finally:
            os.close(at)


def _gone(inode: Inode) -> bool:
    """Whether the directory, or one that it lies in, was removed or moved out of the source."""
    node: Inode | None = inode
    while node is not None:
        if node.removed:
            return True
        node = node.parent
    return False
