"""Remove a file or directory."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from automation.actions.context import ActionContext
from automation.actions.form import STRICT, TreePath


class Delete(BaseModel):
    """A directory must be empty unless `recursive`; symbolic links are removed, never followed."""

    model_config = STRICT
    type: Literal["delete"] = "delete"
    path: TreePath
    recursive: bool = False
    missing_ok: bool = False

    async def perform(self, context: ActionContext) -> Any:
        """`{deleted}`: how many names were removed."""
        if self.missing_ok and not await context.workspace.exists(self.path):
            return {"deleted": 0}
        return {"deleted": await context.workspace.delete(self.path, recursive=self.recursive, cause=context.cause)}
