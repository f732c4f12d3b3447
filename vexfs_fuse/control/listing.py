"""An open directory of the control tree."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Final

import pyfuse3

from vexfs_fuse import dirents
from vexfs_fuse.control.nodes import Directory, Node, is_directory, kind_of
from vexfs_fuse.control.numbers import Nodes
from vexfs_fuse.errors import ENOENT

Path = tuple[str, ...]
Attributes = Callable[[Path, Node], pyfuse3.EntryAttributes]


class Listing:
    """The names of the moment of the first read (or rewind), handed out in portions with their attributes. `uid` is who
    opened it.
    """

    def __init__(self, nodes: Nodes, path: Path, attributes: Attributes, uid: int) -> None:
        self.path: Final = path
        self.uid: Final = uid
        self._nodes: Final = nodes
        self._attributes: Final = attributes
        self._names: list[str] = []

    def names(self, start: int) -> bytes:
        """Entries in the form of `dirents`, each without a lookup, whose position is `start` and the ones behind it."""
        directory = self._nodes.at(self._nodes.number(self.path)).node
        if not is_directory(directory):
            return b""
        if start == 0:
            self._begin(directory)  # type: ignore[arg-type]
        records = []
        for at, name in enumerate(self._names[start:], start + 1):
            node = directory if at <= 2 else directory.child(name)  # type: ignore[union-attr]
            path = (*self.path, name) if at > 2 else self.path
            kind = stat.S_IFDIR if node is None else kind_of(node)
            records.append(dirents.record(os.fsencode(name), self._nodes.number(path), kind, at))
        return b"".join(records)

    def reply(self, start: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries from position `start` on, as many as fit."""
        directory = self._nodes.at(self._nodes.number(self.path)).node
        if not is_directory(directory):
            return
        if start == 0:
            self._begin(directory)  # type: ignore[arg-type]
        for at, name in enumerate(self._names[start:], start + 1):
            path = (*self.path, name)
            node = directory if at <= 2 else directory.child(name)  # type: ignore[union-attr]
            if node is None or len(os.fsencode(name)) > 255:
                continue
            if not self._tell(token, path if at > 2 else self.path, name, node, at):
                break

    def _begin(self, directory: Directory) -> None:
        self._names = [".", "..", *directory.names()]
        self._drop_vanished()

    def _tell(self, token: pyfuse3.ReaddirToken, path: Path, name: str, node: Node, at: int) -> bool:
        """One entry; whether it fit. The kernel counts a lookup of each, but of `.` and `..`."""
        try:
            entry = self._attributes(path, node)
        except pyfuse3.FUSEError as error:
            if error.errno == ENOENT:
                return True
            raise
        if not pyfuse3.readdir_reply(token, os.fsencode(name), entry, at):
            return False
        if at > 2:
            self._nodes.remember(path, node)
        return True

    def _drop_vanished(self) -> None:
        """Let the kernel forget what is gone, which it, and we with it, would remember until memory is short."""
        ino = pyfuse3.InodeT(self._nodes.number(self.path))
        for name in set(self._nodes.below(self.path)).difference(self._names):
            pyfuse3.invalidate_entry_async(ino, pyfuse3.FileNameT(os.fsencode(name)), ignore_enoent=True)
