"""Copy a file or directory within the mount."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight, transferred
from automation.actions.form import STRICT, TreePath
from automation.errors import WorldError
from automation.forms import also


class Copy(BaseModel):
    """Keeps mode, owner, times, attributes and holes; the copy appears complete or not at all."""

    model_config = STRICT
    type: Literal["copy"] = "copy"
    source: TreePath = also("source", "from")
    target: TreePath = also("target", "to")
    overwrite: bool = False
    recursive: bool = False
    parents: bool = True

    async def perform(self, context: ActionContext) -> Any:
        """`{path, size}` of the copy."""
        path, size = await context.workspace.copy(
            self.source,
            self.target,
            overwrite=self.overwrite,
            recursive=self.recursive,
            parents=self.parents,
            cause=context.cause,
            undo=context.undo,
            progress=context.progress,
        )
        return {"path": path, "size": size}

    async def foresee(self, view: Foresight) -> Foreseen:
        """The path and size that the copy would have."""
        path, now = await transferred(view, self.source, self.target, overwrite=self.overwrite)
        if now["source"]["type"] == "dir" and not self.recursive:
            raise WorldError(f"cannot copy '{self.source}': it is a directory; say `recursive` to copy all of it")
        view.workspace.copied(self.source, path)
        return Foreseen({"path": path, "size": now["source"]["size"]}, now)
