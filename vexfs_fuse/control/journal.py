"""`/.vexfs/journal`: the newest records of the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vexfs_fuse.control.handles import LateSnapshot
from vexfs_fuse.control.nodes import Description, Handle, Opening

if TYPE_CHECKING:
    from automation.service import Service

NEWEST: Final = 1000


class JournalFile:
    """The newest 1,000 records as lines of JSON, oldest first; empty where nothing is kept. Read in a thread."""

    def __init__(self, service: Service) -> None:
        self._service: Final = service

    def describe(self) -> Description:
        """Readable by the owner."""
        return Description(0o400)

    def open(self, opening: Opening) -> Handle:
        """A snapshot."""
        return LateSnapshot(self._render)

    async def _render(self) -> bytes:
        journal = self._service.journal
        lines = [] if journal is None else await journal.newest(NEWEST)
        return "".join(f"{line}\n" for line in lines).encode()
