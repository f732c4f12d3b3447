"""Decisions: by a condition, by a value, or by a model that is sure enough."""

from __future__ import annotations

from typing import Any

from automation.runner.plan import DecisionBody, PlannedStep, segment
from automation.runner.prediction import prediction
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
        subject = body.subject
        assert subject is not None
        value = walk.decide(f"{place}!value", scope, lambda: subject(walk.variables(scope)))
        if body.branches and body.branches[0].value == "then" and isinstance(value, bool):
            return "then" if value else None
        return write_out(value)
    found, _ = await walk.step(body.model, f"{place}.", scope, record)
    if found is SKIPPED:
        return None
    label = walk.decide(f"{place}!value", scope, lambda: _judged(walk, body, scope, found))
    return None if label is None else str(label)


def _judged(walk: Walk, body: DecisionBody, scope: Scope, result: Any) -> str | None:
    """What the model says, None when it is not sure enough."""
    seen = walk.variables(scope, result=result)
    label, sureness = prediction(result, body.labels)
    if body.sureness is not None:
        sureness = body.sureness(seen)
    if body.subject is not None:
        label = body.subject(seen)
    if not isinstance(sureness, int | float) or sureness < body.confidence or label is None:
        return None
    return write_out(label)
