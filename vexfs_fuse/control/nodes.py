"""What the tree expects of a virtual file or directory, and of an open one.

A node holds no content: it asks the service each time it is described or opened, so it cannot be stale. A node whose
subject is gone answers ENOENT. A node or handle refuses a request by raising a `VexError`; the tree turns that into
EINVAL and puts the sentence into `/.vexfs/error`.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pyfuse3

from vexfs_fuse.callers import Who

ALWAYS_READY = select.POLLIN | select.POLLRDNORM | select.POLLOUT | select.POLLWRNORM


@dataclass(frozen=True, slots=True)
class Description:
    """What `stat` shows: permission bits (of the owner, and of others only where all may pass through), size in bytes
    (0 where it is not known before reading), and the time of the last change in ns since the epoch (0 for "now", as
    /proc has it).
    """

    permissions: int
    size: int = 0
    changed_ns: int = 0


@dataclass(frozen=True, slots=True)
class Opening:
    """How and by whom a file is opened."""

    flags: int
    uid: int = 0
    pid: int = 0

    @property
    def writable(self) -> bool:
        """Opened with O_WRONLY or O_RDWR."""
        return self.flags & os.O_ACCMODE != os.O_RDONLY

    @property
    def truncate(self) -> bool:
        """Opened with O_TRUNC."""
        return bool(self.flags & os.O_TRUNC)

    @property
    def append(self) -> bool:
        """Opened with O_APPEND: the kernel's offsets mean nothing."""
        return bool(self.flags & os.O_APPEND)

    @property
    def nonblocking(self) -> bool:
        """Opened with O_NONBLOCK."""
        return bool(self.flags & os.O_NONBLOCK)


class Handle(Protocol):
    """An open file, between `open` and `release`."""

    async def read(self, offset: int, size: int, nonblocking: bool = False) -> bytes:
        """At most `size` bytes; empty at the end. `nonblocking`: O_NONBLOCK is set on the descriptor now."""

    async def write(self, offset: int, data: bytes) -> int:
        """Take all of `data`; its length."""

    def truncate(self, size: int) -> None:
        """Set the size, as ftruncate does."""

    async def flush(self) -> None:
        """A descriptor is closed; others of the same open file may remain."""

    def poll(self, waiter: pyfuse3.PollHandle | None) -> int:
        """The events that are ready now; `waiter` is notified once when that changes."""

    def interrupt(self) -> None:
        """A process waiting in `read` got a signal."""

    async def release(self) -> None:
        """The last descriptor is closed."""


class File(Protocol):
    """A virtual file."""

    def describe(self) -> Description:
        """For `stat`."""

    def open(self, opening: Opening) -> Handle:
        """Permission bits have been checked."""


class Directory(Protocol):
    """A virtual directory."""

    def describe(self) -> Description:
        """For `stat`."""

    def names(self) -> Iterable[str]:
        """The entries, in the order in which a listing shows them."""

    def child(self, name: str) -> Node | None:
        """The entry of that name; None where there is none. May know names that `names` does not list."""


@runtime_checkable
class Editable(Protocol):
    """A directory in which files come and go."""

    def create(self, name: str, opening: Opening) -> tuple[File, Handle]:
        """Make and open a file; `name` does not exist."""

    async def unlink(self, name: str, pid: int) -> None:
        """Remove a file for the process `pid`; `name` exists."""

    async def rmdir(self, name: str) -> None:
        """Remove a directory; `name` exists."""

    async def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what has it; `old` exists."""


@runtime_checkable
class Link(Protocol):
    """A symbolic link."""

    def describe(self) -> Description:
        """For `lstat`."""

    def target(self, who: Who) -> str:
        """Where it leads the caller."""


Node = File | Directory | Link


def is_directory(node: Node) -> bool:
    """Whether `node` is a `Directory`."""
    return hasattr(node, "names")


def kind_of(node: Node) -> int:
    """The bits of a mode that tell directory, link and file apart."""
    return stat.S_IFDIR if is_directory(node) else stat.S_IFLNK if isinstance(node, Link) else stat.S_IFREG
