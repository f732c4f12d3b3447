"""What a person writes: one workflow a file, validated as a whole. Mirrors the seed's `ReactiveWorkflow`.

`automation.loading` turns text into a `Workflow` or into every error that it has.
`python -m automation.definitions` prints the JSON Schema for editors.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, model_validator

from automation.bulkheads import Full
from automation.forms import Condition, Form, Name, also, one_or_more
from automation.patterns.loading import Definition as PatternDefinition
from automation.patterns.table import PatternTable, checked, is_inline
from automation.quantities import Duration, parse_duration
from automation.step_forms import MOST_STEPS, OnFailure, Step, Templates, check_templates, with_names
from automation.triggers.forms import Join, PatternTrigger, Trigger
from automation.values import check_pattern, check_value


class Concurrency(Form):
    """What a firing does while a run of the same workflow and key is under way; `limit` bounds the runs of all keys.

    `full` says who gives way when `queue` firings wait already.
    """

    policy: Literal["single", "restart", "queued", "parallel"] = "queued"
    limit: int = Field(default=16, ge=1, le=100_000)
    queue: int = Field(default=10_000, ge=0, le=1_000_000)
    full: Full = "reject"


def _rate(text: object) -> object:
    """`10/minute` as the pair of a number and seconds."""
    if not isinstance(text, str):
        return text
    match = _RATE.fullmatch(text)
    if match is None or int(match[1]) < 1:
        raise ValueError(f"{text!r} is no rate; write for instance '10/minute', '2/s' or '100/1h'")
    unit = match[2]
    return (int(match[1]), parse_duration(_UNITS.get(unit, unit if unit[0].isdigit() else f"1{unit}")))


_RATE: Final = re.compile(r"\s*(\d{1,9})\s*/\s*([0-9a-z.]+)\s*")
_UNITS: Final = {"second": "1s", "minute": "1m", "hour": "1h", "day": "1d", "week": "1w"}


class RateLimit(Form):
    """A token bucket for each key: `rate` runs flow in, `burst` at most; what is too much waits or is dropped."""

    rate: Annotated[tuple[int, float], BeforeValidator(_rate, json_schema_input_type=str)]
    burst: int = Field(default=1, ge=1, le=1_000_000)
    per: Literal["key", "workflow"] = "key"
    exceeded: Literal["wait", "drop"] = "wait"


class Input(Form):
    """One named value that a run is given."""

    type: Literal["string", "integer", "number", "boolean", "list", "object", "path", "any"] = "any"
    description: str = ""
    default: Any = None
    required: bool = False
    enum: list[Any] | None = None
    min: float | None = None
    max: float | None = None
    pattern: str | None = None

    @model_validator(mode="after")
    def _sensible(self) -> Input:
        if self.pattern is not None:
            check_pattern(self.pattern)
        if self.required and self.default is not None:
            raise ValueError("what has a default is not required")
        if self.default is not None:
            check_value("default", self.default, self)
        return self


class Output(Form):
    """One named value that a run gives: a template, and the type that it must have."""

    value: Any
    type: Literal["string", "integer", "number", "boolean", "list", "object", "path", "any"] = "any"
    description: str = ""

    @model_validator(mode="after")
    def _right(self) -> Output:
        check_templates({"value": self.value})
        return self


def _output(value: object) -> object:
    """A template alone is an output of any type."""
    return value if isinstance(value, dict | Output) else {"value": value}


class Lifetime(Form):
    """When an event-driven run ends: when `until` holds after an event, after `count` events, after `idle` time."""

    until: Condition | None = None
    idle: Duration | None = None
    count: int | None = Field(default=None, ge=1)


class Workflow(Form):
    """A whole definition: when, what, and how to undo it."""

    workflow_id: UUID | None = None
    name: Name
    description: str = ""
    workflow_type: Literal["linear", "parallel", "conditional", "state_machine", "event_driven", "ml_enhanced"] = (
        "linear"
    )
    triggers: Annotated[list[Trigger], BeforeValidator(one_or_more, json_schema_input_type=Trigger | list[Trigger])] = (
        also("triggers", "trigger_patterns", default=[])
    )
    join: Join | None = None
    inputs: dict[str, Input] = Field(default_factory=dict)
    outputs: dict[str, Annotated[Output, BeforeValidator(_output, json_schema_input_type=Any)]] = Field(
        default_factory=dict
    )
    steps: list[Step] = Field(min_length=1, max_length=MOST_STEPS)
    compensation_steps: list[Step] = Field(default_factory=list)
    patterns: PatternTable = Field(default_factory=dict)
    concurrency: Annotated[
        Concurrency,
        BeforeValidator(lambda v: {"policy": v} if isinstance(v, str) else v, json_schema_input_type=str | Concurrency),
    ] = Concurrency()
    rate: Annotated[
        RateLimit | None,
        BeforeValidator(lambda v: {"rate": v} if isinstance(v, str) else v, json_schema_input_type=str | RateLimit),
    ] = None
    max_concurrency: int = Field(default=16, ge=1, le=1000)
    on_failure: OnFailure = "fail_fast"
    initial: str | None = None
    max_transitions: int = Field(default=1000, ge=1, le=1_000_000)
    lifetime: Lifetime = Lifetime()
    on_restart: Literal["resume", "compensate"] = "resume"
    timeout: Duration | None = None
    vars: dict[str, Any] = Field(default_factory=dict)
    let: Templates = Field(default_factory=dict)
    priority: Literal["low", "normal", "high", "critical"] = "normal"
    tenant_id: str | None = None
    dry_run: bool = False
    enabled: bool = True
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _named_steps(cls, value: Any) -> Any:
        """Steps without a name are called step1, step2 …"""
        return with_names(value, {"steps": "step", "compensation_steps": "compensation"})

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
