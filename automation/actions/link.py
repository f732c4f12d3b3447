"""Give a file one more name."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight, seen
from automation.actions.form import STRICT, TreePath
from automation.errors import WorldError
from automation.forms import also


class Link(BaseModel):
    """A hard link, or with `symbolic` a link that holds the text `target`, which may lead nowhere."""

    model_config = STRICT
    type: Literal["link"] = "link"
    target: str = also("target", "to", min_length=1)
    path: TreePath
    symbolic: bool = Field(default=False)
    overwrite: bool = False
    parents: bool = True

    async def perform(self, context: ActionContext) -> Any:
        """`{path, target}`."""
        path = await context.workspace.link(
            self.target,
            self.path,
            symbolic=self.symbolic,
            overwrite=self.overwrite,
            parents=self.parents,
            cause=context.cause,
            undo=context.undo,
        )
        return {"path": path, "target": self.target}

    async def foresee(self, view: Foresight) -> Foreseen:
        """The name that it would have."""
        if not self.symbolic:
            await view.workspace.stat(self.target)
        now = await seen(view, path=self.path)
        if now["path"] is not None and not self.overwrite:
            raise WorldError(f"cannot link '{self.path}': file exists")
        if self.symbolic:
            view.workspace.made(self.path, "symlink", 0o777)
        else:
            view.workspace.copied(self.target, self.path)
        return Foreseen({"path": self.path.strip("/"), "target": self.target}, now)
