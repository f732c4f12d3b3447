"""What a person writes: one workflow a file, validated as a whole. Mirrors the seed's `ReactiveWorkflow`.

`automation.loading` turns text into a `Workflow` or into every error that it has.
`python -m automation.definitions` prints the JSON Schema for editors.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import croniter
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from automation.actions.table import LITERAL, check_action
from automation.events import EVENT_TYPES, known
from automation.expressions import compile_condition, compile_expression, nearest
from automation.globs import compile_globs
from automation.patterns.loading import Definition as PatternDefinition
from automation.patterns.table import Inline, PatternTable, checked, is_inline
from automation.quantities import Duration, SizeTest
from automation.templates import Template, TemplateError

KEYS: Final = {
    "path": "event.target",
    "directory": "event.dir",
    "workflow": "''",
    "uid": "event.uid",
    "pid": "event.pid",
}


def also(name: str, other: str, **more: Any) -> Any:
    """A field that has two names in a definition."""
    return Field(validation_alias=AliasChoices(name, other), **more)


def one_or_more(value: object) -> object:
    """Where a list is expected, one item is a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def _event_type(name: str) -> str:
    name = name.removesuffix(".*") or "*"
    if name != "*" and not known(name):
        raise ValueError(f"there is no event type {name!r}{nearest(name, EVENT_TYPES)}")
    return name


def _globs(patterns: list[str]) -> list[str]:
    compile_globs(tuple(patterns))
    return patterns


def _unwrapped(text: str) -> str:
    """A condition may be written as a template, `{{ … }}`; it is one anyway."""
    bare = text.strip()
    return bare[2:-2].strip() if bare.startswith("{{") and bare.endswith("}}") else bare


def _condition(text: str) -> str:
    compile_condition(text)
    return text


def checked_key(text: str) -> str:
    """The expression of a key, given by its short name or as CEL; ValueError when it is wrong."""
    source = KEYS.get(text, text)
    compile_expression(source)
    return source


def _checked_name(name: str) -> str:
    if "/" in name or name.startswith(".") or not name.isprintable() or name != name.strip():
        raise ValueError("a name is printable text without '/' that does not begin with a dot or a space")
    return name


def time_zone(name: str) -> str:
    """A name that the machine knows; ValueError says what to write."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}; write for instance 'Europe/Berlin' or 'UTC'") from None
    return name


def _cron(text: str) -> str:
    try:
        croniter.croniter(text, 0.0).get_next(float)
    except (croniter.CroniterError, ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no cron expression ({error}); write for instance '0 3 * * *'") from None
    return text


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_checked_name)]
Condition = Annotated[
    str, BeforeValidator(lambda v: _unwrapped(v) if isinstance(v, str) else v), AfterValidator(_condition)
]
Globs = Annotated[
    list[str], BeforeValidator(one_or_more, json_schema_input_type=str | list[str]), AfterValidator(_globs)
]
Types = Annotated[
    list[Annotated[str, AfterValidator(_event_type)]],
    BeforeValidator(one_or_more, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]
Numbers = Annotated[list[int], BeforeValidator(one_or_more, json_schema_input_type=int | list[int])]


def action_template(action: dict[str, Any]) -> Template:
    """The template of an action's mapping; what holds script text stays as it is."""
    return Template(action, LITERAL.get(str(action.get("type")), ()))


def _check_action(action: dict[str, Any]) -> dict[str, Any]:
    """The action itself; everything that is wrong with it in one error, each problem with its place within."""
    problems: list[tuple[tuple[str | int, ...], str, str]] = []
    try:
        action_template(action)
    except TemplateError as error:
        problems.append((error.place, "template", str(error)))
    try:
        check_action(action)
    except ValidationError as error:
        problems += [(problem["loc"], problem["type"], problem["msg"]) for problem in error.errors()]
    if problems:
        raise PydanticCustomError("action", "the action is wrong", {"problems": problems})
    return action


