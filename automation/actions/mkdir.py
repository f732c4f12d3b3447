"""Make a directory."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight, seen
from automation.actions.form import STRICT, Mode, TreePath


class Mkdir(BaseModel):
    """A directory that is there already is fine."""

    model_config = STRICT
    type: Literal["mkdir"] = "mkdir"
    path: TreePath
    mode: Mode | None = None
    parents: bool = True

    async def perform(self, context: ActionContext) -> Any:
        """`{path, created}`; `created` is false if it was there."""
        created = await context.workspace.mkdir(
            self.path, parents=self.parents, mode=self.mode, cause=context.cause, undo=context.undo
        )
        return {"path": self.path.strip("/"), "created": created}

    async def foresee(self, view: Foresight) -> Foreseen:
        """Whether it would be made."""
        now = await seen(view, path=self.path)
        if now["path"] is None:
            view.workspace.made(self.path, "dir", 0o755 if self.mode is None else self.mode)
        return Foreseen({"path": self.path.strip("/"), "created": now["path"] is None}, now)
