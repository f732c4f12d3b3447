"""Guards at the door of the backing tree: a request → what it asks for → the verdict, before anything is done.

`Operations` asks here for the handlers of `REQUESTS` when a guard is loaded, and only for numbers of the backing tree:
`/.vexfs` has passed by then, so no guard can shut it. The extra operations of the native library ask too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import trio
from pyfuse3 import RequestContext

from automation.announcements import Announcements
from automation.events import NO_ATTRS, SemanticEvent
from vexfs_fuse.backing import Backing
from vexfs_fuse.callers import Who
from vexfs_fuse.errors import code_named, fail
from vexfs_fuse.inodes import Inode
from vexfs_fuse.observer import MARK

RENAME_EXCHANGE: Final = 2
MOST_WAITING: Final = 1000
_CREATING: Final = {"creating": True}


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that a request asks for: an operation on an object or on `name` in it, perhaps to another name."""

    operation: str
    inode: Inode
    name: bytes | None = None
    target: Inode | None = None
    target_name: bytes | None = None
    attrs: Mapping[str, Any] = field(default_factory=lambda: NO_ATTRS)


class Verdict(Protocol):
    """What becomes of a request."""

    @property
    def errno(self) -> str:
        """Name of the error, empty when it is allowed."""
        ...

    @property
    def wait(self) -> float:
        """Seconds before it is done."""
        ...

    @property
    def mark(self) -> str:
        """For the attrs of its events."""
        ...


class Guards(Protocol):
    """The judges: `automation.guards.guards.Guards`."""

    @property
    def active(self) -> bool:
        """Whether any guard is live."""
        ...

    def concerns(self, operation: str, path: str) -> bool:
        """Whether such an operation on this path may have to be judged."""
        ...

    def on_switch(self, told: Callable[[bool], None]) -> None:
        """Call `told` with `active` now and whenever it may have changed."""
        ...

    def judge(self, request: SemanticEvent, *, inside: bool = False) -> Verdict:
        """What becomes of a request."""
        ...


class Guarding:
    """Asks the guards. At most 1,000 requests wait at once for theirs to let them pass; further ones pass at once, so
    that those who are not delayed always find somebody to answer them, and that is announced as `system.overload`.
    """

    def __init__(self, guards: Guards, backing: Backing) -> None:
        self.guards: Final = guards
        self._backing: Final = backing
        self._announcements: Final = Announcements(backing.observer.bus)
        self._waiting = 0

    @property
    def active(self) -> bool:
        """Whether there is anybody to ask."""
        return self.guards.active

    def guarded(self, name: str, data: Callable[..., Any]) -> Callable[..., Any]:
        """The handler `name`, to be awaited: judged, delayed, and marked as the guards say; raises the error of a
        denial.
        """
        asks = REQUESTS[name]

        async def handler(*args: Any) -> Any:
            who = self._who(args)
            wait, mark = self.judge(asks(self._backing, args), who)
            if wait:
                await self._wait(wait)
            if not mark:
                return await _result(data(*args))
            self._backing.observer.marking = True
            token = MARK.set(mark)
            try:
                return await _result(data(*args))
            finally:
                MARK.reset(token)

        return handler

    def judge(self, asked: Iterator[Asked], who: Who) -> tuple[float, str]:
        """The longest wait and the marks of everything that a request asks for; raises the error of a denial."""
        wait, marks = 0.0, []
        caller = None
        for one in asked:
            dest = None if one.target is None else one.target.path(one.target_name)
            for path in _paths(one.inode, one.name):
                caller = self._backing.observer.callers.at(who.pid) if caller is None else caller
                request = SemanticEvent(
                    one.operation,
                    path,
                    dest,
                    inode=one.inode.ino,
                    pid=caller.pid,
                    uid=who.uid,
                    gid=who.gid,
                    comm=caller.comm,
                    cause=caller.cause,
                    attrs=one.attrs,
                )
                verdict = self.guards.judge(request, inside=one.operation == "rename" and self._is_directory(one))
                if verdict.errno:
                    fail(code_named(verdict.errno))
                wait = max(wait, verdict.wait)
                if verdict.mark:
                    marks.append(verdict.mark)
        return wait, ",".join(dict.fromkeys(marks))

    def _is_directory(self, one: Asked) -> bool:
        status = os.stat(one.name or b".", dir_fd=self._backing.inodes.fd(one.inode), follow_symlinks=False)
        return stat.S_ISDIR(status.st_mode)

    def _who(self, args: tuple[Any, ...]) -> Who:
        """The caller, kept beyond this request's first await."""
        if isinstance(args[-1], RequestContext):
            return args[-1]
        return self._backing.caller(self._backing.handles.file(args[0]).who)

    async def _wait(self, seconds: float) -> None:
        """Let others be answered meanwhile; what the native library noted of this request is put back afterwards."""
        if self._waiting >= MOST_WAITING:
            self._announcements.overload("guards", "", {"reason": "guards", "limit": MOST_WAITING})
            return
        native = self._backing.native
        noted = None if native is None else bytes(native.request)  # setattr, write and others read it later on
        self._waiting += 1
        try:
            await trio.sleep(seconds)
        finally:
            self._waiting -= 1
        if native is not None and noted is not None:
            memoryview(native.request).cast("B")[:] = noted


