"""Open files and directories. A file's handle number is its descriptor; a directory's lies above all descriptors."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from vexfs_fuse.callers import Caller
from vexfs_fuse.errors import EBADF
from vexfs_fuse.inodes import Inode

DIRECTORIES: Final = 1 << 32
DATA: Final = ("file.read", "file.written")


@dataclass(slots=True)
class Opener:
    """A caller's numbers, kept beyond its request: for operations that the kernel names nobody for (release)."""

    pid: int
    uid: int
    gid: int
    caller: Caller | None = None  # known where the close will be heard: the process may be gone by then


@dataclass(slots=True, eq=False)
class OpenFile:
    """One open file description. `native`: the kernel reads and writes, we see what changed at the close. `backed`: the
    kernel has a hold of the backing file, and maps that.
    """

    fd: int
    inode: Inode
    flags: int
    who: Opener  # who opened it, then who wrote last
    created: bool
    native: bool
    backed: bool
    set_ids: bool  # suid or sgid was set at the open
    size: int  # at the open, bytes
    mtime_ns: int
    bytes_read: int = 0
    bytes_written: int = 0
    changed: bool = False  # a write that nobody saw was noticed before the close
    truncated: bool = False  # its size was set, by the open or later
    heard: tuple[int, str, tuple[str, ...]] = (-1, "", ())  # as of `Bus.shapes`, at this path: which of DATA are taken
    align: int = 1  # what offset and length of a read or write must be a multiple of (O_DIRECT)

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return bool(self.flags & (os.O_WRONLY | os.O_RDWR))

    @property
    def mappable(self) -> bool:
        """Whether a shared mapping of it may write unseen."""
        return self.backed and bool(self.flags & os.O_RDWR)

    def settle(self, status: os.stat_result) -> None:
        """Compare the file with its mark, size and modification time: remembers a change."""
        if self.writable and (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns):
            self.changed = True

    def mark(self, status: os.stat_result) -> None:
        """What is known to have happened is no change that nobody saw."""
        self.size, self.mtime_ns = status.st_size, status.st_mtime_ns


@dataclass(slots=True, eq=False)
class Listing:
    """An open directory: the names as they were when it was (re)wound, whatever changes meanwhile."""

    fd: int
    inode: Inode
    who: Opener
    entries: bytes | None = None  # in the form of `dirents`


class Handles:
    """The tables. `fetch` has those files entered which the native library has opened: of the inode with a number, or
    all (0); or of the inode of which it has this file open.
    """

    def __init__(self) -> None:
        self.files: Final[dict[int, OpenFile]] = {}
        self.listings: Final[dict[int, Listing]] = {}
        self.closed_writers: list[OpenFile] | None = None  # since the watch last looked, where there is one
        self.fetch: Callable[[int, int], None] | None = None
        self.on_close: Callable[[OpenFile], None] | None = None  # told of each file that is about to be closed
        self._next = DIRECTORIES

    def file(self, fh: int) -> OpenFile:
        """Raises OSError EBADF."""
        if fh not in self.files and self.fetch is not None:
            self.fetch(0, fh)
        try:
            return self.files[fh]
        except KeyError:
            raise OSError(EBADF, "not an open file") from None

    def all(self) -> Collection[OpenFile]:
        """Every open file."""
        if self.fetch is not None:
            self.fetch(0, 0)
        return self.files.values()

    def of(self, inode: Inode) -> list[OpenFile]:
        """Those of one inode."""
        if self.fetch is not None:
            self.fetch(inode.ino, 0)
        return [file for file in self.files.values() if file.inode is inode] if inode.opens else []

    def listing(self, fh: int) -> Listing:
        """Raises OSError EBADF."""
        try:
            return self.listings[fh]
        except KeyError:
            raise OSError(EBADF, "not an open directory") from None

    def add_listing(self, listing: Listing) -> int:
        """Its handle number."""
        self._next += 1
        self.listings[self._next] = listing
        return self._next

    def close(self) -> None:
        """Close every descriptor (the mount is gone)."""
        for fd in [file.fd for file in self.files.values()] + [listing.fd for listing in self.listings.values()]:
            os.close(fd)
        self.files.clear()
        self.listings.clear()
