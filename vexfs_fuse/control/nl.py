"""`/.vexfs/nl`: rules in controlled English. Written: a sentence, `confirm` or `discard`. Read: what was understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vexfs_fuse.control.handles import CommandLines
from vexfs_fuse.control.nodes import Description, Handle, Opening

if TYPE_CHECKING:
    from automation.language.desk import Desk


class Sentences:
    """One sentence a line; each user has one that waits."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk

    def describe(self) -> Description:
        """Readable and writable by the owner."""
        return Description(0o600)

    def open(self, opening: Opening) -> Handle:
        """Sentences are those of who opened the file."""

        async def do(line: str) -> None:
            await self._desk.write(line, opening.uid)

        async def render() -> bytes:
            return self._desk.show(opening.uid).encode()

        return CommandLines(render, do)
