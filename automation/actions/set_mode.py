"""Set permission bits."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight, seen
from automation.actions.form import STRICT, Mode, TreePath


class SetMode(BaseModel):
    """As chmod does."""

    model_config = STRICT
    type: Literal["set_mode"] = "set_mode"
    path: TreePath
    mode: Mode

    async def perform(self, context: ActionContext) -> Any:
        """`{mode, before}` as octal text."""
        before = await context.workspace.chmod(self.path, self.mode, cause=context.cause, undo=context.undo)
        return {"mode": f"{self.mode:04o}", "before": f"{before:04o}"}

    async def foresee(self, view: Foresight) -> Foreseen:
        """The mode that it has now."""
        before = (await view.workspace.stat(self.path)).mode
        return Foreseen({"mode": f"{self.mode:04o}", "before": f"{before:04o}"}, await seen(view, path=self.path))
