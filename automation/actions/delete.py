"""Remove a file or directory."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight, seen
from automation.actions.form import STRICT, TreePath
from automation.errors import WorldError


class Delete(BaseModel):
    """A directory must be empty unless `recursive`; symbolic links are removed, never followed.

    What goes is kept in the trash unless `keep` is false.
    """

    model_config = STRICT
    type: Literal["delete"] = "delete"
    path: TreePath
    recursive: bool = False
    missing_ok: bool = False
    keep: bool = True

    async def perform(self, context: ActionContext) -> Any:
        """`{deleted}`: how many names were removed."""
        if self.missing_ok and not await context.workspace.exists(self.path):
            return {"deleted": 0}
        count = await context.workspace.delete(
            self.path, recursive=self.recursive, keep=self.keep, cause=context.cause, undo=context.undo
        )
        return {"deleted": count}

    async def foresee(self, view: Foresight) -> Foreseen:
        """How many names would be removed."""
        if self.missing_ok and not await view.workspace.exists(self.path):
            return Foreseen({"deleted": 0})
        stat = await view.workspace.stat(self.path, follow=False)
        count = 1
        if stat.type == "dir":
            below = [one async for one in view.workspace.walk(self.path)]
            if below and not self.recursive:
                raise WorldError(f"cannot delete '{self.path}': directory not empty")
            count += len(below)
        now = await seen(view, path=self.path)
        view.workspace.gone(self.path)
        return Foreseen({"deleted": count}, now)
