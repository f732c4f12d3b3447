"""Ask a trained model."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight
from automation.actions.form import STRICT, Breaker
from automation.forms import also
from automation.quantities import Duration, Size


class MlInference(BaseModel):
    """An ONNX model of the models directory, in a process of its own, which stays warm."""

    model_config = STRICT
    type: Literal["ml_inference"] = "ml_inference"
    model: str = also("model", "model_id", min_length=1)
    input: dict[str, Any] = also("input", "input_data")
    sha256: str = Field(default="", pattern="^([0-9A-Fa-f]{64})?$")
    timeout: Annotated[Duration, Field(gt=0)] = 30.0
    memory: Annotated[Size, Field(ge=1 << 28)] = 4 << 30
    breaker: Breaker | None = None

    async def perform(self, context: ActionContext) -> Any:
        """`{output, seconds}`, the output by the names that the model gives."""
        started = time.monotonic()
        file = await context.models.find(self.model)  # a wrong name says nothing about a model
        context.models.quota.require()
        limits = self.breaker.thresholds if self.breaker else None
        async with context.breakers.guard(f"model {self.model}", limits):
            output = await context.models.infer(
                file, self.input, sha256=self.sha256, memory=self.memory, timeout=self.timeout
            )
        return {"output": output, "seconds": round(time.monotonic() - started, 3)}

    async def foresee(self, view: Foresight) -> Foreseen:
        """The model is not asked."""
        return Foreseen({"output": None, "seconds": None})
