"""`/.vexfs/patterns`: each pattern that is loaded, with its text, what it holds and a switch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from automation.errors import CallerError
from automation.patterns.loading import render
from vexfs_fuse.control.handles import CommandLines, Snapshot
from vexfs_fuse.control.nodes import Description, Handle, Node, Opening
from vexfs_fuse.control.rules import Shown
from vexfs_fuse.control.workflow import ON
from vexfs_fuse.errors import ENOENT, fail

if TYPE_CHECKING:
    from automation.triggers.pattern_desk import PatternDesk


class Patterns:
    """A directory for each of them."""

    def __init__(self, desk: PatternDesk) -> None:
        self._desk: Final = desk

    def describe(self) -> Description:
        """They come and go with their files."""
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """As they were loaded."""
        return self._desk.names()

    def child(self, name: str) -> Node | None:
        """By name."""
        return PatternDirectory(self._desk, name) if self._desk.knows(name) else None


class PatternDirectory:
    """The files about one."""

    def __init__(self, desk: PatternDesk, name: str) -> None:
        self._desk: Final = desk
        self._name: Final = name

    def describe(self) -> Description:
        """Fixed entries."""
        if not self._desk.knows(self._name):
            fail(ENOENT)
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """Each file."""
        return FILES

    def child(self, name: str) -> Node | None:
        """Each file."""
        make = FILES.get(name)
        return None if make is None else make(self._desk, self._name)


class PatternText:
    """The compact form."""

    def __init__(self, desk: PatternDesk, name: str) -> None:
        self._desk: Final = desk
        self._name: Final = name

    def describe(self) -> Description:
        """Readable by the owner."""
        return Description(0o400)

    def open(self, opening: Opening) -> Handle:
        """A snapshot."""
        return Snapshot(self._render)

    def _render(self) -> bytes:
        try:
            return (render(self._desk.definition(self._name)) + "\n").encode("utf-8", "backslashreplace")
        except CallerError:
            fail(ENOENT)


class PatternEnabled:
    """`1` or `0`."""

    def __init__(self, desk: PatternDesk, name: str) -> None:
        self._desk: Final = desk
        self._name: Final = name

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

        return CommandLines(lambda: b"1\n" if self._desk.enabled(self._name) else b"0\n", change)


FILES: Final[dict[str, Callable[[PatternDesk, str], Node]]] = {
    "definition": PatternText,
    "status": lambda desk, name: Shown(lambda: desk.status(name)),
    "enabled": PatternEnabled,
}
