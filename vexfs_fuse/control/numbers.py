"""Inode numbers of the control tree, and what the kernel knows under them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from vexfs_fuse.control.nodes import Node
from vexfs_fuse.errors import ESTALE, fail

CONTROL_BASE: Final = 1 << 62  # numbers and file handles from here on belong to the control tree
ROOT: Final[tuple[str, ...]] = ()
_HASHED: Final = CONTROL_BASE | 1 << 61
_MASK: Final = (1 << 61) - 1


@dataclass(slots=True)
class Known:
    """A node that the kernel knows: where it is, and how many lookups of it the kernel has to give back."""

    path: tuple[str, ...]
    node: Node
    lookups: int = 0


class Nodes:
    """Number ↔ node, for as long as the kernel remembers the number; the root for ever.

    A number is a hash of the path, so the same file has the same number for the life of the mount (and a listing may
    name it without a lookup) though nothing is kept for a file that the kernel has forgotten.
    """

    def __init__(self, root: Node) -> None:
        self.root_ino: Final = CONTROL_BASE + 1
        self._known: Final = {self.root_ino: Known(ROOT, root, 1)}

    def __len__(self) -> int:
        return len(self._known)

    def number(self, path: tuple[str, ...]) -> int:
        """The inode number of `path`."""
        if not path:
            return self.root_ino
        digest = blake2b("/".join(path).encode(errors="surrogateescape"), digest_size=8).digest()
        at = int.from_bytes(digest, "big") & _MASK
        while (known := self._known.get(_HASHED | at)) is not None and known.path != path:
            at = (at + 1) & _MASK
        return _HASHED | at

    def remember(self, path: tuple[str, ...], node: Node) -> None:
        """The kernel is told of `path` (lookup, create, an entry of a listing)."""
        known = self._known.setdefault(self.number(path), Known(path, node))
        known.lookups += 1

    def existing(self, path: tuple[str, ...]) -> Node | None:
        """The node that the kernel knows as `path`, so that all openings share it."""
        known = self._known.get(self.number(path))
        return None if known is None else known.node

    def at(self, ino: int) -> Known:
        """What the kernel means by `ino`; ESTALE for a number never given."""
        known = self._known.get(ino)
        return fail(ESTALE) if known is None else known

    def forget(self, ino: int, lookups: int) -> None:
        """The kernel gives lookups back."""
        known = self._known.get(ino)
        if known is None or ino == self.root_ino:
            return
        known.lookups -= lookups
        if known.lookups <= 0:
            del self._known[ino]

    def below(self, path: tuple[str, ...]) -> list[str]:
        """The names directly under `path` that the kernel knows."""
        depth = len(path)
        return [k.path[-1] for k in self._known.values() if len(k.path) == depth + 1 and k.path[:depth] == path]
