"""What an effect did, noted in the thread that did it and told afterwards in the trio thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from automation.events import NO_ATTRS, Cause, SemanticEvent
from automation.identity import Identity
from automation.workspace.stats import kind_of

if TYPE_CHECKING:
    from automation.workspace.trash import Trash


class KernelCache(Protocol):
    """What the kernel remembers of the mount. Both calls return at once and never raise."""

    def entry(self, parent: str, name: str) -> None:
        """Forget what `name` in the directory `parent` stands for, or that it does not exist."""

    def content(self, path: str) -> None:
        """Forget the attributes and cached pages of `path`."""


class NoKernelCache:
    """For a tree that is not mounted."""

    def entry(self, parent: str, name: str) -> None:
        """Nothing is cached."""

    def content(self, path: str) -> None:
        """Nothing is cached."""


class Trail:
    """The events of one effect in the order in which they happened, with one cause and user; the stale names; how it
    is undone.

    What it deletes or replaces is kept in `trash` if there is one.

    `note_*` may be called in any thread, one at a time; `tell` only in the trio thread.
    """

    def __init__(self, cause: Cause | None, trash: Trash | None = None, identity: Identity | None = None) -> None:
        self._identity: Final = identity
        self._trash = trash
        self.undo: Final[list[dict[str, Any]]] = []
        self._cause = cause
        self._events: list[SemanticEvent] = []
        self._entries: dict[str, None] = {}
        self._contents: dict[str, None] = {}

    def note(self, type: str, path: str, dest: str | None = None, **fields: Any) -> None:
        """Note one event: `fields` are those of SemanticEvent; the process is this one."""
        fields.setdefault("attrs", NO_ATTRS)
        event = SemanticEvent(
            type,
            path,
            dest,
            pid=os.getpid(),
            uid=os.geteuid() if self._identity is None else self._identity.uid,
            gid=os.getegid() if self._identity is None else self._identity.gid,
            comm="vexfs",
            cause=self._cause,
            **fields,
        )
        self._events.append(event)

    @property
    def trash(self) -> Trash | None:
        """Where what goes is kept; None if nothing shall be, or can be. Asked when there is something to keep."""
        return self._trash if self._trash is not None and self._trash.ready else None

    def keep_nothing(self) -> None:
        """What goes is gone."""
        self._trash = None

    def undoable(self, op: str, path: str, **facts: Any) -> None:
        """Note how what was just done is undone; see `undoing`."""
        self.undo.append({"op": op, "path": path, **facts})

    def stale_entry(self, path: str) -> None:
        """The name `path` now stands for something else, or nothing."""
        self._entries[path] = None
        self._contents[path.rpartition("/")[0]] = None

    def stale_content(self, path: str) -> None:
        """The object at `path` changed in place."""
        self._contents[path] = None

    def note_file(self, path: str, info: os.stat_result, replaced: os.stat_result | None) -> None:
        """A whole new file is in place at `path`: the events of a program that made or replaced it, and closed it."""
        inode, size = info.st_ino, info.st_size
        if replaced is None:
            self.note("file.created", path, inode=inode, size=0, attrs={"kind": "file"})
        else:
            self.note("file.replaced", path, inode=inode, size=size, attrs={"size_before": replaced.st_size})
        self.note_opened(path, inode, 0, append=False)
        if size:
            self.note("file.written", path, inode=inode, offset=0, length=size, size=size)
        self.note_closed(path, info, size, created=replaced is None, before=0)

    def note_opened(self, path: str, inode: int, size: int, *, append: bool) -> None:
        """A file of `size` bytes was opened for writing; every closing has its opening."""
        attrs = {"mode": "w", "append": append, "truncate": False}
        self.note("file.opened", path, inode=inode, size=size, attrs=attrs)

    def note_closed(self, path: str, info: os.stat_result, written: int, *, created: bool, before: int) -> None:
        """A file of `before` bytes was closed after `written` bytes went into it."""
        attrs = {
            "written": bool(written) or created or before != info.st_size,
            "bytes_written": written,
            "bytes_read": 0,
            "created": created,
            "mode": "w",
            "size_before": before,
            "nlink": info.st_nlink,
        }
        self.note("file.closed", path, inode=info.st_ino, size=info.st_size, attrs=attrs)

    def note_renamed(self, old: str, new: str, info: os.stat_result, covered: os.stat_result | None = None) -> None:
        """`old` is called `new` now, and `covered` is gone."""
        kind = kind_of(info.st_mode)
        name = "dir.renamed" if kind == "dir" else "file.renamed"
        self.note(name, old, new, inode=info.st_ino, size=info.st_size, attrs={"kind": kind})
        if covered is not None and kind != "dir":
            attrs = {"from": old, "size_before": covered.st_size}
            self.note("file.replaced", new, inode=info.st_ino, size=info.st_size, attrs=attrs)

    def fork(self) -> Trail:
        """A trail with the same cause, for what may yet be undone before anyone can see it."""
        return Trail(self._cause, identity=self._identity)

    def join(self, other: Trail) -> None:
        """What was forked has come to pass."""
        self._events += other._events

    def tell(self, publish: Callable[[SemanticEvent], None], cache: KernelCache) -> None:
        """First the kernel forgets, then the events go out, so that whoever reacts sees the present."""
        for path in self._entries:
            parent, _, name = path.rpartition("/")
            cache.entry(parent, name)
        for path in self._contents:
            cache.content(path)
        for event in self._events:
            publish(event)
