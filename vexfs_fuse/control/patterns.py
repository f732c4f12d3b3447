"""`/.vexfs/patterns`: each pattern that is loaded, with its text, what it holds and a switch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automation.errors import CallerError
from automation.patterns.loading import render
from vexfs_fuse.control.handles import Snapshot
from vexfs_fuse.control.nodes import Description, Handle, Opening
from vexfs_fuse.control.switched import Enabled, Shown, Switched
from vexfs_fuse.errors import ENOENT, fail

if TYPE_CHECKING:
    from automation.triggers.pattern_desk import PatternDesk


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


def patterns(desk: PatternDesk) -> Switched:
    """As they were loaded."""
    return Switched(
        desk,
        {
            "definition": lambda name: PatternText(desk, name),
            "status": lambda name: Shown(lambda: desk.status(name)),
            "enabled": lambda name: Enabled(desk, name, desk.enabled),
        },
    )
