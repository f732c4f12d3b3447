"""The watch without privileges: inotify(7) on each directory that the kernel knows.

inotify names nobody, so what the mount did itself is told by its events: whatever it announced for the same path not
long ago, or has open for writing, is its own. Writes through a hard link elsewhere go unseen, and so does everything in
directories that nobody has looked into yet, of which the kernel knows nothing that could be wrong.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from automation.inotify import Notice, notices
from automation.workspace import TEMPORARY_PREFIX
from vexfs_fuse.backing import CONTROL_NAME, Backing
from vexfs_fuse.cache import KernelCache
from vexfs_fuse.fanotify import (
    ATTRIB,
    CLOSE_WRITE,
    CREATE,
    DELETE,
    DIRECTORY,
    MODIFY,
    MOVED_FROM,
    MOVED_TO,
    OVERFLOW,
    RENAME,
)
from vexfs_fuse.inodes import Inode
from vexfs_fuse.watch_places import Change, Spot

_IGNORED: Final = 0x8000
_ONLYDIR: Final = 0x0100_0000
_EXCL_UNLINK: Final = 0x0400_0000
_MASK: Final = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | _ONLYDIR | _EXCL_UNLINK
_NOTES: Final = 100_000  # paths of ours remembered between two looks; beyond, what is older is taken for others'
_DATA: Final = MODIFY | ATTRIB | CLOSE_WRITE
_OURS: Final = ("file.", "dir.created", "dir.deleted", "dir.renamed")
_LOOKS: Final = frozenset({"file.opened", "file.read"})

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Directories:
    """At most `fs.inotify.max_user_watches` directories; the first that does not fit is told to `failed`, once."""

    patient = True
    held = False
    writes = True
    queue = "fs.inotify.max_queued_events"

    def __init__(self, backing: Backing, cache: KernelCache, failed: Callable[[str], None]) -> None:
        self.fd: Final[int] = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._backing: Final = backing
        self._inodes: Final = backing.inodes
        self._failed: Final = failed
        self._full = False
        self._watched: Final[dict[int, Inode]] = {}
        self._notes: dict[str, None] = {}
        self._older: dict[str, None] = {}
        self._inodes.on_directory = self._add
        backing.observer.noted = self._note
        cache.noted = self._note_path
        for inode in self._inodes:
            if inode.is_dir and inode.fd >= 0:
                self._add(inode)
        if not self._watched:
            os.close(self.fd)
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def changes(self, clients: Callable[[], Mapping[bytes, int]]) -> Iterator[Change]:
        """What others did, in order, as far as it can be told. No client writes natively where there is no root."""
        events = list(self._read())
        older, self._older, self._notes = self._older, self._notes, {}
        ours = older.keys() | self._older.keys()
        arrivals = {event.cookie: event for event in events if event.mask & MOVED_TO}
        departed = {event.cookie for event in events if event.mask & MOVED_FROM}
        for event in events:
            if event.mask & OVERFLOW:
                yield Change(OVERFLOW, 0, None, None, None, None)
            elif event.mask & _IGNORED:
                self._watched.pop(event.watch, None)
            elif not (event.mask & MOVED_TO and event.cookie in departed):
                change = self._change(event, arrivals.get(event.cookie) if event.mask & MOVED_FROM else None, ours)
                if change is not None:
                    yield change

    def describe(self) -> str:
        """How many directories."""
        return f"inotify on {len(self._watched)} directories" + (", no more are allowed" if self._full else "")

    def close(self) -> None:
        """Give the watches back."""
        os.close(self.fd)

    def _add(self, inode: Inode) -> None:
        if self._full:
            return
        watch = _libc.inotify_add_watch(self.fd, b"/proc/self/fd/%d" % inode.fd, _MASK)
        if watch >= 0:
            self._watched[watch] = inode
            return
        self._full = True
        self._failed(f"no more than {len(self._watched)} directories can be watched (fs.inotify.max_user_watches)")

    def _note(self, type: str, place: Inode | str, name: bytes | None, dest: str | None) -> None:
        if not type.startswith(_OURS) or type in _LOOKS:
            return
        self._note_path(place if isinstance(place, str) else place.path(name))
        if dest is not None:
            self._note_path(dest)

    def _note_path(self, path: str) -> None:
        if len(self._notes) >= _NOTES:
            self._older, self._notes = self._notes, {}
        self._notes[path] = None

    def _read(self) -> Iterator[Notice]:
        last: Notice | None = None
        for one in notices(self.fd):
            if one != last:
                yield one
            last = one

    def _change(self, event: Notice, arrival: Notice | None, ours: set[str]) -> Change | None:
        spot = self._spot(event)
        if spot is None or spot.path in ours or event.name.startswith(TEMPORARY_PREFIX.encode()):
            return None
        directory = event.mask & DIRECTORY
        if event.mask & (MOVED_FROM | MOVED_TO):
            old, new = (spot, self._spot(arrival)) if event.mask & MOVED_FROM else (None, spot)
            status, inode = self._object(new)
            return Change(RENAME | directory, 0, old, new, inode, status)
        status, inode = self._object(spot)
        if event.mask & _DATA and inode is not None and self._writes(inode):
            return None
        return Change(event.mask, 0, None, spot, inode, status)

    def _spot(self, event: Notice | None) -> Spot | None:
        inode = None if event is None else self._watched.get(event.watch)
        if event is None or inode is None or (inode is self._inodes.root and event.name == CONTROL_NAME):
            return None
        if not self._inodes.knows(inode):  # the kernel has forgotten it, and nobody else needs the watch
            _libc.inotify_rm_watch(self.fd, event.watch)
            return None
        if event.name:
            return Spot(inode, event.name, inode.path(event.name))
        return Spot(inode, b"", inode.path())

    def _object(self, spot: Spot | None) -> tuple[os.stat_result | None, Inode | None]:
        if spot is None or spot.parent is None:
            return None, None
        try:
            fd = self._inodes.fd(spot.parent)
            status = os.stat(spot.name, dir_fd=fd, follow_symlinks=False) if spot.name else os.fstat(fd)
        except OSError:
            return None, None
        return status, self._inodes.find(status.st_dev, status.st_ino)

    def _writes(self, inode: Inode) -> bool:
        return any(file.writable for file in self._backing.handles.of(inode))
