"""Move a file or directory within the mount."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight, transferred
from automation.actions.form import STRICT, TreePath
from automation.forms import also


class Move(BaseModel):
    """One rename; between two filesystems a complete copy and then a removal."""

    model_config = STRICT
    type: Literal["move"] = "move"
    source: TreePath = also("source", "from")
    target: TreePath = also("target", "to")
    overwrite: bool = False
    parents: bool = True

    async def perform(self, context: ActionContext) -> Any:
        """`{path}`, the new one."""
        path = await context.workspace.move(
            self.source,
            self.target,
            overwrite=self.overwrite,
            parents=self.parents,
            cause=context.cause,
            undo=context.undo,
            progress=context.progress,
        )
        return {"path": path}

    async def foresee(self, view: Foresight) -> Foreseen:
        """The path that it would have."""
        path, now = await transferred(view, self.source, self.target, overwrite=self.overwrite)
        view.workspace.copied(self.source, path)
        view.workspace.gone(self.source)
        return Foreseen({"path": path}, now)