async def _result(value: Any) -> Any:
    return await value if hasattr(value, "__await__") else value


def _paths(inode: Inode, name: bytes | None) -> list[str]:
    """Every name by which the thing is known; of `name` in a directory, that one."""
    if name is not None or not inode.others:
        return [inode.path(name)]
    return [inode.path(), *(parent.path(other) for parent, other in inode.others)]


# Handler → what its arguments ask for.


def _open(backing: Backing, args: tuple[Any, ...]) -> Iterator[Asked]:
    inode, flags = backing.inodes[args[0]], args[1]
    access = flags & os.O_ACCMODE
    if access != os.O_WRONLY:
        yield Asked("open-read", inode)
    if access != os.O_RDONLY:
        yield Asked("open-write", inode)
    if flags & os.O_TRUNC:
        yield Asked("truncate", inode)


def _create(backing: Backing, args: tuple[Any, ...]) -> Iterator[Asked]:
    parent = backing.inodes[args[0]]
    yield Asked("create", parent, args[1])
    if args[3] & os.O_ACCMODE != os.O_RDONLY:
        yield Asked("open-write", parent, args[1], attrs=_CREATING)


def _named(operation: str) -> Callable[[Backing, tuple[Any, ...]], Iterator[Asked]]:
    def asked(backing: Backing, args: tuple[Any, ...]) -> Iterator[Asked]:
        yield Asked(operation, backing.inodes[args[0]], args[1])

    return asked


def _link(backing: Backing, args: tuple[Any, ...]) -> Iterator[Asked]:
    """A file without a name (O_TMPFILE) is created by it, as far as anybody can see."""
    inode, parent, name = backing.inodes[args[0]], backing.inodes[args[1]], args[2]
    if inode.removed:
        yield Asked("create", parent, name)
    yield Asked("link", inode, None, parent, name)


def _rename(backing: Backing, args: tuple[Any, ...]) -> Iterator[Asked]:
    """Over another name, that one is deleted."""
    old_parent, old, new_parent, new, flags = args[:5]
    source, target = backing.inodes[old_parent], backing.inodes[new_parent]
    yield Asked("rename", source, old, target, new)
    if flags & RENAME_EXCHANGE:
        yield Asked("rename", target, new, source, old)
    elif _exists(backing, target, new):
        yield Asked("delete", target, new)


def _setattr(backing: Backing, args: tuple[Any, ...]) -> Iterator[Asked]:
    inode, fields = backing.inodes[args[0]], args[2]
    if fields.update_uid or fields.update_gid:
        yield Asked("chown", inode)
    if fields.update_size:
        yield Asked("truncate", inode)
    if fields.update_mode:
        yield Asked("chmod", inode)
    if (fields.update_atime or fields.update_mtime) and not fields.update_size:
        yield Asked("times", inode)


def _xattr(backing: Backing, args: tuple[Any, ...]) -> Iterator[Asked]:
    yield Asked("xattr", backing.inodes[args[0]])


def _write(backing: Backing, args: tuple[Any, ...]) -> Iterator[Asked]:
    yield Asked("write", backing.handles.file(args[0]).inode)


def _exists(backing: Backing, parent: Inode, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=backing.inodes.fd(parent), follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


REQUESTS: Final[Mapping[str, Callable[[Backing, tuple[Any, ...]], Iterator[Asked]]]] = {
    "open": _open,
    "create": _create,
    "mknod": _named("create"),
    "mkdir": _named("mkdir"),
    "symlink": _named("symlink"),
    "unlink": _named("delete"),
    "rmdir": _named("rmdir"),
    "link": _link,
    "rename": _rename,
    "setattr": _setattr,
    "setxattr": _xattr,
    "removexattr": _xattr,
    "write": _write,
}
