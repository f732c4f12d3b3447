"""Take effects on the tree back."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight
from automation.actions.form import STRICT


class Undo(BaseModel):
    """`of` is what other actions left in their contexts: how each effect is undone, in the order in which they were."""

    model_config = STRICT
    type: Literal["undo"] = "undo"
    of: list[dict[str, Any]]

    async def perform(self, context: ActionContext) -> Any:
        """`{undone}`: how many effects; an error names those that could not be, the others are undone."""
        return {"undone": await context.workspace.undo(self.of, cause=context.cause)}

    async def foresee(self, view: Foresight) -> Foreseen:
        """How many there are."""
        return Foreseen({"undone": len(self.of)})
