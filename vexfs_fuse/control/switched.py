"""A directory for each definition that can be switched on and off by name: rules and guards, patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import yaml

from automation.errors import CallerError
from vexfs_fuse.control.folders import Collection, Folder
from vexfs_fuse.control.nodes import Description, Node
from vexfs_fuse.control.texts import Commands, Text
from vexfs_fuse.errors import ENOENT, fail

ON: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class Desk(Protocol):
    """Where the definitions are kept."""

    def names(self) -> Iterable[str]:
        """As they were loaded."""
        ...

    def knows(self, name: str) -> bool:
        """Whether there is one of that name."""
        ...


def switched(desk: Desk, files: Mapping[str, Callable[[str], Node]]) -> Collection:
    """The directories, in the desk's order; `files` makes each one's entries from its name."""

    def find(name: str) -> Node | None:
        return Folder(files, name, lambda: describe(name)) if desk.knows(name) else None

    def describe(name: str) -> Description:
        return Description(0o500) if desk.knows(name) else fail(ENOENT)

    return Collection(desk.names, find)


def shown(read: Callable[[], Any]) -> Text:
    """Something about a definition as YAML."""
    return Text(lambda: yaml.safe_dump(read(), sort_keys=False, allow_unicode=True, width=100))


def switch(
    read: Callable[[], bool],
    turn: Callable[[bool], object],
    describe: Callable[[], Description] = lambda: Description(0o600, 2),
) -> Commands:
    """`1` or `0`: what `read` says, and `turn` makes so."""

    async def change(line: str, uid: int) -> None:
        wanted = ON.get(line.lower())
        if wanted is None:
            raise CallerError(f"write 1 or 0, not {line!r}")
        turn(wanted)

    return Commands(lambda: "1\n" if read() else "0\n", change, describe)
