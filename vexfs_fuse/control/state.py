"""`/.vexfs/state`: the state that automations share, read as JSON, set by `path = json`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from automation.errors import CallerError
from vexfs_fuse.control.handles import CommandLines
from vexfs_fuse.control.nodes import Description, Handle, Opening

if TYPE_CHECKING:
    from automation.state import State


class StateFile:
    """Written: `limits.size = 10` or `delete limits.size`, one a line. Read: the whole tree as JSON."""

    def __init__(self, state: State) -> None:
        self._state: Final = state

    def describe(self) -> Description:
        """Readable and writable by the owner."""
        return Description(0o600)

    def open(self, opening: Opening) -> Handle:
        """A snapshot to read, lines to write."""
        return CommandLines(self._render, self._change)

    def _render(self) -> bytes:
        return f"{json.dumps(self._state.as_dict(), indent=2, ensure_ascii=False)}\n".encode(errors="backslashreplace")

    async def _change(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        if verb == "delete" and not rest.lstrip().startswith("="):
            if not self._state.delete(rest.strip()):
                raise CallerError(f"there is nothing at {rest.strip()!r} to delete")
            return
        path, value = self._state.parse_assignment(line)
        self._state.set(path, value)
