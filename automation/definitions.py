"""What a person writes: one workflow a file, validated as a whole. Mirrors the seed's `ReactiveWorkflow`.

`automation.loading` turns text into a `Workflow` or into every error that it has.
`python -m automation.definitions` prints the JSON Schema for editors.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from automation.actions.table import LITERAL, check_action
from automation.forms import Condition, Form, Name, also, one_or_more
from automation.patterns.loading import Definition as PatternDefinition
from automation.patterns.table import PatternTable, checked, is_inline
from automation.quantities import Duration
from automation.templates import Template, TemplateError
from automation.triggers.forms import Join, PatternTrigger, Trigger


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
    ] = Field(default_factory=list)
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
    join: Join | None = None
    steps: list[Step] = Field(min_length=1, max_length=1000)
    compensation_steps: list[Step] = Field(default_factory=list)
    patterns: PatternTable = Field(default_factory=dict)
    concurrency: Annotated[
        Concurrency,
        BeforeValidator(lambda v: {"policy": v} if isinstance(v, str) else v, json_schema_input_type=str | Concurrency),
    ] = Concurrency()
    timeout: Duration | None = None
    vars: dict[str, Any] = Field(default_factory=dict)
    let: Annotated[dict[str, Any], AfterValidator(_check_templates)] = Field(default_factory=dict)
    priority: Literal["low", "normal", "high", "critical"] = "normal"
    tenant_id: str | None = None
    enabled: bool = True
    metadata: dict[str, Any] = Field(default_factory=dict)

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
