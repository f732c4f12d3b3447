"""What the kernel remembers of the mount, and how it is told to forget: for changes behind its back."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

import pyfuse3
import trio

from vexfs_fuse.inodes import Inode, Inodes
from vexfs_fuse.native import Native

log: Final = logging.getLogger(__name__)
PENDING: Final = 10_000  # things to forget; with more, the kernel is told to forget everything
_BATCH: Final = 256  # a hop to the thread costs 70 µs, telling the kernel 2 µs

_ATTRIBUTES: Final = None
_CONTENT: Final = b""
Item = tuple[int, bytes | None]  # an inode number with a name in it, or one of the two above

_INVAL_INODE, _INVAL_ENTRY, _INC_EPOCH = 2, 3, 8
_EXPIRE_ONLY: Final = 1
_HEADER: Final = struct.Struct("=IiQ")  # length, code, 0
_INODE: Final = struct.Struct("=Qqq")  # number, offset, length
_ENTRY: Final = struct.Struct("=QII")  # directory, bytes of the name, flags


class KernelCache:
    """Tells the kernel from a thread: it may have to wait for requests that only we can answer.

    Bound: `PENDING` things to forget, each kept once. Beyond it nothing is lost: all names and attributes are dropped.
    """

    def __init__(self, inodes: Inodes, native: Native | None = None) -> None:
        self._inodes: Final = inodes
        self._native: Final = native
        self._pending: Final[dict[Item, None]] = {}
        self._everything = False
        self._wake = trio.Event()
        self._closed = False
        self.noted: Callable[[str], None] | None = None  # told of each path that an automation changed
        self.dropped = 0

    @property
    def pending(self) -> set[Item]:
        """What the kernel has yet to be told."""
        return set(self._pending)

    def entry(self, parent: str, name: str) -> None:
        """`name` in the directory `parent` appeared, vanished or means something else now."""
        if self.noted is not None:
            self.noted(f"{parent}/{name}" if parent else name)
        inode = self._known(parent)
        if inode is not None:
            self.name(inode, os.fsencode(name))

    def content(self, path: str) -> None:
        """The attributes or content of `path` changed."""
        if self.noted is not None:
            self.noted(path)
        inode = self._known(path)
        if inode is not None:
            self.data(inode)

    def name(self, parent: Inode, name: bytes) -> None:
        """`name` in `parent` means something else now, and so the listing does."""
        self._submit((parent.ino, name))
        self._submit((parent.ino, _CONTENT))

    def data(self, inode: Inode) -> None:
        """Its attributes and content changed."""
        self._submit((inode.ino, _CONTENT))

    def attributes(self, inode: Inode) -> None:
        """Its attributes changed."""
        if (inode.ino, _CONTENT) not in self._pending:
            self._submit((inode.ino, _ATTRIBUTES))

    def everything(self) -> None:
        """Whatever the kernel remembers may be wrong."""
        self._everything = True
        self._pending.clear()
        self._wake.set()

    def drops_names(self) -> bool:
        """Whether this kernel can forget all names at once, those of absent things too (Linux 6.16); tries it."""
        try:
            self._tell(_INC_EPOCH, b"")
        except OSError:
            return False
        return self._native is not None

    async def run(self) -> None:
        """Carry out what was submitted, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                while self._pending or self._everything:
                    batch = list(islice(self._pending, _BATCH))
                    for item in batch:
                        del self._pending[item]
                    if self._everything:
                        self._everything = False
                        await self._forget_all()
                    await trio.to_thread.run_sync(self._forget, batch, abandon_on_cancel=True)
        finally:
            self._closed = True

    async def _forget_all(self) -> None:
        epoch = self.drops_names()
        items = iter([item for inode in self._inodes for item in _all_of(inode, names=not epoch)])
        while batch := list(islice(items, _BATCH)):
            await trio.to_thread.run_sync(self._forget, batch, abandon_on_cancel=True)

    def _submit(self, item: Item) -> None:
        if self._everything:
            return
        self._pending[item] = None
        if len(self._pending) > PENDING:
            self.dropped += len(self._pending)
            self.everything()
        else:
            self._wake.set()

    def _forget(self, items: Iterable[Item]) -> None:
        for ino, what in items:
            if self._closed:
                return
            try:
                if self._native is None:
                    _ask(ino, what)
                elif what:
                    self._tell(_INVAL_ENTRY, _ENTRY.pack(ino, len(what), _EXPIRE_ONLY) + what + b"\0")
                else:
                    self._tell(_INVAL_INODE, _INODE.pack(ino, -1 if what is _ATTRIBUTES else 0, 0))
            except OSError as error:
                log.debug("invalidation refused: %s", error)  # the kernel did not know it, or the mount is gone

    def _tell(self, code: int, body: bytes) -> None:
        """A notification in the kernel's own form. An expired name is asked for again when next used; invalidated, it
        would be taken from under those who stand in it or have mounted something there.
        """
        if self._native is not None:
            os.write(self._native.session_fd, _HEADER.pack(_HEADER.size + len(body), code, 0) + body)

    def _known(self, path: str) -> Inode | None:
        try:
            root = self._inodes.root
            status = os.stat(path, dir_fd=root.fd, follow_symlinks=False) if path else os.fstat(root.fd)
        except OSError:
            return None
        return self._inodes.find(status.st_dev, status.st_ino)


def _ask(ino: int, what: bytes | None) -> None:
    if what:
        pyfuse3.invalidate_entry(ino, what)
    else:
        pyfuse3.invalidate_inode(ino, attr_only=what is _ATTRIBUTES)


def _all_of(inode: Inode, *, names: bool) -> Iterator[Item]:
    yield inode.ino, _CONTENT
    if names and inode.parent is not None:
        yield inode.parent.ino, inode.name
        for parent, name in inode.others or ():
            yield parent.ino, name
