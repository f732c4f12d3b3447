"""Pack files into an archive."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight, seen
from automation.actions.form import STRICT, TreePath
from automation.errors import WorldError
from automation.forms import also, one_or_more
from automation.workspace import archives, packing


class Archive(BaseModel):
    """Files and directories with mode, times and links; owners in tar. The archive appears complete or not at all."""

    model_config = STRICT
    type: Literal["archive"] = "archive"
    sources: Annotated[list[TreePath], BeforeValidator(one_or_more), Field(min_length=1)] = also(
        "sources", "source", "from"
    )
    target: TreePath = also("target", "to")
    format: Literal["tar.gz", "tar.zst", "tar", "zip"] | None = None
    overwrite: bool = False
    parents: bool = True

    async def perform(self, context: ActionContext) -> Any:
        """`{path, size, entries}`."""
        form = self._format()
        job = packing.Packing(self.sources, self.target, form, overwrite=self.overwrite, parents=self.parents)
        check = archives.watch(context.progress, self.sources)
        path, size, entries = await context.workspace.change(
            f"pack '{self.target}'",
            lambda root, trail: packing.pack(root, job, check(root), trail),
            cause=context.cause,
            undo=context.undo,
        )
        return {"path": path, "size": size, "entries": entries}

    async def foresee(self, view: Foresight) -> Foreseen:
        """What would be packed; its size is not known."""
        self._format()
        for source in self.sources:
            await view.workspace.stat(source, follow=False)
        now = await seen(view, target=self.target)
        if now["target"] is not None and not self.overwrite:
            raise WorldError(f"cannot pack '{self.target}': file exists")
        view.workspace.made(self.target)
        return Foreseen({"path": self.target.strip("/"), "size": None, "entries": None}, now)

    def _format(self) -> str:
        form = self.format or archives.form_of(self.target)
        if form is None:
            raise WorldError(f"the name '{self.target}' tells no format: end it with .tar.gz, .tar.zst, .tar or .zip")
        return form
