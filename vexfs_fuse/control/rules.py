"""`/.vexfs/rules`: each rule and guard that is loaded, with its definition, its state and a switch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import yaml

from automation.errors import CallerError
from vexfs_fuse.control.handles import CommandLines, Snapshot
from vexfs_fuse.control.nodes import Description, Handle, Node, Opening
from vexfs_fuse.control.workflow import ON
from vexfs_fuse.errors import ENOENT, fail

if TYPE_CHECKING:
    from automation.rules.desk import RuleDesk


class Rules:
    """A directory for each of them."""

    def __init__(self, desk: RuleDesk) -> None:
        self._desk: Final = desk

    def describe(self) -> Description:
        """They come and go with their files."""
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """Rules, then guards."""
        return self._desk.names()

    def child(self, name: str) -> Node | None:
        """By name."""
        return RuleDirectory(self._desk, name) if self._desk.knows(name) else None


class RuleDirectory:
    """The files about one."""

    def __init__(self, desk: RuleDesk, name: str) -> None:
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


class Shown:
    """Something about a rule as YAML."""

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


class RuleEnabled:
    """`1` or `0`."""

    def __init__(self, desk: RuleDesk, name: str) -> None:
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

        return CommandLines(lambda: b"1\n" if self._desk.find(self._name).live else b"0\n", change)


FILES: Final[dict[str, Callable[[RuleDesk, str], Node]]] = {
    "definition": lambda desk, name: Shown(lambda: dict(desk.definition(name))),
    "status": lambda desk, name: Shown(lambda: desk.status(name)),
    "enabled": RuleEnabled,
}
