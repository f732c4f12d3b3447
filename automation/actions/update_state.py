"""Change the shared state."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight
from automation.actions.form import STRICT
from automation.errors import CallerError, WorldError
from automation.forms import also


class UpdateState(BaseModel):
    """Set a value at a dotted path."""

    model_config = STRICT
    type: Literal["update_state"] = "update_state"
    path: str = also("path", "state_path", min_length=1)
    value: Any = also("value", "new_value")

    async def perform(self, context: ActionContext) -> Any:
        """`{path, value, before}`; `before` is null if there was nothing."""
        try:
            before = context.state.get(self.path)
            context.state.set(self.path, self.value, context.cause)
        except CallerError as error:
            raise WorldError(f"cannot set the state '{self.path}': {error}") from error
        return {"path": self.path, "value": self.value, "before": before}

    async def foresee(self, view: Foresight) -> Foreseen:
        """The value that is there."""
        return Foreseen({"path": self.path, "value": self.value, "before": view.state(self.path)})
