"""`/.vexfs/breakers`: the destinations that actions called, and which of them are left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from vexfs_fuse.control.layout import span, table
from vexfs_fuse.control.texts import Text

if TYPE_CHECKING:
    from automation.service import Service

_WIDTHS: Final = (28, 10, 9, 8, 40)


def breakers(service: Service) -> Text:
    """One line for each: its state, failures in a row, refused calls, when it is tried again, the last error."""

    def render() -> str:
        rows = [("DESTINATION", "STATE", "FAILURES", "REFUSED", "")]
        for breaker in service.breakers.all:
            facts = breaker.as_dict(trio.current_time())
            left = f"tried again in {span(facts['seconds_left'])}: " if facts["seconds_left"] else ""
            counts = (str(facts["failures"]), str(facts["refused"]))
            rows.append((facts["destination"], facts["state"], *counts, f"{left}{facts['error']}"))
        return "\n".join([*table(rows, _WIDTHS), ""])

    return Text(render)
