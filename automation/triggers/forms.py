"""What a definition says of its triggers: one model a kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import croniter
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from automation.forms import KEYS, Condition, Form, Globs, Numbers, Types, also, checked_key, time_zone
from automation.patterns.table import Inline, is_inline
from automation.quantities import Duration, SizeTest


def _cron(text: str) -> str:
    try:
        croniter.croniter(text, 0.0).get_next(float)
    except (croniter.CroniterError, ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no cron expression ({error}); write for instance '0 3 * * *'") from None
    return text


class EventTrigger(Form):
    """Fires on events. All that is given must hold; see docs/definitions.md for each field."""

    type: Literal["event"] = "event"
    types: Types = also("types", "on", default_factory=lambda: ["file.closed"])
    path: Globs | None = None
    source: Globs | None = also("from", "source", default=None)
    size: SizeTest | None = None
    written: bool | Literal["any"] | None = None
    uid: Numbers | None = None
    comm: Globs | None = None
    where: Condition | None = None
    settle: Duration | None = None
    debounce: Duration | None = None
    cooldown: Duration | None = None
    key: Annotated[str, AfterValidator(checked_key)] = KEYS["path"]
    backfill: Literal["existing"] | None = None
    own: bool = False
    failed: bool = False


class ScheduleTrigger(Form):
    """Fires at the times of a cron expression or at a steady pace."""

    type: Literal["schedule"] = "schedule"
    cron: Annotated[str, AfterValidator(_cron)] | None = also("cron", "cron_expression", default=None)
    every: Annotated[Duration, Field(ge=1)] | None = None
    timezone: Annotated[str, AfterValidator(time_zone)] | None = None

    @model_validator(mode="after")
    def _one_pace(self) -> ScheduleTrigger:
        if (self.cron is None) == (self.every is None):
            raise ValueError("give either 'cron' or 'every'")
        return self


class PatternTrigger(Form):
    """Fires on the matches of a pattern, given by name or in full, that are at least so sure."""

    type: Literal["pattern"] = "pattern"
    pattern: Inline
    confidence_threshold: float = Field(default=0.0, ge=0, le=1)
    cooldown: Duration | None = None
    key: Annotated[str, AfterValidator(checked_key)] = KEYS["path"]
    own: bool = False

    def pattern_name(self, workflow: str, number: int) -> str:
        """The pattern's name; what is given in full is called after the workflow and the trigger's number."""
        return f"{workflow}#{number}" if is_inline(self.pattern) else str(self.pattern)


class ManualTrigger(Form):
    """Fires only by `run NAME`; `input` are the defaults that the command's JSON overrides."""

    type: Literal["manual"] = "manual"
    input: dict[str, Any] = Field(default_factory=dict)


def _with_type(value: object) -> object:
    """A trigger that does not say its type is a schedule when it has a pace, one on a pattern when it names one,
    otherwise on events.
    """
    if isinstance(value, dict) and value.get("type") == "event_pattern":
        return {**value, "type": "pattern"}
    if isinstance(value, dict) and "type" not in value and "pattern" in value:
        return {"type": "pattern", **value}
    if isinstance(value, dict) and "type" not in value:
        paced = value.keys() & {"cron", "cron_expression", "every"}
        return {"type": "schedule" if paced else "event", **value}
    return value


Trigger = Annotated[
    Annotated[EventTrigger | PatternTrigger | ScheduleTrigger | ManualTrigger, Field(discriminator="type")],
    BeforeValidator(_with_type),
]
