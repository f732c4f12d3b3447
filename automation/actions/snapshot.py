"""Keep a copy of a path as it is now."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight, seen
from automation.actions.form import STRICT, TreePath
from automation.quantities import Duration
from automation.workspace import snapshots


class Snapshot(BaseModel):
    """A copy under the time of its making, sharing blocks where the filesystem can; older ones go by number and age."""

    model_config = STRICT
    type: Literal["snapshot"] = "snapshot"
    path: TreePath
    directory: TreePath = ".snapshots"
    keep: Annotated[int, Field(ge=1, le=100_000)] | None = None
    max_age: Annotated[Duration, Field(gt=0)] | None = None

    async def perform(self, context: ActionContext) -> Any:
        """`{path, size, removed}`: the copy, and the paths of the snapshots that went."""
        target = self._target(time.time())
        path, size = await context.workspace.copy(
            self.path,
            target,
            recursive=True,
            parents=True,
            cause=context.cause,
            undo=context.undo,
            progress=context.progress,
        )
        removed = []
        for old in await self._old(context.workspace, path):
            await context.workspace.delete(old, recursive=True, cause=context.cause, undo=context.undo)
            removed.append(old)
        return {"path": path, "size": size, "removed": removed}

    async def foresee(self, view: Foresight) -> Foreseen:
        """The path that it would have, and what would go."""
        target = self._target(time.time())
        now = await seen(view, path=self.path)
        stat = await view.workspace.stat(self.path)
        view.workspace.copied(self.path, target)
        removed = await self._old(view.workspace, target)
        for old in removed:
            view.workspace.gone(old)
        return Foreseen({"path": target, "size": stat.size, "removed": removed}, now)

    def _target(self, now: float) -> str:
        return f"{self.directory.strip('/')}/{self.path.strip('/')}/{snapshots.name(now)}"

    async def _old(self, tree: Any, newest: str) -> list[str]:
        place = newest.rpartition("/")[0]
        names = [one.path.rpartition("/")[2] for one in await tree.listdir(place)]
        oldest = None if self.max_age is None else time.time() - self.max_age
        return [f"{place}/{one}" for one in snapshots.outdated(names, self.keep, oldest) if f"{place}/{one}" != newest]
