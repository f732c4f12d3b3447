"""The form that all actions share."""

from __future__ import annotations

from typing import Annotated, Any, Final, Protocol

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight
from automation.breakers import LONGEST, Thresholds
from automation.quantities import Duration

STRICT: Final = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)
"""Unknown fields are errors, values never change."""


class Action(Protocol):
    """A validated action; only an executor calls it.

    Fields that may refer to secrets are named in a class variable `SECRETS`.
    """

    type: Any

    async def perform(self, context: ActionContext) -> Any:
        """Do it: a plain JSON value, the step's result. WorldError when the world fails."""
        ...

    async def foresee(self, view: Foresight) -> Foreseen:
        """What `perform` would result in, found by looking only, and what it would meet."""
        ...


class Breaker(BaseModel):
    """When a destination that keeps failing is left alone; without it the configuration's own thresholds count."""

    model_config = STRICT
    failures: int = Field(default=5, ge=1, le=1000)
    cooldown: Annotated[Duration, Field(gt=0)] = 30.0

    @property
    def thresholds(self) -> Thresholds:
        """For a breaker."""
        return Thresholds(self.failures, self.cooldown, max(self.cooldown, LONGEST))


def _filled(path: str) -> str:
    if not path.strip("/"):
        raise ValueError("a path within the mount is missing")
    return path


def _mode(value: object) -> int:
    """`"0644"`, `"0o644"` and `"644"` are octal, as chmod has it; a bare number is taken as YAML read it."""
    if isinstance(value, str):
        try:
            value = int(value.strip().removeprefix("0o"), 8)
        except ValueError:
            raise ValueError(f"{value!r} is no mode; write octal digits in quotes, for instance '0644'") from None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0o7777:
        raise ValueError(f"{value!r} is no mode; write octal digits in quotes, for instance '0644'")
    return value


TreePath = Annotated[str, AfterValidator(_filled)]
"""A path relative to the mount; never the root itself."""

Mode = Annotated[int, BeforeValidator(_mode, json_schema_input_type=str | int)]
"""Permission bits."""
