"""Where the watch hears of changes: fanotify for root, inotify for others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from vexfs_fuse.backing import Backing
from vexfs_fuse.cache import KernelCache
from vexfs_fuse.fanotify import ATTRIB, CLOSE_WRITE, DELETE, MODIFY, OVERFLOW, Fanotify, Notice
from vexfs_fuse.inodes import Inode, Inodes
from vexfs_fuse.native import Native
from vexfs_fuse.watch_inotify import Directories
from vexfs_fuse.watch_places import Change, Places

log: Final = logging.getLogger(__name__)
_DATA: Final = MODIFY | CLOSE_WRITE | ATTRIB
_MOST: Final = 20_000  # notices at one look; the kernel's queue holds fewer, unless told otherwise
Clients = Callable[[], Mapping[bytes, int]]
Failed = Callable[[str], None]  # called with a sentence when not everything can be watched any more


class Source(Protocol):
    """A queue of notifications in the kernel."""

    @property
    def fd(self) -> int:
        """Readable when there is something."""
        ...

    @property
    def patient(self) -> bool:
        """Whether our own changes can only be told a while after they were made."""
        ...

    @property
    def writes(self) -> bool:
        """Whether each write is told of, not only the close of the writer."""
        ...

    @property
    def queue(self) -> str:
        """The name of the kernel's limit."""
        ...

    def changes(self, clients: Clients) -> Iterator[Change]:
        """What others did since the last call; ends when there is no more. For `clients` see `Fanotify.read`."""
        ...

    @property
    def held(self) -> bool:
        """Whether something waits for the next look."""
        ...

    def describe(self) -> str:
        """In a few words, for a person."""
        ...

    def close(self) -> None:
        """Give it back."""
        ...


class Filesystems:
    """fanotify on each filesystem that the mount meets. Raises OSError where not even the source's can be watched."""

    patient = False
    writes = False
    queue = "fs.fanotify.max_queued_events"

    def __init__(self, inodes: Inodes, failed: Failed, library: Native | None) -> None:
        self._fanotify: Final = Fanotify()
        self._library: Final = library
        self.fd: Final = self._fanotify.fd
        self._places: Final = Places(inodes)
        self._failed: Final = failed
        self._held: list[Notice] = []
        self._count = 0
        try:
            self._add(inodes.root)
        except OSError:
            self._fanotify.close()
            raise
        inodes.on_filesystem = self._met

    @property
    def held(self) -> bool:
        """Whether something waits for the next look."""
        return bool(self._held)

    def changes(self, clients: Clients) -> Iterator[Change]:
        """What others did, in order.

        Data that was written to an object that is gone by now may be a client's, who wrote it natively: it is ours if
        we removed the object. If we do so only after this look, the next one will know.
        """
        notices, batch = self._read(clients)
        self._places.begin(notices)
        waited, self._held = self._held, []
        gone = {notice.target for notice in notices if notice.mask & DELETE}
        ours: set[bytes] | None = None
        for count, notice in enumerate(waited + notices):
            if notice.mask & OVERFLOW:
                yield Change(OVERFLOW, 0, None, None, None, None)
                continue
            data = not notice.mask & ~_DATA
            change = self._places.change(notice)
            if data and change.status is None and notice.target is not None:
                if ours is None:
                    ours = set().union(*map(self._fanotify.own_targets, batch))
                if notice.target in ours:
                    continue
                if count >= len(waited) and notice.target not in gone:
                    self._held.append(notice)
                    continue
            yield change

    def _read(self, clients: Clients) -> tuple[list[Notice], list[bytes]]:
        notices: list[Notice] = []
        batch: list[bytes] = []
        while len(notices) < _MOST:
            try:
                read, data = self._fanotify.read(clients, self._library)
            except BlockingIOError:
                break
            notices += read
            batch.append(data)
        return notices, batch

    def describe(self) -> str:
        """How many filesystems."""
        return f"fanotify on {self._count} filesystem{'s' * (self._count > 1)}"

    def close(self) -> None:
        """Give the marks back."""
        self._fanotify.close()

    def _met(self, inode: Inode) -> None:
        try:
            self._add(inode)
        except OSError as error:
            self._failed(f"changes on the filesystem of {inode.path()} cannot be watched ({error.strerror})")

    def _add(self, inode: Inode) -> None:
        self._places.add(inode)
        self._fanotify.mark(inode.fd)
        self._count += 1


def best(backing: Backing, cache: KernelCache, failed: Failed) -> Source:
    """fanotify where this process may, else inotify. Raises OSError where neither works."""
    try:
        return Filesystems(backing.inodes, failed, backing.native)
    except OSError as error:
        log.info("fanotify is not to be had (%s): directories in use are watched one by one", error.strerror)
        return Directories(backing, cache, failed)
