"""Publish an event."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight
from automation.actions.form import STRICT
from automation.events import EVENT_TYPES, SemanticEvent
from automation.forms import also

_OPEN = ("user.", "graph.", "vector.", "agent.")
_ALONE = ("user", "anomaly.detected", "prediction.made")


def _event_type(name: str) -> str:
    if name in _ALONE or (name.startswith(_OPEN) and (name in EVENT_TYPES or name.startswith("user."))):
        return name
    if name in EVENT_TYPES or any(known.startswith(f"{name}.") for known in EVENT_TYPES):
        raise ValueError(f"{name!r} events report what happened and cannot be made up; emit for instance 'user.{name}'")
    raise ValueError(f"there is no event type {name!r}; events of your own begin with 'user.': 'user.{name}'")


class EmitEvent(BaseModel):
    """An event of one's own, `user.…`, or one of the graph, vector and agent types."""

    model_config = STRICT
    type: Literal["emit_event"] = "emit_event"
    event: Annotated[str, AfterValidator(_event_type)] = also("event", "event_type")
    path: str = ""
    data: dict[str, Any] = also("data", "event_data", default={})

    async def perform(self, context: ActionContext) -> Any:
        """`{event}`, its type."""
        context.publish(SemanticEvent(self.event, self.path.strip("/"), cause=context.cause, attrs=self.data))
        return {"event": self.event}

    async def foresee(self, view: Foresight) -> Foreseen:
        """Nothing is published."""
        return Foreseen({"event": self.event})
