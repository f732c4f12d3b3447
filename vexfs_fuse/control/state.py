"""`/.vexfs/state`: the state that automations share, read as JSON, set by `path = json`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from automation.errors import CallerError
from vexfs_fuse.control.texts import Commands

if TYPE_CHECKING:
    from automation.state import State


def state(shared: State) -> Commands:
    """Written: `limits.size = 10` or `delete limits.size`, one a line. Read: the whole tree as JSON."""

    async def change(line: str, uid: int) -> None:
        verb, _, rest = line.partition(" ")
        if verb == "delete" and not rest.lstrip().startswith("="):
            if not shared.delete(rest.strip()):
                raise CallerError(f"there is nothing at {rest.strip()!r} to delete")
            return
        path, value = shared.parse_assignment(line)
        shared.set(path, value)

    return Commands(lambda: f"{json.dumps(shared.as_dict(), indent=2, ensure_ascii=False)}\n", change)
