"""Decisions: by a condition, by a value, or by a model that is sure enough."""

from __future__ import annotations

from typing import Any

from automation.runner.plan import DecisionBody, PlannedStep, segment
from automation.runner.record import StepRecord
from automation.runner.scope import SKIPPED, Scope
from automation.runner.walk import Walk
from automation.templates import write_out


async def perform_decision(walk: Walk, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> Any:
    """The result of the branch that is taken; null when there is none to take."""
    body = step.body
    assert isinstance(body, DecisionBody)
    label = await _label(walk, body, place, scope, record)
    taken = next((branch for branch in body.branches if branch.value == label), body.otherwise)
    record.branch = "" if taken is None else taken.value
    result = None
    for branch in (*body.branches, *(() if body.otherwise is None else (body.otherwise,))):
        if branch is not taken:  # what was not done has the result null, as with any condition
            for inner in (one for outer in branch.steps for one in outer.every()):
                scope.results.setdefault(inner.name, None)
    if taken is not None:
        result = await walk.sequence(taken.steps, f"{place}.{segment(taken.value)}.", scope, record)
    walk.require(step, f"{place}!post", scope, result)
    return result


async def _label(walk: Walk, body: DecisionBody, place: str, scope: Scope, record: StepRecord) -> str | None:
    if body.model is None:
        value = walk.decide(f"{place}!value", scope, lambda: body.subject(walk.variables(scope)))
        if body.branches and body.branches[0].value == "then" and isinstance(value, bool):
            return "then" if value else None
        return write_out(value)
    found, _ = await walk.step(body.model, f"{place}.", scope, record)
    if found is SKIPPED:
        return None

    def judged() -> str | None:
        seen = walk.variables(scope, result=found)
        assert body.sureness is not None
        sure = body.sureness(seen)
        if not isinstance(sure, int | float) or sure < body.confidence:
            return None
        return write_out(body.subject(seen))

    label = walk.decide(f"{place}!value", scope, judged)
    return None if label is None else str(label)
