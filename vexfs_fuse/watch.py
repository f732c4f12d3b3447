"""The watch on the backing tree: what others change there, behind the mount's back, becomes visible and an event.

    kernel ─► fanotify (root) or watch_inotify ─► Change ─► what the kernel must forget, names, events

What the mount does itself is no news: neither what this process did, nor what the kernel wrote for a client through a
native open.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import trio

from automation.events import SemanticEvent
from automation.workspace.stats import kind_of
from vexfs_fuse import file_handles
from vexfs_fuse.backing import Backing
from vexfs_fuse.cache import KernelCache
from vexfs_fuse.fanotify import ATTRIB, CLOSE_WRITE, CREATE, DELETE, DIRECTORY, MODIFY, OVERFLOW, RENAME
from vexfs_fuse.handles import OpenFile
from vexfs_fuse.inodes import Inode
from vexfs_fuse.watch_places import Change, Spot
from vexfs_fuse.watch_sources import Source

log: Final = logging.getLogger(__name__)
INTERVAL: Final = 0.04  # seconds between two looks: the notifications of our own operations come in batches
_BATCH: Final = 32  # changes between two turns of the request loop, about 1 ms
_WRITING: Final = 10_000  # files that others have open and wrote to, remembered until they close them
_HANDLES: Final = 4096  # directories whose handles are remembered
_SET_IDS: Final = stat.S_ISUID | stat.S_ISGID
ORIGIN: Final = {"origin": "backing"}
UNKNOWN: Final = -1  # user or group of a process that is gone


@dataclass(frozen=True, slots=True)
class Changer:
    """Whoever changed something: a process, and its user and group if it was still there to be asked."""

    pid: int
    uid: int
    gid: int


class Watch:
    """Run `run` in the session's nursery. An overflow is one `system.gap`, and the kernel forgets all."""

    def __init__(self, backing: Backing, cache: KernelCache, source: Source) -> None:
        self._backing: Final = backing
        self._inodes: Final = backing.inodes
        self._bus: Final = backing.observer.bus
        self._emit: Final = backing.observer.emit
        self._cache: Final = cache
        self.source: Final = source
        self.changes = 0  # by others, beneath the source
        self.gaps = 0
        self._written: Final[dict[Inode | str, None]] = {}  # by others, who have it open still
        self._moved: Change | None = None  # the last rename of a file: what it covered is told next
        self._open: tuple[set[Inode], set[Inode]] | None = None
        self._closed_before: list[OpenFile] = []
        self._clients_before: dict[bytes, int] = {}
        self._handles: Final[dict[Inode, bytes]] = {}  # of directories
        self._changers: Final[dict[int, Changer]] = {}
        backing.handles.closed_writers = []

    async def run(self) -> None:
        """Until cancelled: sleep until something happens, then look every `INTERVAL`."""
        while True:
            await trio.lowlevel.wait_readable(self.source.fd)
            if self.source.patient:
                await trio.sleep(INTERVAL)
            await self.look()
            await trio.sleep(INTERVAL)
            while self.source.held:
                await self.look()
                await trio.sleep(INTERVAL)

    async def look(self) -> None:
        """Take what has happened until now."""
        if self._backing.observer.before is not None:
            self._backing.observer.before()  # closes that are put off
        self._changers.clear()
        self._open = None
        handles = self._backing.handles
        closed, handles.closed_writers = handles.closed_writers or [], []
        self._closed_before += closed
        clients = {key: file.who.pid for file in closed if (key := self._key(file.inode))}
        before, self._clients_before = self._clients_before, clients
        known, library, gaps = before | clients, self._backing.native, self.gaps
        try:
            for count, change in enumerate(self.source.changes(lambda: known | self._clients()), 1):
                self._take(change)
                if count % _BATCH == 0:
                    await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._closed_before = closed  # a kernel that closes late is forgiven one interval
            if library is not None:
                library.writers.looked()
        if gaps != self.gaps:
            await self._rescan()

    def close(self) -> None:
        """Give the source back."""
        self.source.close()

    def _clients(self) -> dict[bytes, int]:
        """Those whose files the native library has closed."""
        library = self._backing.native
        return {} if library is None else {one.key: one.pid for one in library.writers.remembered()}

    def _key(self, inode: Inode) -> bytes | None:
        """An inode's name as notices tell it."""
        parent = inode.parent
        if parent is None:
            return None
        handle = self._handles.get(parent)
        if handle is None:
            try:
                handle = file_handles.encode(self._inodes.fd(parent))
            except OSError:
                return None
            if len(self._handles) >= _HANDLES:
                self._handles.clear()
            self._handles[parent] = handle
        return handle + inode.name

    def _take(self, change: Change) -> None:
        try:
            if change.mask & OVERFLOW:
                self._lost()
            elif change.mask & RENAME:
                self._renamed(change)
            elif change.new is not None:
                self._changed(change, change.new)
            elif change.inode is not None:
                self._cache.attributes(change.inode)
        except Exception:  # one strange change must not end the watch
            log.exception("a change in the backing tree could not be made out")

    def _lost(self) -> None:
        self.gaps += 1
        log.warning("the watch on the backing tree overflowed: the kernel's memory of the mount is cleared")
        self._bus.publish(SemanticEvent("system.gap", attrs={**ORIGIN, "queue": self.source.queue}))
        self._cache.everything()
        self._written.clear()

    async def _rescan(self) -> None:
        """Renames may have been missed: ask what the known objects are called now."""
        for count, inode in enumerate(list(self._inodes), 1):
            if inode.parent is not None and not inode.removed:
                try:
                    self._check_name(inode, inode.parent)
                except OSError:
                    inode.removed = True
            if count % _BATCH == 0:
                await trio.lowlevel.cancel_shielded_checkpoint()

    def _check_name(self, inode: Inode, parent: Inode) -> None:
        fd = self._inodes.fd(inode)
        try:
            status = os.stat(inode.name, dir_fd=self._inodes.fd(parent), follow_symlinks=False)
            if (status.st_dev, status.st_ino) == (inode.dev, inode.backing_ino):
                return
        except FileNotFoundError:
            pass
        inode.remove_name(parent, inode.name)
        if inode.is_dir and os.fstat(fd).st_nlink:  # of a file only its next lookup will tell
            above = os.stat(b"..", dir_fd=fd)
            found = self._inodes.find(above.st_dev, above.st_ino)
            if found is not None:
                inode.add_name(found, os.path.basename(os.readlink(b"/proc/self/fd/%d" % fd)))

    def _changed(self, change: Change, spot: Spot) -> None:
        mask, inode, status = change.mask, change.inode, change.status
        if mask & (CREATE | DELETE):
            self.changes += 1
            if spot.parent is not None:
                self._cache.name(spot.parent, spot.name)
            if inode is not None:
                self._cache.attributes(inode)  # its link count
        if mask & CREATE:
            self._created(change, spot)
        if mask & (MODIFY | CLOSE_WRITE) and not mask & DIRECTORY:
            self._modified(change, spot)
        if mask & ATTRIB and not mask & (CREATE | DELETE):
            self._attributes(change, spot)
        if mask & DELETE:
            if inode is not None and spot.parent is not None:
                inode.remove_name(spot.parent, spot.name)
                self._inodes.named(inode)
            attrs: dict[str, Any] = {}
            if not mask & DIRECTORY:
                kind = kind_of(status.st_mode) if status else kind_of(inode.kind) if inode else "unknown"
                attrs = {"kind": kind, "nlink": status.st_nlink if status else 0}
            self._publish("dir.deleted" if mask & DIRECTORY else "file.deleted", spot, change, **attrs)

    def _created(self, change: Change, spot: Spot) -> None:
        inode, status = change.inode, change.status
        mode = status.st_mode if status else stat.S_IFDIR if change.mask & DIRECTORY else stat.S_IFREG
        attrs = {"kind": kind_of(mode)}
        if stat.S_ISDIR(mode):
            self._publish("dir.created", spot, change, **attrs)
        elif stat.S_ISLNK(mode):
            self._publish("file.symlinked", spot, change, target=self._target(spot), **attrs)
        elif status is not None and status.st_nlink > 1 and inode is not None and not inode.removed:
            self._publish("file.linked", Spot(None, b"", inode.path()), change, dest=spot.path)
            if spot.parent is not None:
                inode.add_name(spot.parent, spot.name)
        else:
            self._publish("file.created", spot, change, **attrs)

    def _modified(self, change: Change, spot: Spot) -> None:
        inode, mask = change.inode, change.mask & (MODIFY | CLOSE_WRITE)
        key = inode or spot.path
        if inode is not None:
            native, writers = self._writers()
            if inode in native:
                mask &= ~MODIFY
            if inode in writers and key not in self._written:
                mask &= ~CLOSE_WRITE
            if not mask:  # through us, as far as anybody can tell; its close will say
                self._cache.attributes(inode)
                return
            self._cache.data(inode)
        self.changes += 1
        if mask & MODIFY:
            if len(self._written) >= _WRITING:
                self._written.clear()
            self._written[key] = None
            self._publish("file.written", spot, change, summary=True)
        if mask & CLOSE_WRITE:
            written = key in self._written
            self._written.pop(key, None)
            if not self.source.writes and _differs(inode, change.status):
                written = True
                self._publish("file.written", spot, change, summary=True)
            self._publish("file.closed", spot, change, written=written, bytes_written=None, mode="w")

    def _attributes(self, change: Change, spot: Spot) -> None:
        inode, status = change.inode, change.status
        if inode is None or status is None:
            if status is not None:
                self._publish("file.attr", spot, change)
            return
        self._cache.attributes(inode)
        self._replaced(inode, status)
        if status.st_nlink == 0:
            inode.removed = True
            return
        mode, owner = inode.mode, inode.owner
        inode.mode, inode.owner = status.st_mode, (status.st_uid, status.st_gid)
        if inode in self._writers()[0] and mode & ~_SET_IDS == status.st_mode & ~_SET_IDS:
            return  # writing cleared them
        if owner != inode.owner:
            self._publish("file.attr.owner", spot, change, uid=status.st_uid, gid=status.st_gid)
        if mode != status.st_mode:
            before = oct(stat.S_IMODE(mode))
            self._publish("file.attr.mode", spot, change, mode=oct(stat.S_IMODE(status.st_mode)), before=before)
        if (mode, owner) == (inode.mode, inode.owner) and change.named:  # else a link came or went
            self._publish("file.attr", spot, change)

    def _renamed(self, change: Change) -> None:
        inode, old, new = change.inode, change.old, change.new
        self.changes += old is not None or new is not None
        for spot in (old, new):
            if spot is not None and spot.parent is not None:
                self._cache.name(spot.parent, spot.name)
        if inode is not None:
            self._cache.attributes(inode)
            if old is not None and old.parent is not None:
                inode.remove_name(old.parent, old.name)
            if new is not None and new.parent is not None:
                inode.add_name(new.parent, new.name)
            self._inodes.named(inode)
        status, directory = change.status, bool(change.mask & DIRECTORY)
        attrs = {"kind": kind_of(status.st_mode) if status else "dir" if directory else "unknown"}
        if old is not None and new is not None:
            self._publish("dir.renamed" if directory else "file.renamed", old, change, dest=new.path, **attrs)
            self._moved = None if directory else change
        elif old is not None:
            self._publish("dir.deleted" if directory else "file.deleted", old, change, moved_out=True, **attrs)
        elif new is not None:
            self._publish("dir.created" if directory else "file.created", new, change, moved_in=True, **attrs)
            if status is not None and stat.S_ISREG(status.st_mode):  # whoever waits for complete files: it is one
                self._publish("file.closed", new, change, written=True, bytes_written=None, mode="w", created=True)

    def _replaced(self, inode: Inode, status: os.stat_result) -> None:
        """A link was lost: a rename just before, to a name that it had, is a save by rename."""
        moved, self._moved = self._moved, None
        if moved is None or moved.old is None or moved.new is None or moved.inode is inode:
            return
        if moved.new.parent is inode.parent and moved.new.name == inode.name:
            attrs: dict[str, Any] = {"from": moved.old.path, "size_before": status.st_size}
            self._publish("file.replaced", moved.new, moved, **attrs)

    def _publish(self, type: str, spot: Spot, change: Change, dest: str | None = None, **attrs: Any) -> None:
        if not self._bus.heard(type):
            self._bus.skip(type)
            return
        status = change.status
        inode = change.inode.ino if change.inode else status.st_ino if status else 0
        size = status.st_size if status and not stat.S_ISDIR(status.st_mode) else None
        who = self._changer(change.pid)
        self._emit(type, spot.path, who, dest, inode=inode, size=size, attrs={**ORIGIN, **attrs})

    def _writers(self) -> tuple[set[Inode], set[Inode]]:
        """Files that clients have, or had a moment ago, open for writing: where the kernel writes for them, and all.

        It is in the client's name that the kernel writes, and that it closes what it may write to.
        """
        if self._open is None:
            self._open = set(), set()
            self._count(self._closed_before)
            self._count(self._backing.handles.all())
            self._count_closed(*self._open)
        if self._backing.handles.closed_writers:
            self._count(self._backing.handles.closed_writers)
        return self._open

    def _count(self, files: Iterable[OpenFile]) -> None:
        assert self._open is not None
        native, writers = self._open
        for file in files:
            if file.writable:
                writers.add(file.inode)
                if file.native:
                    native.add(file.inode)

    def _count_closed(self, native: set[Inode], writers: set[Inode]) -> None:
        """Those that the native library has closed."""
        for one in () if self._backing.native is None else self._backing.native.writers.remembered():
            with contextlib.suppress(OSError):  # forgotten meanwhile
                inode = self._inodes[one.ino]
                writers.add(inode)
                if one.native:
                    native.add(inode)

    def _changer(self, pid: int) -> Changer:
        if pid not in self._changers:
            uid, gid = _owner(pid) if pid else (UNKNOWN, UNKNOWN)
            self._changers[pid] = Changer(pid, uid, gid)
        return self._changers[pid]

    def _target(self, spot: Spot) -> str | None:
        if spot.parent is None:
            return None
        try:
            return os.fsdecode(os.readlink(spot.name, dir_fd=self._inodes.fd(spot.parent)))
        except OSError:
            return None


def _differs(inode: Inode | None, status: os.stat_result | None) -> bool:
    """Whether a file was written, by what the kernel was last told of it; what it does not know is taken to be."""
    return inode is None or status is None or inode.data != (status.st_size, status.st_mtime_ns)


def _owner(pid: int) -> tuple[int, int]:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return UNKNOWN, UNKNOWN
    ids = {line[:3]: line.split() for line in lines if line.startswith((b"Uid", b"Gid"))}
    return int(ids[b"Uid"][4]), int(ids[b"Gid"][4])  # those that filesystems go by
