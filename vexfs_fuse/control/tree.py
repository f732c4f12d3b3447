"""The control tree as the kernel sees it: `pyfuse3.Operations`' methods for the numbers from `CONTROL_BASE` on."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Final

import pyfuse3
from pyfuse3 import EntryAttributes, FileHandleT, FileInfo, InodeT, RequestContext

from automation.errors import VexError
from automation.requester import Requester, serving
from vexfs_fuse.callers import command_name
from vexfs_fuse.control import acl
from vexfs_fuse.control.listing import Listing, Path
from vexfs_fuse.control.nodes import Directory, Editable, File, Handle, Link, Node, Opening, is_directory, kind_of
from vexfs_fuse.control.numbers import CONTROL_BASE, Known, Nodes
from vexfs_fuse.control.realms import Realm, Realms
from vexfs_fuse.control.root import Mount
from vexfs_fuse.errors import (
    EACCES,
    EBADF,
    EEXIST,
    EINVAL,
    EISDIR,
    ELOOP,
    ENODATA,
    ENOENT,
    ENOTDIR,
    ENOTSUP,
    EPERM,
    EXDEV,
    fail,
)
from vexfs_fuse.native import NATIVE, Native

if TYPE_CHECKING:
    from automation.service import Service

ANSWER_EVERY: Final = 1.0  # seconds after which a waiting read is answered where signals do not reach us


class OpenFile:
    """A handle, with what a refusal should say about it."""

    __slots__ = ("handle", "ino", "path", "pid", "uid", "written")

    def __init__(self, handle: Handle, path: Path, ino: int, uid: int, pid: int) -> None:
        self.handle: Final = handle
        self.path: Final = path
        self.ino: Final = ino
        self.uid: Final = uid
        self.pid: Final = pid
        self.written = 0  # bytes since the last flush


class ControlTree:
    """`/.vexfs`. Only the user who mounted, and root, may do more than `stat` its root; a tenant's users in its part.

    Each request is judged by the path of the node that it is about (`Realms`), whatever the kernel has judged before.

    With the native library the session calls `interrupt` when a process that waits in a read gets a signal; without it,
    waiting reads are answered EINTR every `ANSWER_EVERY` seconds.
    """

    def __init__(self, service: Service, mount: Mount, native: Native | None = NATIVE) -> None:
        self._native: Final = native
        self._realms: Final = Realms(service, mount, ANSWER_EVERY if native is None else None)
        self._nodes: Final = Nodes(self._realms.operator.root)
        self._files: Final[dict[int, OpenFile]] = {}
        self._listings: Final[dict[int, Listing]] = {}
        self._handles: Final[Iterator[int]] = count(CONTROL_BASE + 1)
        self.root_ino: Final = InodeT(self._nodes.root_ino)

    def entry(self) -> EntryAttributes:
        """The root's attributes, for a listing that shows it."""
        known = self._nodes.at(self.root_ino)
        return self._attributes(known.path, known.node)

    def interrupt(self, fh: int) -> None:
        """A process that waits in a read of `fh` got a signal: answer it."""
        file = self._files.get(fh)
        if file is not None:
            file.handle.interrupt()

    async def close(self) -> None:
        """End the event streams; returns when those who waited have closed them, after a second at most. To be called
        while requests are still answered: once the session is gone, they get ENOTCONN instead of the end of the file.
        """
        await self._realms.close()

    # Names

    async def lookup(self, parent_inode: InodeT, name: bytes, ctx: RequestContext) -> EntryAttributes:
        """The entry of that name; the kernel counts it."""
        path = (*self._nodes.at(parent_inode).path, os.fsdecode(name))
        self._realms.enter(path, ctx, looking=True)
        node = self._child(parent_inode, path)
        self._nodes.remember(path, node)
        return self._attributes(path, node)

    async def forget(self, inode_list: Iterable[tuple[InodeT, int]]) -> None:
        """The kernel no longer knows these numbers."""
        for ino, lookups in inode_list:
            self._nodes.forget(ino, lookups)

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        """What `stat` shows. The root's attributes are for everyone, as those of any private directory."""
        known = self._nodes.at(inode)
        if inode != self.root_ino:
            self._realms.enter(known.path, ctx, looking=True)
        return self._attributes(known.path, known.node)

    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        """Sizes of open files. Times, and mode and owner of definitions, are accepted and not kept (touch, cp -p)."""
        known = self._nodes.at(inode)
        self._realms.enter(known.path, ctx)
        kept = fields.update_mode or fields.update_uid or fields.update_gid
        if kept and not self._takes_rights(known):
            fail(EPERM)
        attributes = self._attributes(known.path, known.node)
        if fields.update_size:
            for file in self._truncated(inode, fh):
                with self._serving(file.path, file.uid, file.pid):
                    file.handle.truncate(attr.st_size)
            attributes.st_size = attr.st_size
        return attributes

    async def access(self, inode: InodeT, mode: int, ctx: RequestContext) -> bool:
        """By the owner's permission bits."""
        known = self._nodes.at(inode)
        if not self._realms.admitted(known.path, ctx):
            return False
        permissions = known.node.describe().permissions
        return (permissions >> 6) & mode == mode or (ctx.uid == 0 and not (mode & os.X_OK and permissions & 0o100 == 0))

    # Files

    async def open(self, inode: InodeT, flags: int, ctx: RequestContext) -> FileInfo:
        """Open a file; its content is not cached by the kernel."""
        known = self._nodes.at(inode)
        self._realms.enter(known.path, ctx).make_room()
        if is_directory(known.node):
            fail(EISDIR)
        if isinstance(known.node, Link):
            fail(ELOOP)
        opening = Opening(flags, ctx.uid, ctx.pid)
        self._permit(known.node.describe().permissions, opening)
        file: File = known.node  # type: ignore[assignment]  # directories are excluded above
        return self._opened(known.path, file.open(opening), opening)

    async def create(
        self, parent_inode: InodeT, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        """Make and open a file, where files may be made."""
        self._enter(parent_inode, ctx)
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            fail(ENOTSUP)
        parent, directory = self._editable(parent_inode)
        text = os.fsdecode(name)
        if self._directory(parent_inode).child(text) is not None:
            fail(EEXIST)
        self._part(parent).make_room()
        path, opening = (*parent, text), Opening(flags, ctx.uid, ctx.pid)
        with self._serving(path, ctx.uid, ctx.pid):
            node, handle = directory.create(text, opening)
        self._nodes.remember(path, node)
        return self._opened(path, handle, opening), self._attributes(path, node)

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        """Bytes; may wait (events)."""
        nonblocking = self._native is not None and bool(self._native.request.flags & os.O_NONBLOCK)
        file = self._file(fh)
        async with self._part(file.path).at_own_expense(file.uid):
            return await file.handle.read(off, size, nonblocking)

    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        """Done, or refused with EINVAL."""
        file = self._file(fh)
        file.written += len(buf)
        async with self._part(file.path).at_own_expense(file.uid):
            with self._serving(file.path, file.uid, file.pid):
                return await file.handle.write(off, buf)

    async def flush(self, fh: FileHandleT) -> None:
        """A descriptor is closed: what was begun is done now, or refused with EINVAL."""
        file = self._file(fh)
        written, file.written = file.written, 0
        if written:
            self._write_down("control.write", file.path, file.uid, file.pid, bytes=written)
        async with self._part(file.path).at_own_expense(file.uid):
            with self._serving(file.path, file.uid, file.pid):
                await file.handle.flush()

    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        """Nothing is on a disk here; editors ask before they close."""

    async def release(self, fh: FileHandleT) -> None:
        """The last descriptor is closed."""
        file = self._files.pop(fh, None)
        if file is not None:
            if (part := self._realms.of(file.path)) is not None:
                part.open_files -= 1
            with contextlib.suppress(pyfuse3.FUSEError), self._serving(file.path, file.uid, file.pid):
                await file.handle.release()

    async def poll(
        self, inode: InodeT, fh: FileHandleT, poll_handle: pyfuse3.PollHandle | None, ctx: RequestContext
    ) -> int:
        """What is ready now; the handle is notified when a stream becomes readable."""
        return self._file(fh).handle.poll(poll_handle)

    # Directories

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        """A listing, taken at the first read."""
        known = self._nodes.at(inode)
        self._realms.enter(known.path, ctx)
        self._directory(inode)
        fh = next(self._handles)
        self._listings[fh] = Listing(self._nodes, known.path, self._attributes, ctx.uid)
        return FileHandleT(fh)

    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries with their attributes."""
        listing = self._listings.get(fh)
        if listing is None:
            fail(EBADF)
        async with self._part(listing.path).at_own_expense(listing.uid):
            listing.reply(start_id, token)

    def names(self, fh: FileHandleT, start: int) -> bytes:
        """Entries without attributes, in the form of `dirents`."""
        listing = self._listings.get(fh)
        return fail(EBADF) if listing is None else listing.names(start)

    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        """Nothing to do."""

    async def releasedir(self, fh: FileHandleT) -> None:
        """The listing is closed."""
        self._listings.pop(fh, None)

    async def unlink(self, parent_inode: InodeT, name: bytes, ctx: RequestContext) -> None:
        """Remove a file, where files may be removed."""
        self._enter(parent_inode, ctx)
        parent, directory = self._editable(parent_inode)
        path = (*parent, os.fsdecode(name))
        if is_directory(self._child(parent_inode, path)):
            fail(EISDIR)
        self._write_down("control.removed", path, ctx.uid, ctx.pid)
        with self._serving(path, ctx.uid, ctx.pid):
            await directory.unlink(path[-1], ctx.pid)

    async def rmdir(self, parent_inode: InodeT, name: bytes, ctx: RequestContext) -> None:
        """Remove a directory with what is in it, as in configfs."""
        self._enter(parent_inode, ctx)
        parent, directory = self._editable(parent_inode)
        path = (*parent, os.fsdecode(name))
        if not is_directory(self._child(parent_inode, path)):
            fail(ENOTDIR)
        self._write_down("control.removed", path, ctx.uid, ctx.pid)
        with self._serving(path, ctx.uid, ctx.pid):
            await directory.rmdir(path[-1])

    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: bytes,
        parent_inode_new: InodeT,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        """Within one directory, where names may be given. Exchange is refused."""
        self._enter(parent_inode_old, ctx)
        parent, directory = self._editable(parent_inode_old)
        if parent_inode_old != parent_inode_new:
            fail(EXDEV)
        if flags & pyfuse3.RENAME_EXCHANGE:
            fail(EINVAL)
        old, new = os.fsdecode(name_old), os.fsdecode(name_new)
        if is_directory(self._child(parent_inode_old, (*parent, old))):
            fail(EPERM)
        if flags & pyfuse3.RENAME_NOREPLACE and self._directory(parent_inode_new).child(new) is not None:
            fail(EEXIST)
        moved = (*parent, new)
        self._write_down("control.renamed", (*parent, old), ctx.uid, ctx.pid, dest=self._part(moved).shown(moved))
        with self._serving(moved, ctx.uid, ctx.pid):
            await directory.rename(old, new)

    async def mkdir(self, parent_inode: InodeT, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        """Refused."""
        fail(EPERM)

    async def mknod(
        self, parent_inode: InodeT, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        """Refused."""
        fail(EPERM)

    async def symlink(self, parent_inode: InodeT, name: bytes, target: bytes, ctx: RequestContext) -> EntryAttributes:
        """Refused."""
        fail(EPERM)

    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        """Refused."""
        fail(EPERM)

    async def readlink(self, inode: InodeT, ctx: RequestContext) -> bytes:
        """Where the caller's own part is."""
        node = self._nodes.at(inode).node
        return os.fsencode(node.target(ctx)) if isinstance(node, Link) else fail(EINVAL)

    # Extended attributes

    async def getxattr(self, inode: InodeT, name: bytes, ctx: RequestContext) -> bytes:
        """Who else has the owner's rights, which the kernel asks; no other attributes are supported here."""
        known = self._nodes.at(inode)
        realm = self._realms.enter(known.path, ctx, looking=True)
        if name == acl.NAME:
            return realm.acl(known.node.describe().permissions)
        fail(ENODATA if name.startswith(b"system.posix_acl_") else ENOTSUP)

    async def setxattr(self, inode: InodeT, name: bytes, value: bytes, ctx: RequestContext) -> None:
        """A definition's access control list is accepted and not kept, as its mode is (cp -p, sed -i)."""
        await self.removexattr(inode, name, ctx)

    async def removexattr(self, inode: InodeT, name: bytes, ctx: RequestContext) -> None:
        """As `setxattr`."""
        known = self._nodes.at(inode)
        self._realms.enter(known.path, ctx)
        if not (name == acl.NAME and self._takes_rights(known)):
            fail(ENOTSUP)

    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> list[bytes]:
        """None."""
        return []

    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        """No blocks; names have 255 bytes."""
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = 4096
        data.f_namemax = 255
        return data

    # Within

    def _enter(self, ino: int, ctx: RequestContext) -> None:
        self._realms.enter(self._nodes.at(ino).path, ctx)

    @staticmethod
    def _permit(permissions: int, opening: Opening) -> None:
        wanted = {os.O_RDONLY: 0o400, os.O_WRONLY: 0o200}.get(opening.flags & os.O_ACCMODE, 0o600)
        if permissions & wanted != wanted:
            fail(EACCES)

    def _directory(self, ino: int) -> Directory:
        node = self._nodes.at(ino).node
        if not is_directory(node):
            fail(ENOTDIR)
        return node  # type: ignore[return-value]  # is_directory says so

    def _editable(self, ino: int) -> tuple[Path, Editable]:
        known = self._nodes.at(ino)
        if not isinstance(known.node, Editable):
            fail(EPERM if is_directory(known.node) else ENOTDIR)
        return known.path, known.node

    def _child(self, parent_ino: int, path: Path) -> Node:
        fresh = self._directory(parent_ino).child(path[-1])
        if fresh is None:
            fail(ENOENT)
        known = self._nodes.existing(path)
        return fresh if known is None or type(known) is not type(fresh) else known

    def _file(self, fh: int) -> OpenFile:
        file = self._files.get(fh)
        return fail(EBADF) if file is None else file

    def _opened(self, path: Path, handle: Handle, opening: Opening) -> FileInfo:
        fh = next(self._handles)
        self._part(path).open_files += 1
        self._files[fh] = OpenFile(handle, path, self._nodes.number(path), opening.uid, opening.pid)
        return FileInfo(fh=FileHandleT(fh), direct_io=True, keep_cache=False)

    def _truncated(self, ino: int, fh: int | None) -> list[OpenFile]:
        """Whom a new size concerns: the descriptor, or without one every opening of the file."""
        return [self._file(fh)] if fh is not None else [f for f in self._files.values() if f.ino == ino]

    @contextlib.contextmanager
    def _serving(self, path: Path, uid: int, pid: int) -> Iterator[None]:
        """What the block does is done for that user. A refusal becomes EINVAL and a line in the part's `error`."""
        try:
            with serving(Requester(uid, pid, command_name(pid), ".vexfs/" + "/".join(path))):
                yield
        except VexError as error:
            part = self._part(path)
            part.refusals.add(part.shown(path), uid, str(error))
            self._write_down("control.refused", path, uid, pid, said=str(error))
            fail(EINVAL)

    def _write_down(self, kind: str, path: Path, uid: int, pid: int, **data: object) -> None:
        part = self._part(path)
        part.service.note(kind, path=part.shown(path), uid=uid, pid=pid, data={"comm": command_name(pid), **data})

    def _takes_rights(self, known: Known) -> bool:
        """Whether a mode, owner or list may be set, which changes nothing: of files in `workflows`."""
        path = known.path[len(self._part(known.path).prefix) :]
        return len(path) == 2 and path[0] == "workflows" and not is_directory(known.node)

    def _part(self, path: Path) -> Realm:
        return self._realms.of(path) or fail(ENOENT)

    def _attributes(self, path: Path, node: Node) -> EntryAttributes:
        return attributes(self._nodes.number(path), node, self._part(path))


def attributes(ino: int, node: Node, realm: Realm) -> EntryAttributes:
    """A node as `stat` shows it; nothing is cached by the kernel."""
    about = node.describe()
    entry = EntryAttributes()
    entry.st_ino = InodeT(ino)
    entry.entry_timeout = entry.attr_timeout = 0
    entry.st_mode = pyfuse3.ModeT(kind_of(node) | realm.permissions(about.permissions))
    entry.st_nlink = 2 if is_directory(node) else 1
    entry.st_uid, entry.st_gid = realm.uid, realm.gid
    entry.st_size = about.size
    entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = about.changed_ns or time.time_ns()
    return entry
