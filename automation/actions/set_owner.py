"""Set the owner."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight, seen
from automation.actions.form import STRICT, TreePath

_MOST = (1 << 32) - 2


class SetOwner(BaseModel):
    """As chown does: user, group or both, by number; suid and sgid go."""

    model_config = STRICT
    type: Literal["set_owner"] = "set_owner"
    path: TreePath
    uid: int | None = Field(default=None, ge=0, le=_MOST)
    gid: int | None = Field(default=None, ge=0, le=_MOST)

    @model_validator(mode="after")
    def _something(self) -> SetOwner:
        if self.uid is None and self.gid is None:
            raise ValueError("give 'uid', 'gid' or both")
        return self

    async def perform(self, context: ActionContext) -> Any:
        """`{uid, gid, before: {uid, gid}}`."""
        uid, gid = (-1 if one is None else one for one in (self.uid, self.gid))
        before = await context.workspace.chown(self.path, uid, gid, cause=context.cause, undo=context.undo)
        return self._result(*before)

    async def foresee(self, view: Foresight) -> Foreseen:
        """The owner that it has now."""
        stat = await view.workspace.stat(self.path)
        return Foreseen(self._result(stat.uid, stat.gid), await seen(view, path=self.path))

    def _result(self, uid: int, gid: int) -> dict[str, Any]:
        after = {"uid": uid if self.uid is None else self.uid, "gid": gid if self.gid is None else self.gid}
        return {**after, "before": {"uid": uid, "gid": gid}}
