"""A directory for each definition that can be switched on and off by name: rules and guards, patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import yaml

from automation.errors import CallerError
from vexfs_fuse.control.handles import CommandLines, Snapshot
from vexfs_fuse.control.nodes import Description, Handle, Node, Opening
from vexfs_fuse.control.workflow import ON
from vexfs_fuse.errors import ENOENT, fail


class Desk(Protocol):
    """Where the definitions are kept and switched."""

    def names(self) -> Iterable[str]:
        """As they were loaded."""
        ...

    def knows(self, name: str) -> bool:
        """Whether there is one of that name."""
        ...

    def enable(self, name: str, on: bool) -> object:
        """Switch it."""
        ...


Files = Mapping[str, Callable[[str], Node]]


class Switched:
    """The directories; `files` makes each one's entries from its name."""

    def __init__(self, desk: Desk, files: Files) -> None:
        self._desk: Final = desk
        self._files: Final = files

    def describe(self) -> Description:
        """They come and go with their files."""
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """In the desk's order."""
        return self._desk.names()

    def child(self, name: str) -> Node | None:
        """By name."""
        return SwitchedDirectory(self._desk, name, self._files) if self._desk.knows(name) else None


class SwitchedDirectory:
    """The files about one."""

    def __init__(self, desk: Desk, name: str, files: Files) -> None:
        self._desk: Final = desk
        self._name: Final = name
        self._files: Final = files

    def describe(self) -> Description:
        """Fixed entries."""
        if not self._desk.knows(self._name):
            fail(ENOENT)
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """Each file."""
        return self._files

    def child(self, name: str) -> Node | None:
        """Each file."""
        make = self._files.get(name)
        return None if make is None else make(self._name)


class Shown:
    """Something about a definition as YAML."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read: Final = read

    def describe(self) -> Description:
        """Readable by the owner."""
        return Description(0o400)

    def open(self, opening: Opening) -> Handle:
        """A snapshot."""
        return Snapshot(self._render)

    def _render(self) -> bytes:
        try:
            value = self._read()
        except CallerError:
            fail(ENOENT)
        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
        return text.encode("utf-8", "backslashreplace")


class Enabled:
    """`1` or `0`; `read` says which."""

    def __init__(self, desk: Desk, name: str, read: Callable[[str], bool]) -> None:
        self._desk: Final = desk
        self._name: Final = name
        self._read: Final = read

    def describe(self) -> Description:
        """Readable and writable by the owner."""
        return Description(0o600, 2)

    def open(self, opening: Opening) -> Handle:
        """A snapshot to read, lines to write."""

        async def change(line: str) -> None:
            wanted = ON.get(line.lower())
            if wanted is None:
                raise CallerError(f"write 1 or 0, not {line!r}")
            self._desk.enable(self._name, wanted)

        return CommandLines(lambda: b"1\n" if self._read(self._name) else b"0\n", change)
