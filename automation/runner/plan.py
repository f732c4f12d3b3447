"""A workflow made ready to run: templates and conditions compiled once, when it is loaded."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from automation.definitions import Retry, Step, Workflow, action_template
from automation.expressions import Expression, compile_expression
from automation.templates import Template


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step: `action` and each of `compensate` render to the parameters of an action; times in seconds."""

    name: str
    kind: str
    action: Template
    when: Expression | None
    timeout: float
    retry: Retry
    compensate: tuple[Template, ...]
    continues: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a workflow, and those that follow a failure."""

    name: str
    steps: tuple[PlannedStep, ...]
    compensation: tuple[PlannedStep, ...]
    timeout: float | None
    vars: dict[str, Any]
    let: Template
    definition: str = "{}"
    priority: str = "normal"
    tenant: str = ""

    @classmethod
    def of(cls, workflow: Workflow) -> Plan:
        """Compile a validated workflow."""
        dumped = workflow.model_dump(mode="json", exclude_unset=True, exclude={"triggers", "patterns"})
        return cls(
            workflow.name,
            tuple(map(_planned, workflow.steps)),
            tuple(map(_planned, workflow.compensation_steps)),
            workflow.timeout,
            workflow.vars,
            Template(workflow.let),
            json.dumps(dumped, sort_keys=True),
            workflow.priority,
            workflow.tenant_id or "",
        )

    @classmethod
    def parse(cls, definition: str) -> Plan:
        """The plan of a `definition` that a ledger kept."""
        return cls.of(Workflow.model_validate_json(definition))

    @property
    def digest(self) -> str:
        """Tells one version of a workflow from another."""
        return hashlib.sha256(self.definition.encode()).hexdigest()

    def doing(self, actions: Iterable[Mapping[str, Any]]) -> Plan:
        """The same plan with these actions for its steps; they are rendered: braces in them are no templates."""
        return replace(self, steps=tuple(_literal(i, action) for i, action in enumerate(actions, 1)))

    @property
    def undoes(self) -> bool:
        """Whether there is anything to compensate with."""
        return bool(self.compensation) or any(step.compensate for step in self.steps)


def _planned(step: Step) -> PlannedStep:
    return PlannedStep(
        name=step.name or "",
        kind=str(step.action.get("type", "")),
        action=action_template(step.action),
        when=compile_expression(step.when) if step.when else None,
        timeout=step.timeout,
        retry=step.retry,
        compensate=tuple(map(action_template, step.compensate)),
        continues=step.on_error == "continue",
    )


def _literal(number: int, action: Mapping[str, Any]) -> PlannedStep:
    kind = str(action.get("type", ""))
    template = Template(dict(action), tuple(action))
    return PlannedStep(f"{kind}{number}", kind, template, None, 300.0, Retry(attempts=1), (), continues=False)


def delay_before(retry: Retry, attempt: int, dice: random.Random) -> float:
    """Seconds to wait before `attempt` (the second try is 2): exponential, bounded, spread by the jitter."""
    try:
        delay = min(retry.max_delay, retry.backoff * retry.factor ** (attempt - 2))
    except OverflowError:
        delay = retry.max_delay
    return delay * (1 + retry.jitter * dice.uniform(-1, 1))
