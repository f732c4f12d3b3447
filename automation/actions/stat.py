"""Look at a name."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from automation.actions.foresight import Foreseen, Foresight, Reading, looked
from automation.actions.form import STRICT


class Stat(BaseModel):
    """What is known of a file or directory; a missing one is no error."""

    model_config = STRICT
    type: Literal["stat"] = "stat"
    path: str

    async def perform(self, context: Reading) -> Any:
        """`{exists: false}`, or `{exists: true, path, type, size, mode, uid, gid, inode, …}`; times in seconds."""
        if not await context.workspace.exists(self.path):
            return {"exists": False}
        return {"exists": True, **plain((await context.workspace.stat(self.path)).as_dict())}

    async def foresee(self, view: Foresight) -> Foreseen:
        """It is done."""
        return await looked(self.perform(view), "exists")


def plain(stat: dict[str, Any]) -> dict[str, Any]:
    """A stat with times in seconds and the mode as octal text."""
    out = {name: value for name, value in stat.items() if not name.endswith("_ns")}
    out["mode"] = f"{stat['mode']:04o}"
    return out | {name: stat[f"{name}_ns"] / 1e9 for name in ("atime", "mtime", "ctime")}
