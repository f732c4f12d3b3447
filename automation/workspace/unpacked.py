"""The directory that an archive becomes: makes entries beneath one descriptor, none through a link, within bounds."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any, Final

from automation.workspace import beneath
from automation.workspace.archives import CHUNK, refused
from automation.workspace.copying import Check

_HEADERS: Final = 16 << 20  # bytes of a tar beside its content
_RATIO_FROM: Final = 1 << 20  # bytes; below, no ratio is suspicious


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that an archive may hold: bytes, bytes for each of its own, entries."""

    size: int
    ratio: float
    entries: int


@dataclass(slots=True)
class Meter:
    """Counts what comes out, and stops what is too much."""

    bounds: Bounds
    packed: int
    check: Check
    size: int = 0
    entries: int = 0

    def metered(self, stream: IO[bytes]) -> Any:
        """The expanded stream of a tar: what it holds beside content, long names say, is bounded too."""
        return _Metered(stream, self)

    def entry(self) -> None:
        """One more."""
        self.entries += 1
        if self.entries > self.bounds.entries:
            raise refused(f"it has more than {self.bounds.entries} entries")

    def bytes(self, count: int) -> None:
        """So many more of content."""
        self.size += count
        self.check(count)
        if self.size > self.bounds.size:
            raise refused(f"it holds more than {self.bounds.size} bytes")
        if self.size > _RATIO_FROM and self.size > self.packed * self.bounds.ratio:
            raise refused(f"it is packed more than {self.bounds.ratio:g} times, as a bomb is")


class _Metered:
    """Counts what is read, content and all that is around it."""

    def __init__(self, stream: IO[bytes], meter: Meter) -> None:
        self._stream: Final = stream
        self._meter: Final = meter
        self._read = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._read += len(data)
        if self._read > 2 * self._meter.bounds.size + _HEADERS:
            raise refused(f"it holds more than {self._meter.bounds.size} bytes")
        return data


@dataclass(slots=True)
class Folder:
    """The new directory: makes entries beneath its descriptor, none through a link. Modes of directories come last."""

    fd: int
    meter: Meter
    modes: list[tuple[tuple[bytes, ...], int, float]] = field(default_factory=list)
    links: list[tuple[bytes, ...]] = field(default_factory=list)

    def directory(self, names: tuple[bytes, ...], mode: int, mtime: float) -> None:
        """Make a directory."""
        self.meter.entry()
        self._above((*names, b"."))
        self.modes.append((names, mode & 0o777 | 0o700, mtime))

    def file(self, names: tuple[bytes, ...], source: IO[bytes], mode: int, mtime: float) -> None:
        """Write a file."""
        self.meter.entry()
        parent = self._above(names)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(names[-1], flags, 0o600, dir_fd=parent), "wb") as out:
                while data := source.read(CHUNK):
                    self.meter.bytes(len(data))
                    out.write(data)
                out.flush()
                os.fchmod(out.fileno(), mode & 0o777 or 0o644)
                os.utime(out.fileno(), (mtime, mtime))
        finally:
            os.close(parent)

    def symlink(self, names: tuple[bytes, ...], target: str) -> None:
        """Make a symbolic link."""
        self.meter.entry()
        self._inside(names[:-1], target)
        parent = self._above(names)
        try:
            os.symlink(os.fsencode(target), names[-1], dir_fd=parent)
            self.links.append(names)
        finally:
            os.close(parent)

    def link(self, names: tuple[bytes, ...], target: tuple[bytes, ...]) -> None:
        """Make a hard link to a file that is there already."""
        self.meter.entry()
        source = beneath.open_beneath(self.fd, target, os.O_PATH | os.O_NOFOLLOW, links=False)
        parent = self._above(names)
        try:
            if not stat.S_ISREG(os.fstat(source).st_mode):
                raise refused("it has a hard link to something that is no file")
            os.link(beneath.handle(source), names[-1], dst_dir_fd=parent, follow_symlinks=True)
        finally:
            os.close(source)
            os.close(parent)

    def finish(self) -> None:
        """Set the modes and times of the directories. Links that lead out by way of other links are refused here."""
        for names in self.links:
            with suppress(FileNotFoundError, NotADirectoryError):
                try:
                    os.close(beneath.open_beneath(self.fd, names, os.O_PATH))
                except beneath.OutsideError:
                    raise refused(f"it has a link that leads out of it: '{os.fsdecode(names[-1])}'") from None
        for names, mode, mtime in reversed(self.modes):
            fd = beneath.open_beneath(self.fd, names, os.O_RDONLY | os.O_DIRECTORY, links=False)
            try:
                os.fchmod(fd, mode)
                os.utime(fd, (mtime, mtime))
            finally:
                os.close(fd)

    def _above(self, names: tuple[bytes, ...]) -> int:
        for count in range(1, len(names)):
            parent = beneath.open_beneath(self.fd, names[: count - 1], os.O_PATH | os.O_DIRECTORY, links=False)
            try:
                with suppress(FileExistsError):
                    os.mkdir(names[count - 1], 0o755, dir_fd=parent)
            finally:
                os.close(parent)
        fd = beneath.open_beneath(self.fd, names[:-1], os.O_PATH | os.O_DIRECTORY, links=False)
        if names[-1] == b".":
            os.close(fd)
            return -1
        return fd

    @staticmethod
    def _inside(folder: tuple[bytes, ...], target: str) -> None:
        depth = len(folder)
        for name in target.split("/"):
            depth += -1 if name == ".." else 0 if name in ("", ".") else 1
            if depth < 0:
                break
        if target.startswith("/") or depth < 0 or not target:
            raise refused(f"it has a link that leads out of it, to '{target}'")


def names_of(path: str) -> tuple[bytes, ...]:
    """The names in an entry's path; refused when it leads out."""
    names = tuple(os.fsencode(name) for name in path.replace("\\", "/").split("/") if name not in ("", "."))
    if path.startswith("/") or b".." in names or "\0" in path:
        raise refused(f"it has an entry that leads out of it: '{path}'")
    return names
