"""What the kernel remembers of the mount, for automations that change the backing tree behind its back."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Final

import pyfuse3
import trio

from vexfs_fuse.inodes import Inode, Inodes

log: Final = logging.getLogger(__name__)
PENDING: Final = 10_000  # invalidations under way; what does not fit is left to the timeouts of names and attributes


class KernelCache:
    """Tells the kernel what to forget, from a thread: it may have to wait for requests that only we can answer."""

    def __init__(self, inodes: Inodes) -> None:
        self._inodes: Final = inodes
        self._send, self._receive = trio.open_memory_channel[Callable[[], None]](PENDING)
        self.dropped = 0

    def entry(self, parent: str, name: str) -> None:
        """`name` in the directory `parent` appeared, vanished or means something else now."""
        inode = self._known(parent)
        if inode is not None:
            ino, encoded = inode.ino, os.fsencode(name)
            self._submit(lambda: pyfuse3.invalidate_entry(ino, encoded))
            self._submit(lambda: pyfuse3.invalidate_inode(ino, attr_only=True))

    def content(self, path: str) -> None:
        """The attributes or content of `path` changed."""
        inode = self._known(path)
        if inode is not None:
            ino = inode.ino
            self._submit(lambda: pyfuse3.invalidate_inode(ino))

    async def run(self) -> None:
        """Carry out what was submitted, until cancelled."""
        async for invalidate in self._receive:
            await trio.to_thread.run_sync(_quietly, invalidate, abandon_on_cancel=True)

    def _submit(self, invalidate: Callable[[], None]) -> None:
        try:
            self._send.send_nowait(invalidate)
        except (trio.WouldBlock, trio.BrokenResourceError):
            self.dropped += 1

    def _known(self, path: str) -> Inode | None:
        try:
            root = self._inodes.root
            status = os.stat(path, dir_fd=root.fd, follow_symlinks=False) if path else os.fstat(root.fd)
        except OSError:
            return None
        return self._inodes.find(status.st_dev, status.st_ino)


def _quietly(invalidate: Callable[[], None]) -> None:
    try:
        invalidate()
    except OSError as error:
        log.debug("invalidation refused: %s", error)  # the kernel did not know the entry, or the mount is gone
