"""Operations on open directories: opendir, readdir, releasedir, fsyncdir."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial
from typing import Final

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, ReaddirToken

from vexfs_fuse import dirents
from vexfs_fuse.backing import CONTROL_NAME, Backing
from vexfs_fuse.callers import Who
from vexfs_fuse.handles import Listing, Opener
from vexfs_fuse.inodes import Inode
from vexfs_fuse.interest import Interest
from vexfs_fuse.native import FOPEN_CACHE_DIR, FOPEN_KEEP_CACHE

_LARGE: Final = 64 * 1024  # bytes of a directory file: about 2,000 names on ext4, 2 ms to list
_BATCH: Final = 64  # entries between two looks at other requests


class Directories:
    """A listing is a snapshot taken when the directory is first read or rewound: with it, no entry that stays is ever
    skipped or repeated however the directory changes meanwhile, and every offset stays valid.

    The native library serves it where it can; and where every change is noticed and nobody wants to hear of listings,
    the kernel keeps it until the directory changes.

    `control` renders the entry of `/.vexfs` where it is to be listed.
    """

    def __init__(self, backing: Backing, interest: Interest, control: Callable[[], EntryAttributes] | None) -> None:
        self._backing: Final = backing
        self._native: Final = backing.native
        self._interest: Final = interest
        self._inodes: Final = backing.inodes
        self._handles: Final = backing.handles
        self._emit: Final = backing.observer.emit
        self._control: Final = control

    def opendir(self, ino: int, ctx: Who) -> int:
        """A handle."""
        inode = self._inodes[ino]
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        fd = os.open(b".", flags, dir_fd=self._inodes.fd(inode))
        self._inodes.opened(inode)
        self._emit("dir.opened", inode, ctx, inode=ino)
        fh = self._handles.add_listing(Listing(fd, inode, Opener(ctx.pid, ctx.uid, ctx.gid)))
        if self._native is not None and self._backing.observer.noted is None and not self._with_control(inode):
            self._native.listings.opened(fh, ino, fd)
            if self._backing.timeouts.listings and not self._interest.in_listings(inode.path()):
                self._native.reply_flags(FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE)
        return fh

    async def readdir(self, fh: int, start: int, token: ReaddirToken) -> None:
        """Entries from position `start` on, with attributes, as many as the reply holds."""
        listing = self._handles.listing(fh)
        entries = await self.entries(fh, start)
        for count, (name, _, after) in enumerate(dirents.decode(entries, start), 1):
            if not self._reply(listing.inode, name, after, token):
                return
            if count % _BATCH == 0:
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def entries(self, fh: int, start: int) -> bytes:
        """The snapshot; a new one where the reader begins (again)."""
        listing = self._handles.listing(fh)
        if start != 0 and self._native is not None:
            listing.entries = self._native.listings.entries(fh) or listing.entries
        if start == 0 or listing.entries is None:
            large = os.fstat(listing.fd).st_size > _LARGE
            scan = partial(dirents.scan, listing.fd, self._hidden(listing.inode))
            found = await trio.to_thread.run_sync(scan) if large else scan()
            if self._with_control(listing.inode) and self._control is not None:
                found += dirents.encode([(CONTROL_NAME, self._control().st_ino, stat.S_IFDIR)], len(found))
            listing.entries = found
            if self._native is not None:
                self._native.listings.serve(fh, found)
            self._emit("dir.listed", listing.inode, listing.who, inode=listing.inode.ino)
        return listing.entries

    async def releasedir(self, fh: int) -> None:
        """Close it."""
        self.close(fh)

    def close(self, fh: int) -> None:
        """What a releasedir does."""
        listing = self._handles.listings.pop(fh)
        if self._native is not None:
            self._native.listings.closed(fh)
        os.close(listing.fd)
        self._emit("dir.closed", listing.inode, listing.who, inode=listing.inode.ino, fresh=False)
        self._inodes.closed(listing.inode)

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """To stable storage."""
        listing = self._handles.listing(fh)
        await trio.to_thread.run_sync(os.fdatasync if datasync else os.fsync, listing.fd)
        attrs = {"datasync": datasync}
        self._emit("sync.fsync", listing.inode, listing.who, inode=listing.inode.ino, attrs=attrs)

    def _with_control(self, inode: Inode) -> bool:
        return self._control is not None and inode is self._inodes.root

    def _hidden(self, inode: Inode) -> bytes:
        return CONTROL_NAME if inode is self._inodes.root else b""

    def _reply(self, parent: Inode, name: bytes, after: int, token: ReaddirToken) -> bool:
        """Report one entry; False when the reply is full. Names that are gone meanwhile are passed over."""
        if name in (b".", b".."):
            inode = parent if name == b"." else parent.parent or parent
            try:
                status = os.fstat(self._inodes.fd(inode))
            except OSError:
                return True
            return pyfuse3.readdir_reply(token, name, self._backing.attributes(inode, status), after)
        if name == CONTROL_NAME and self._control is not None and self._with_control(parent):
            return pyfuse3.readdir_reply(token, name, self._control(), after)
        try:
            inode, status = self._backing.enter(parent, name)
        except OSError:
            return True
        if pyfuse3.readdir_reply(token, name, self._backing.attributes(inode, status), after):
            return True
        self._inodes.forget(inode, 1)
        return False
