"""Snapshots: what everything remembers, as frames in a file; the present one and the one before it are kept.

    ("begin", VERSION)  ("part", owner, name, position)  ("rows",), row, row …   …  ("end", parts, oldest frame needed)

One frame a bracket; a part may have many frames of rows.

`position` is the number of the next frame of the event log when the part was taken: what the log says before it is in
the part. A file without its last frame, or with a damaged one, counts as none at all.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import Any, Final

from automation.memory.frames import begin, pack, unpack
from automation.memory.sealing import OPEN, Keyhole

VERSION: Final = 1
KEPT: Final = 2
_PREFIX: Final = "snapshot-"


@dataclass(slots=True)
class Part:
    """What one detector remembers: `rows` are its own affair."""

    position: int
    rows: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Snapshot:
    """All parts, by owner and name."""

    number: int
    parts: dict[tuple[str, str], Part] = field(default_factory=dict)
    oldest: int = 0
    size: int = 0


class SnapshotFile:
    """A snapshot that is being written: under another name until `finish`. All but `add` may wait for the disk."""

    def __init__(self, directory_fd: int, number: int, keyhole: Keyhole = OPEN) -> None:
        self.number: Final = number
        self.size = 0
        self._directory_fd: Final = directory_fd
        self._seal: Final = keyhole.new()
        self._held: list[bytes] = [begin(("begin", VERSION), self._seal)]
        self._parts = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(f"{_name(number)}.new", flags, 0o600, dir_fd=directory_fd)

    def part(self, owner: str, name: str, position: int) -> None:
        """Begin a part."""
        self._parts += 1
        self._held.append(pack([("part", owner, name, position)], self._seal))

    def add(self, rows: list[Any]) -> None:
        """Add rows to the part."""
        self._held.append(pack([("rows",), *rows], self._seal))

    @property
    def held(self) -> int:
        """Bytes that wait to be written."""
        return sum(map(len, self._held))

    def write(self) -> None:
        """Write what is held."""
        held, self._held = b"".join(self._held), []
        view = memoryview(held)
        while view:
            size = os.write(self._fd, view)
            self.size += size
            view = view[size:]

    def finish(self, oldest: int) -> None:
        """Let it count, in the place of the oldest of those that are kept."""
        self._held.append(pack([("end", self._parts, oldest)], self._seal))
        self.write()
        os.fsync(self._fd)
        self.close()
        name = _name(self.number)
        os.rename(f"{name}.new", name, src_dir_fd=self._directory_fd, dst_dir_fd=self._directory_fd)
        keep_last(self._directory_fd, KEPT)

    def abandon(self) -> None:
        """Leave nothing behind."""
        self.close()
        with contextlib.suppress(OSError):
            os.unlink(f"{_name(self.number)}.new", dir_fd=self._directory_fd)

    def close(self) -> None:
        """Let the descriptor go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def numbers(directory_fd: int) -> list[int]:
    """Of the snapshots that are there, in order."""
    names = [n[len(_PREFIX) :] for n in os.listdir(directory_fd) if n.startswith(_PREFIX)]
    return sorted(int(name) for name in names if name.isdecimal())


def keep_last(directory_fd: int, count: int) -> None:
    """Remove all snapshots but the newest."""
    for old in numbers(directory_fd)[:-count]:
        os.unlink(_name(old), dir_fd=directory_fd)


def drop(directory_fd: int, newer_than: int = 0) -> None:
    """Remove snapshots, and what was never finished."""
    for name in os.listdir(directory_fd):
        number = name.removeprefix(_PREFIX).removesuffix(".new")
        if name.startswith(_PREFIX) and (name.endswith(".new") or (number.isdecimal() and int(number) > newer_than)):
            os.unlink(name, dir_fd=directory_fd)


def read_snapshot(directory_fd: int, number: int, keyhole: Keyhole = OPEN) -> Snapshot | None:
    """A snapshot, None if it is not whole; WorldError for a sealed one that the key does not open."""
    fd = os.open(_name(number), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory_fd)
    with open(fd, "rb") as file:
        data = file.read()
    snapshot, part, ended = Snapshot(number, size=len(data)), Part(0), False
    for _, records in unpack(data, keyhole):
        kind, *values = records[0]
        if kind == "begin" and values != [VERSION]:
            return None
        if kind == "part":
            owner, name, position = values
            part = snapshot.parts[owner, name] = Part(position)
        elif kind == "rows":
            part.rows += records[1:]
        elif kind == "end":
            ended, snapshot.oldest = values[0] == len(snapshot.parts), values[1]
    return snapshot if ended else None


def _name(number: int) -> str:
    return f"{_PREFIX}{number:012d}"
