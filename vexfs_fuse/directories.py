"""Operations on open directories: opendir, readdir, releasedir, fsyncdir."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, ReaddirToken, RequestContext

from vexfs_fuse import passthrough
from vexfs_fuse.backing import CONTROL_NAME, Backing
from vexfs_fuse.handles import Listing, Opener
from vexfs_fuse.inodes import Inode

_LARGE: Final = 64 * 1024  # bytes of a directory file: about 2,000 names on ext4, 2 ms to list
_BATCH: Final = 64  # entries between two looks at other requests


class Directories:
    """A listing is a snapshot taken when the directory is first read or rewound: with it, no entry that stays is ever
    skipped or repeated however the directory changes meanwhile, and every offset stays valid.

    `control` renders the entry of `/.vexfs` where it is to be listed.
    """

    def __init__(self, backing: Backing, control: Callable[[], EntryAttributes] | None) -> None:
        self._backing: Final = backing
        self._inodes: Final = backing.inodes
        self._handles: Final = backing.handles
        self._emit: Final = backing.observer.emit
        self._control: Final = control

    async def opendir(self, ino: int, ctx: RequestContext) -> int:
        """A handle."""
        inode = self._inodes[ino]
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        fd = os.open(b".", flags, dir_fd=self._inodes.fd(inode))
        inode.opens += 1
        self._emit("dir.opened", inode.path(), ctx, inode=ino)
        return self._handles.add_listing(Listing(fd, inode, Opener(ctx.pid, ctx.uid, ctx.gid)))

    async def readdir(self, fh: int, start: int, token: ReaddirToken) -> None:
        """Entries from offset `start` on, with attributes, as many as the reply holds."""
        listing = self._handles.listing(fh)
        if start == 0 or listing.entries is None:
            listing.entries = await self._names(listing)
            attrs = {"entries": len(listing.entries) - 2}
            self._emit("dir.listed", listing.inode.path(), listing.who, inode=listing.inode.ino, attrs=attrs)
        entries = listing.entries
        for position in range(start, len(entries)):
            if position % _BATCH == _BATCH - 1:
                await trio.lowlevel.cancel_shielded_checkpoint()
            if not self._reply(listing.inode, entries[position], position + 1, token):
                return

    async def releasedir(self, fh: int) -> None:
        """Close it."""
        listing = self._handles.listings.pop(fh)
        os.close(listing.fd)
        self._emit("dir.closed", listing.inode.path(), listing.who, inode=listing.inode.ino, fresh=False)
        self._inodes.closed(listing.inode)

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """To stable storage."""
        listing = self._handles.listing(fh)
        await trio.to_thread.run_sync(os.fdatasync if datasync else os.fsync, listing.fd)
        attrs = {"datasync": datasync}
        self._emit("sync.fsync", listing.inode.path(), listing.who, inode=listing.inode.ino, attrs=attrs)

    async def _names(self, listing: Listing) -> list[bytes]:
        large = os.fstat(listing.fd).st_size > _LARGE
        names = await trio.to_thread.run_sync(_scan, listing.fd) if large else _scan(listing.fd)
        if listing.inode is self._inodes.root:
            names = [name for name in names if name != CONTROL_NAME]
            if self._control is not None:
                names.append(CONTROL_NAME)
        return [b".", b"..", *names]

    def _reply(self, parent: Inode, name: bytes, after: int, token: ReaddirToken) -> bool:
        """Report one entry; False when the reply is full. Names that are gone meanwhile are passed over."""
        if name in (b".", b".."):
            inode = parent if name == b"." else parent.parent or parent
            try:
                status = os.fstat(self._inodes.fd(inode))
            except OSError:
                return True
            return pyfuse3.readdir_reply(token, name, self._backing.attributes(inode, status), after)
        if name == CONTROL_NAME and parent is self._inodes.root and self._control is not None:
            return pyfuse3.readdir_reply(token, name, self._control(), after)
        try:
            fd, status = passthrough.open_path(self._inodes.fd(parent), name)
        except OSError:
            return True
        inode = self._inodes.enter(parent, name, fd, status)
        if pyfuse3.readdir_reply(token, name, self._backing.attributes(inode, status), after):
            return True
        self._inodes.forget(inode, 1)
        return False


def _scan(fd: int) -> list[bytes]:
    os.lseek(fd, 0, os.SEEK_SET)
    return [os.fsencode(name) for name in os.listdir(fd)]
