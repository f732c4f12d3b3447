"""Unpack an archive."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight, seen
from automation.actions.form import STRICT, TreePath
from automation.errors import WorldError
from automation.forms import also
from automation.quantities import Size
from automation.workspace import archives, unpacked, unpacking


class Extract(BaseModel):
    """Into a new directory, which appears complete or not at all. No entry leaves it; the bounds stop bombs."""

    model_config = STRICT
    type: Literal["extract"] = "extract"
    source: TreePath = also("source", "from")
    target: TreePath = also("target", "to")
    format: Literal["tar.gz", "tar.zst", "tar", "zip"] | None = None
    overwrite: bool = False
    parents: bool = True
    max_size: Size = 1 << 30
    max_ratio: Annotated[float, Field(ge=1)] = 200.0
    max_entries: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000

    async def perform(self, context: ActionContext) -> Any:
        """`{path, size, entries}` of what was unpacked."""
        form = self._format()
        bounds = unpacked.Bounds(self.max_size, self.max_ratio, self.max_entries)
        check = archives.watch(context.progress, [self.source])
        job = unpacking.Unpacking(
            self.source, self.target, form, bounds, overwrite=self.overwrite, parents=self.parents
        )
        path, size, entries = await context.workspace.change(
            f"unpack '{self.source}'",
            lambda root, trail: unpacking.unpack(root, job, check(root), trail),
            cause=context.cause,
            undo=context.undo,
        )
        return {"path": path, "size": size, "entries": entries}

    async def foresee(self, view: Foresight) -> Foreseen:
        """Where it would be; what is in the archive is not looked at."""
        self._format()
        await view.workspace.stat(self.source)
        now = await seen(view, source=self.source, target=self.target)
        if now["target"] is not None and not self.overwrite:
            raise WorldError(f"cannot unpack '{self.source}' to '{self.target}': file exists")
        view.workspace.made(self.target, "dir", 0o755)
        return Foreseen({"path": self.target.strip("/"), "size": None, "entries": None}, now)

    def _format(self) -> str:
        form = self.format or archives.form_of(self.source)
        if form is None:
            raise WorldError(f"the name '{self.source}' tells no format: say `format`, for instance tar.gz")
        return form
