"""What is known of a name in the tree, and the listing of directories."""

from __future__ import annotations

import os
import stat
from dataclasses import asdict, dataclass
from typing import Any, Final

from automation.workspace import beneath
from automation.workspace.beneath import Root

_KINDS: Final = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


@dataclass(frozen=True, slots=True)
class FileStat:
    """`path` is relative to the mount; `type` is file, dir, symlink, fifo, socket, block or char; times in ns."""

    path: str
    type: str
    size: int
    mode: int
    uid: int
    gid: int
    inode: int
    device: int
    links: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values under the same names."""
        return asdict(self)


def kind_of(mode: int) -> str:
    """The kind of object in one word."""
    return _KINDS.get(stat.S_IFMT(mode), "unknown")


def from_os(path: str, info: os.stat_result) -> FileStat:
    """The stat of `path` from the kernel's answer; `mode` holds the permission bits only."""
    return FileStat(
        path=path,
        type=kind_of(info.st_mode),
        size=info.st_size,
        mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        inode=info.st_ino,
        device=info.st_dev,
        links=info.st_nlink,
        atime_ns=info.st_atime_ns,
        mtime_ns=info.st_mtime_ns,
        ctime_ns=info.st_ctime_ns,
    )


def stat_path(root: Root, path: str, *, follow: bool) -> FileStat:
    """One stat; the root too. With `follow`, what a final symbolic link leads to."""
    if not beneath.split(path):
        root.require("")
        return from_os("", os.fstat(root.fd))
    with beneath.place(root, path, follow=follow, whole=False) as at:
        return from_os(at.path, os.stat(at.name, dir_fd=at.parent, follow_symlinks=False))


def list_directory(root: Root, path: str) -> list[FileStat]:
    """The entries of a directory in the order of their names, without `/.vexfs`, our temporary files and what is
    not in the territory.

    What vanishes meanwhile is left out.
    """
    names = beneath.split(path)
    above = beneath.join(names)
    root.require(above)
    fd = beneath.open_beneath(root.fd, names, os.O_RDONLY | os.O_DIRECTORY)
    try:
        here = above if root.territory.everywhere else beneath.real_path(root, fd)
        root.require(here)
        found = []
        for name in sorted(map(os.fsencode, os.listdir(fd))):
            if name.startswith(beneath.TEMPORARY_PREFIX) or (not names and name == beneath.CONTROL_NAME):
                continue
            if not root.territory.holds(beneath.child(here, name)):
                continue
            try:
                info = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            found.append(from_os(beneath.child(above, name), info))
        return found
    finally:
        os.close(fd)


def weigh(root: Root, path: str) -> int:
    """How many bytes of content a name and all below it have."""
    with beneath.place(root, path, follow=True) as at:
        info = os.stat(at.name, dir_fd=at.parent, follow_symlinks=False)
        total = info.st_size
        if stat.S_ISDIR(info.st_mode):
            total = 0
            for _, _, names, fd in os.fwalk(at.name, dir_fd=at.parent):
                total += sum(os.stat(name, dir_fd=fd, follow_symlinks=False).st_size for name in names)
        return total
