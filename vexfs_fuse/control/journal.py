"""`/.vexfs/journal`: the newest records of the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vexfs_fuse.control.texts import Text

if TYPE_CHECKING:
    from automation.service import Service

NEWEST: Final = 1000


def journal(service: Service) -> Text:
    """The newest 1,000 records as lines of JSON, oldest first; empty where nothing is kept. Read in a thread."""

    async def render() -> str:
        lines = [] if service.journal is None else await service.journal.newest(NEWEST)
        return "".join(f"{line}\n" for line in lines)

    return Text(render)
