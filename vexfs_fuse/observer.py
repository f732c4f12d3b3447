"""A finished operation → a SemanticEvent on the bus, before the kernel gets its reply."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from automation.bus import Bus
from automation.events import NO_ATTRS, SemanticEvent
from vexfs_fuse.callers import Caller, Callers, Who
from vexfs_fuse.handles import DATA, OpenFile
from vexfs_fuse.inodes import Inode

CLOSING: Final = ("file.closed", "file.written")
MARK: Final[ContextVar[str]] = ContextVar("mark", default="")  # what a guard says of the request in hand
BEGAN: Final[ContextVar[float]] = ContextVar("began", default=0.0)  # when it came, where somebody asks; 0 if nobody


class Observer:
    """Publishes; about 3 µs an event (`bench/publish.py`). Never awaits, never hurts the operation."""

    def __init__(self, bus: Bus, callers: Callers, *, failures: bool = False) -> None:
        self.bus: Final = bus
        self.callers: Final = callers
        self._failures: Final = failures
        self.noted: Callable[[str, Inode | str, bytes | None, str | None], None] | None = None  # told of each operation
        self.before: Callable[[], None] | None = None  # does what was put off and must be published first
        self.marking = False  # whether a guard has marked any request yet

    @property
    def failures(self) -> bool:
        """Whether failed operations are events: by an option of the mount, or since a definition asks for them."""
        return self._failures or "failed" in self.bus.details

    def opener(self, who: Who, path: str) -> Caller | None:
        """Who opens a file of this path, if what its close tells will be heard."""
        bus, tenant = self.bus, self.tenant(path, who)
        if not any(bus.heard(name) and bus.taken(name, path, None, tenant) for name in CLOSING):
            return None
        return self.callers.at(who.pid)

    def tenant(self, path: str, who: Who) -> str:
        """Whose an operation on this path by this caller is; empty when it is nobody's."""
        downstream = self.bus.downstream
        return "" if downstream is None else downstream.owner(path, who.uid, who.gid)

    def data(self, type: str, file: OpenFile, who: Who, offset: int, length: int) -> None:
        """Publish a read or write, as `emit` does: there are many in a row, and who takes them is remembered."""
        inode, bus = file.inode, self.bus
        path = inode.path()
        shapes, at, taken = file.heard
        if shapes != bus.shapes or at != path:
            taken = tuple(name for name in DATA if bus.taken(name, path, None))
            file.heard = bus.shapes, path, taken
        more = self.marking or bus.clocked or self.noted is not None or bus.downstream is not None
        if more or type not in taken:
            self.emit(type, path, who, inode=inode.ino, offset=offset, length=length)
            return
        if self.before is not None:
            self.before()
        caller = self.callers.at(who.pid)
        bus.publish(
            SemanticEvent(
                type,
                path,
                inode=inode.ino,
                offset=offset,
                length=length,
                pid=caller.pid,
                uid=who.uid,
                gid=who.gid,
                comm=caller.comm(),
                cause=caller.cause,
            )
        )

    def emit(
        self,
        type: str,
        place: Inode | str,
        who: Who,
        dest: str | None = None,
        *,
        name: bytes | None = None,
        inode: int = 0,
        size: int | None = None,
        offset: int | None = None,
        length: int | None = None,
        errno: str | None = None,
        attrs: Mapping[str, Any] = NO_ATTRS,
        fresh: bool = True,
        caller: Caller | None = None,
    ) -> None:
        """Publish what happened to `place`, or to `name` in it. What nobody hears is numbered and counted, not made.

        `fresh` reads the caller's name anew; without it the name last seen will do. `caller` is who it was, if known.
        """
        if self.noted is not None and "origin" not in attrs:
            self.noted(type, place, name, dest)
        if not self.bus.heard(type):
            self.bus.skip(type)
            return
        mark = MARK.get() if self.marking else ""
        began = BEGAN.get() if self.bus.clocked else 0.0
        if self.before is not None:
            if mark or began:  # what was put off is of other requests
                tokens = MARK.set(""), BEGAN.set(0.0)
                self.before()
                MARK.reset(tokens[0])
                BEGAN.reset(tokens[1])
            else:
                self.before()
        if mark:
            attrs = {**attrs, "mark": mark}
        if began:
            attrs = {**attrs, "took": time.perf_counter() - began}
        path = place if isinstance(place, str) else place.path(name)
        downstream = self.bus.downstream
        tenant = "" if downstream is None else downstream.owner(path, who.uid, who.gid)
        if not self.bus.taken(type, path, dest, tenant):
            self.bus.skip(type)
            return
        tid = who.pid
        if caller is None:
            caller = self.callers.at(tid) if fresh else self.callers.seen(tid)
        self.bus.publish(
            SemanticEvent(
                type,
                path,
                dest,
                inode=inode,
                size=size,
                offset=offset,
                length=length,
                pid=caller.pid,
                uid=who.uid,
                gid=who.gid,
                comm=caller.comm(),
                tenant=tenant,
                cause=caller.cause,
                errno=errno,
                attrs=attrs,
            )
        )
