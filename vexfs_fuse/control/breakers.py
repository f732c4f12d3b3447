"""`/.vexfs/breakers`: the destinations that actions called, and which of them are left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from vexfs_fuse.control.handles import Snapshot
from vexfs_fuse.control.layout import span, table
from vexfs_fuse.control.nodes import Description, Handle, Opening

if TYPE_CHECKING:
    from automation.service import Service

_WIDTHS: Final = (28, 10, 9, 8, 40)


class BreakersFile:
    """One line for each: its state, failures in a row, refused calls, when it is tried again, the last error."""

    def __init__(self, service: Service) -> None:
        self._service: Final = service

    def describe(self) -> Description:
        """Readable by the owner."""
        return Description(0o400)

    def open(self, opening: Opening) -> Handle:
        """A snapshot."""
        return Snapshot(self._render)

    def _render(self) -> bytes:
        rows = [("DESTINATION", "STATE", "FAILURES", "REFUSED", "")]
        for breaker in self._service.breakers.all:
            facts = breaker.as_dict(trio.current_time())
            left = f"tried again in {span(facts['seconds_left'])}: " if facts["seconds_left"] else ""
            counts = (str(facts["failures"]), str(facts["refused"]))
            rows.append((facts["destination"], facts["state"], *counts, f"{left}{facts['error']}"))
        return "\n".join([*table(rows, _WIDTHS), ""]).encode(errors="backslashreplace")
