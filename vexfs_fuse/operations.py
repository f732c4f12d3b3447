"""The `pyfuse3.Operations`: each request is routed once, by its inode or handle number, to the backing tree or
`/.vexfs`.

One place turns every exception into an errno, for one that escaped into pyfuse3 would end the mount.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import pyfuse3
from pyfuse3 import FUSEError, RequestContext, StatvfsData

from vexfs_fuse.attributes import Attributes
from vexfs_fuse.backing import CONTROL_NAME, Backing
from vexfs_fuse.control.numbers import CONTROL_BASE
from vexfs_fuse.directories import Directories
from vexfs_fuse.errors import code_of, name_of
from vexfs_fuse.files import Files
from vexfs_fuse.guarding import REQUESTS, Guarding
from vexfs_fuse.inodes import ROOT_INO, Inode
from vexfs_fuse.namespace import Namespace
from vexfs_fuse.observer import BEGAN


class Tree(Protocol):
    """`/.vexfs`: the handlers of `pyfuse3.Operations` for numbers from `CONTROL_BASE` on."""

    root_ino: int

    async def getattr(self, ino: int, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        """Status of a node."""
        ...

    async def forget(self, forgotten: Sequence[tuple[int, int]]) -> None:
        """The kernel gives lookups back."""
        ...


# Handler → the family that serves it. All take the number that routes them first, an inode's or a handle's.
_INLINE: Final = {
    Namespace: ("readlink", "mknod", "mkdir", "symlink", "link", "unlink", "rmdir", "rename"),
    Files: ("open", "create"),
    Directories: ("opendir",),
    Attributes: ("getattr", "setattr", "access", "getxattr", "listxattr", "setxattr", "removexattr"),
}
_AWAITED: Final = {
    Files: ("read", "write", "flush", "release", "fsync", "poll"),
    Directories: ("readdir", "releasedir", "fsyncdir"),
}
# What a failed operation would have been, where such are events.
_MEANT: Final = {
    "lookup": "meta.lookup",
    "getattr": "meta.getattr",
    "setattr": "file.attr",
    "access": "meta.access",
    "readlink": "meta.readlink",
    "mknod": "file.created",
    "create": "file.created",
    "mkdir": "dir.created",
    "symlink": "file.symlinked",
    "link": "file.linked",
    "unlink": "file.deleted",
    "rmdir": "dir.deleted",
    "rename": "file.renamed",
    "open": "file.opened",
    "read": "file.read",
    "write": "file.written",
    "opendir": "dir.opened",
    "setxattr": "file.attr.xattr",
    "removexattr": "file.attr.xattr",
}


class Operations(pyfuse3.Operations):
    """Built once per mount. The handlers are made from the tables above, so that all are guarded alike."""

    enable_acl = False  # set where the kernel is to judge ACLs; it asks us for them as extended attributes
    supports_dot_lookup = False

    def __init__(
        self, backing: Backing, families: Sequence[object], tree: Tree, guarding: Guarding | None = None
    ) -> None:
        super().__init__()
        self._guarding: Final = guarding
        self._backing: Final = backing
        self._tree: Final = tree
        by_type = {type(family): family for family in families}
        namespace = by_type[Namespace]
        assert isinstance(namespace, Namespace)
        self._namespace: Final = namespace
        attributes = by_type[Attributes]
        assert isinstance(attributes, Attributes)
        self._attributes: Final = attributes
        for table, awaited in ((_INLINE, False), (_AWAITED, True)):
            for family, names in table.items():
                for name in names:
                    setattr(self, name, self._handler(name, getattr(by_type[family], name), awaited))

    async def lookup(self, parent: int, name: bytes, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        """Find a name; `.vexfs` in the root is where the two trees meet."""
        try:
            if parent >= CONTROL_BASE:
                return await self._tree.lookup(parent, name, ctx)  # type: ignore[attr-defined,no-any-return]
            if parent == ROOT_INO and name == CONTROL_NAME:
                return await self._tree.getattr(self._tree.root_ino, ctx)
            return self._namespace.lookup(parent, name, ctx)
        except Exception as error:
            raise self.failed("lookup", error, (parent, name, ctx)) from None

    async def forget(self, forgotten: Sequence[tuple[int, int]]) -> None:
        """The kernel gives lookups back."""
        try:
            self._namespace.forget([pair for pair in forgotten if pair[0] < CONTROL_BASE])
            control = [pair for pair in forgotten if pair[0] >= CONTROL_BASE]
            if control:
                await self._tree.forget(control)
        except Exception as error:  # nobody waits for an answer
            code_of(error)

    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        """Totals of the filesystem."""
        native = self._backing.native
        try:
            if native is not None and native.request.ino >= CONTROL_BASE:
                return await self._tree.statfs(ctx)  # type: ignore[attr-defined,no-any-return]
            return self._attributes.statfs(ctx)
        except Exception as error:
            raise self.failed("statfs", error, ()) from None

    def _handler(self, name: str, data: Callable[..., Any], awaited: bool) -> Callable[..., Awaitable[Any]]:
        control = getattr(self._tree, name, None)
        failed, bus = self.failed, self._backing.observer.bus
        if self._guarding is not None and name in REQUESTS:
            return self._guarded_handler(name, data, awaited, self._guarding)

        async def inline(key: int, *args: Any) -> Any:
            if bus.clocked and not BEGAN.get():
                return await _clocked(inline, key, args)
            try:
                if key >= CONTROL_BASE:
                    return await self._control(control, key, args)
                return data(key, *args)
            except Exception as error:
                raise failed(name, error, (key, *args)) from None

        async def waiting(key: int, *args: Any) -> Any:
            if bus.clocked and not BEGAN.get():
                return await _clocked(waiting, key, args)
            try:
                if key >= CONTROL_BASE:
                    return await self._control(control, key, args)
                return await data(key, *args)
            except Exception as error:
                raise failed(name, error, (key, *args)) from None

        return waiting if awaited else inline

    def _guarded_handler(
        self, name: str, data: Callable[..., Any], awaited: bool, guarding: Guarding
    ) -> Callable[..., Awaitable[Any]]:
        """As the others, but the guards are asked first, where there are any (0.04 µs to see that there are none)."""
        control = getattr(self._tree, name, None)
        failed, guards, guarded = self.failed, guarding.guards, guarding.guarded(name, data)
        bus = self._backing.observer.bus

        async def handler(key: int, *args: Any) -> Any:
            if bus.clocked and not BEGAN.get():
                return await _clocked(handler, key, args)
            try:
                if key >= CONTROL_BASE:
                    return await self._control(control, key, args)
                if guards.active:
                    return await guarded(key, *args)
                return await data(key, *args) if awaited else data(key, *args)
            except Exception as error:
                raise failed(name, error, (key, *args)) from None

        return handler

    async def _control(self, handler: Callable[..., Any] | None, key: int, args: tuple[Any, ...]) -> Any:
        if handler is None:
            raise PermissionError(1, "not in the control tree")
        if self._backing.observer.before is not None:
            self._backing.observer.before()  # what is shown there counts it
        return await _maybe(handler(key, *args))

    def failed(self, operation: str, error: Exception, args: tuple[Any, ...]) -> FUSEError:
        """What the kernel gets for it; perhaps an event."""
        code = code_of(error)
        observer = self._backing.observer
        if observer.failures and operation in _MEANT and args and args[0] < CONTROL_BASE:
            self._emit_failure(operation, code, args)
        return FUSEError(code)

    def _emit_failure(self, operation: str, code: int, args: tuple[Any, ...]) -> None:
        backing = self._backing
        try:
            by_handle = operation in ("read", "write")
            inode: Inode = backing.handles.file(args[0]).inode if by_handle else backing.inodes[args[0]]
            named = len(args) > 1 and isinstance(args[1], bytes) and "xattr" not in operation
            path = inode.path(args[1]) if named else inode.path()
            who = args[-1] if hasattr(args[-1], "pid") else backing.handles.file(args[0]).who
            backing.observer.emit(_MEANT[operation], path, who, inode=inode.ino, errno=name_of(code))
        except OSError:
            return  # an inode or handle that we do not know has no path to tell


async def _clocked(handler: Callable[..., Awaitable[Any]], key: int, args: tuple[Any, ...]) -> Any:
    """Let the events of a request tell how long it took."""
    token = BEGAN.set(time.perf_counter())
    try:
        return await handler(key, *args)
    finally:
        BEGAN.reset(token)


async def _maybe(result: Any) -> Any:
    return await result if isinstance(result, Awaitable) else result