def _check_templates(values: dict[str, Any]) -> dict[str, Any]:
    try:
        Template(values)
    except TemplateError as error:
        raise PydanticCustomError("template", "{reason}", {"reason": str(error), "place": error.place}) from None
    return values


Action = Annotated[dict[str, Any], AfterValidator(_check_action)]


class Form(BaseModel):
    """Root of the models: unknown fields are errors, values never change."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)


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
    input: dict[str, Any] = {}


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


class Retry(Form):
    """How often a step is tried in all, and the wait between: `backoff`, doubling up to `max_delay`, ± `jitter`."""

    attempts: int = also("attempts", "max_attempts", default=3, ge=1, le=1000)
    backoff: Duration = 1.0
    factor: float = Field(default=2.0, ge=1, le=100)
    max_delay: Duration = 60.0
    jitter: float = Field(default=0.1, ge=0, le=1)


class Step(Form):
    """One effect. `compensate` undoes it when a later step fails."""

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    description: str = ""
    action: Action
    when: Condition | None = also("when", "condition", default=None)
    timeout: Duration = 300.0
    retry: Annotated[
        Retry,
        BeforeValidator(lambda v: {"attempts": v} if isinstance(v, int) else v, json_schema_input_type=int | Retry),
    ] = also("retry", "retry_policy", default=Retry(attempts=1))
    compensate: Annotated[
        list[Action], BeforeValidator(one_or_more, json_schema_input_type=dict[str, Any] | list[dict[str, Any]])
    ] = []
    on_error: Literal["fail", "continue"] = "fail"


class Concurrency(Form):
    """What a firing does while a run of the same workflow and key is under way; `limit` bounds the runs of all keys."""

    policy: Literal["single", "restart", "queued", "parallel"] = "queued"
    limit: int = Field(default=16, ge=1, le=10_000)
    queue: int = Field(default=10_000, ge=0, le=1_000_000)


class Workflow(Form):
    """A whole definition: when, what, and how to undo it."""

    workflow_id: UUID | None = None
    name: Name
    description: str = ""
    workflow_type: Literal["linear"] = "linear"
    triggers: Annotated[list[Trigger], BeforeValidator(one_or_more, json_schema_input_type=Trigger | list[Trigger])] = (
        also("triggers", "trigger_patterns", default=[])
    )
    steps: list[Step] = Field(min_length=1, max_length=1000)
    compensation_steps: list[Step] = []
    patterns: PatternTable = {}
    concurrency: Annotated[
        Concurrency,
        BeforeValidator(lambda v: {"policy": v} if isinstance(v, str) else v, json_schema_input_type=str | Concurrency),
    ] = Concurrency()
    timeout: Duration | None = None
    vars: dict[str, Any] = {}
    let: Annotated[dict[str, Any], AfterValidator(_check_templates)] = {}
    priority: Literal["low", "normal", "high", "critical"] = "normal"
    tenant_id: str | None = None
    enabled: bool = True
    metadata: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _named_steps(cls, value: Any) -> Any:
        """Steps without a name are called step1, step2 …"""
        if not isinstance(value, dict):
            return value
        out = dict(value)
        for field, word in (("steps", "step"), ("compensation_steps", "compensation")):
            if isinstance(out.get(field), list):
                out[field] = [
                    {"name": f"{word}{i}", **step} if isinstance(step, dict) else step
                    for i, step in enumerate(out[field], 1)
                ]
        return out

    @property
    def every_pattern(self) -> dict[str, PatternDefinition]:
        """Its patterns by name, and those that its triggers give in full."""
        named = enumerate(self.triggers)
        inline = {
            name: checked(name, trigger.pattern)
            for i, trigger in named
            if isinstance(trigger, PatternTrigger) and is_inline(trigger.pattern)
            for name in (trigger.pattern_name(self.name, i),)
        }
        return {**self.patterns, **inline}

    @property
    def step_names(self) -> list[str]:
        """The names of the steps, in order; unique in a loaded workflow."""
        return [step.name or "" for step in self.steps]


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a definition file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Workflow.model_json_schema(mode="validation")}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
