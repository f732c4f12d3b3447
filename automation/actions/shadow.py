"""The tree as the earlier steps of a dry run would have left it: real, but for the names that they change."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Final

from automation.errors import WorldError
from automation.workspace import FileStat, Workspace


class Unforeseen(WorldError):  # noqa: N818 - it reads as what happened
    """What is asked for would have been made by an earlier step, and cannot be known."""


class _Gone:
    """Nothing has that name any more."""


class _Unknown:
    """Something new, a directory or not, of which no more is known."""

    def __init__(self, kind: str, mode: int) -> None:
        self.kind: Final = kind
        self.mode: Final = mode


class _Alias:
    """The name stands for what another one really stands for."""

    def __init__(self, path: str) -> None:
        self.path: Final = path


_Entry = _Gone | _Unknown | _Alias | bytes


class Shadow:
    """Reads of the tree, with `put`, `copied` and `gone` for what would have changed. Paths as of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._real: Final = workspace
        self._changed: Final[dict[str, _Entry]] = {}

    def put(self, path: str, content: bytes) -> None:
        """A file would have this content."""
        self._changed[_plain(path)] = content

    def made(self, path: str, kind: str = "file", mode: int = 0o644) -> None:
        """Something of this kind would be there; what is in it is not known."""
        self._changed[_plain(path)] = _Unknown(kind, mode)

    def copied(self, source: str, target: str) -> None:
        """`target` would be what `source` is."""
        found = self._find(source)
        self._changed[_plain(target)] = _Alias(found) if isinstance(found, str) else found

    def gone(self, path: str) -> None:
        """Nothing would be there."""
        self._changed[_plain(path)] = _Gone()

    async def stat(self, path: str, *, follow: bool = True) -> FileStat:
        """What would be known of a name; times and numbers of new things are made up."""
        found = self._find(path)
        if isinstance(found, str):
            return replace(await self._real.stat(found, follow=follow), path=_plain(path))
        if isinstance(found, bytes):
            return _invented(_plain(path), "file", len(found), 0o644)
        if isinstance(found, _Unknown):
            return _invented(_plain(path), found.kind, 0, found.mode)
        raise _missing("look at", path)

    async def exists(self, path: str) -> bool:
        """Whether there would be something."""
        found = self._find(path)
        return await self._real.exists(found) if isinstance(found, str) else not isinstance(found, _Gone)

    async def listdir(self, path: str = "") -> list[FileStat]:
        """The entries that a directory would have."""
        found, above = self._find(path), _plain(path)
        if isinstance(found, bytes | _Gone):
            raise _missing("list", path)
        new = [name for name in self._changed if name.rpartition("/")[0] == above]
        there = isinstance(found, str) and (not new or await self._real.exists(found))
        real = await self._real.listdir(str(found)) if there else []
        names = {one.path.rpartition("/")[2] for one in real} | {name.rpartition("/")[2] for name in new}
        paths = [f"{above}/{name}" if above else name for name in sorted(names)]
        return [await self.stat(one, follow=False) for one in paths if await self.exists(one)]

    async def walk(self, path: str = "") -> AsyncGenerator[FileStat, None]:
        """Everything that would be below a directory."""
        pending = [path]
        while pending:
            entries = await self.listdir(pending.pop())
            for entry in entries:
                yield entry
            pending += [entry.path for entry in reversed(entries) if entry.type == "dir"]

    async def read(self, path: str, limit: int = 1 << 20) -> bytes:
        """The content that a file would have; Unforeseen where that is not known."""
        found = self._find(path)
        if isinstance(found, str):
            return await self._real.read(found, limit)
        if isinstance(found, bytes):
            return found
        raise self._unknown(found, path)

    async def checksum(self, path: str, algorithm: str = "sha256") -> str:
        """The digest of the content that a file would have."""
        found = self._find(path)
        if isinstance(found, str):
            return await self._real.checksum(found, algorithm)
        if isinstance(found, bytes):
            return hashlib.new(algorithm, found, usedforsecurity=False).hexdigest()
        raise self._unknown(found, path)

    def _unknown(self, found: _Gone | _Unknown, path: str) -> WorldError:
        if isinstance(found, _Unknown):
            return Unforeseen(f"what is in '{path}' is not known in a dry run")
        return _missing("read", path)

    def _find(self, path: str) -> str | bytes | _Gone | _Unknown:
        """The real path that `path` stands for, or what would be there instead."""
        plain = above = _plain(path)
        rest = ""
        while above:
            entry = self._changed.get(above)
            if isinstance(entry, _Alias):
                return f"{entry.path}{rest}"
            if entry is not None:
                return entry if not rest else _Gone()
            above, _, name = above.rpartition("/")
            rest = f"/{name}{rest}"
        return plain


def _plain(path: str) -> str:
    return "/".join(name for name in path.split("/") if name not in ("", "."))


def _missing(what: str, path: str) -> WorldError:
    return WorldError(f"cannot {what} '{path}': an earlier step of this dry run would have removed it")


def _invented(path: str, kind: str, size: int, mode: int) -> FileStat:
    now = time.time_ns()
    return FileStat(path, kind, size, mode, os.geteuid(), os.getegid(), 0, 0, 1, now, now, now)
