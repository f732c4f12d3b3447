"""Ask a model that learns here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight
from automation.actions.form import STRICT
from automation.errors import CallerError


class Predict(BaseModel):
    """What a definition of kind `model` says of the event and run at hand, or of features that are given."""

    model_config = STRICT
    type: Literal["predict"] = "predict"
    model: str = Field(min_length=1)
    features: dict[str, Any] | None = None

    async def perform(self, context: ActionContext) -> Any:
        """`{label, probability, confidence, version}`; the label is null while the model warms up."""
        if context.learned is None:
            raise CallerError("nothing learns here")
        return await context.learned.predict(self.model, self.features, context.variables, context.cause)

    async def foresee(self, view: Foresight) -> Foreseen:
        """The model is not asked."""
        return Foreseen({"label": None, "probability": None, "confidence": 0.0, "version": None})
