"""Which function carries out what a step is, and what a workflow is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from automation.runner.action import perform_action, perform_set
from automation.runner.decision import perform_decision
from automation.runner.event_driven import walk_events
from automation.runner.loop import perform_loop
from automation.runner.machine import walk_states
from automation.runner.parallel import graph, perform_parallel
from automation.runner.plan import (
    ActionBody,
    DecisionBody,
    LoopBody,
    ParallelBody,
    PlannedStep,
    SequenceBody,
    SetBody,
    UndoNowBody,
    WaitBody,
)
from automation.runner.record import StepRecord
from automation.runner.saga import perform_undo_now
from automation.runner.scope import Scope
from automation.runner.wait import perform_wait
from automation.runner.walk import Walk

Performer = Callable[[Walk, PlannedStep, str, Scope, StepRecord], Awaitable[Any]]


async def perform_sequence(walk: Walk, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> Any:
    """The last result of its steps."""
    assert isinstance(step.body, SequenceBody)
    result = await walk.sequence(step.body.steps, f"{place}.", scope, record)
    walk.require(step, f"{place}!post", scope, result)
    return result


async def perform_nothing(walk: Walk, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> Any:
    """A state that only waits or ends."""
    return None


STEPS: Final[Mapping[type, Performer]] = MappingProxyType(
    {
        ActionBody: perform_action,
        DecisionBody: perform_decision,
        ParallelBody: perform_parallel,
        SequenceBody: perform_sequence,
        LoopBody: perform_loop,
        WaitBody: perform_wait,
        SetBody: perform_set,
        UndoNowBody: perform_undo_now,
        type(None): perform_nothing,
    }
)
"""By the body of a step."""


async def perform(walk: Walk, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> Any:
    """Carry out what a step is; its result."""
    if scope.frozen or step.timeout is None or isinstance(step.body, ActionBody):
        return await STEPS[type(step.body)](walk, step, place, scope, record)
    return await walk.limited(step, place, scope, lambda s: STEPS[type(step.body)](walk, step, place, s, record))


async def walk_steps(walk: Walk, scope: Scope) -> Any:
    """One after the other."""
    return await walk.sequence(walk.plan.steps, "", scope, None)


async def walk_graph(walk: Walk, scope: Scope) -> Any:
    """As far as possible at the same time."""
    plan = walk.plan
    return await graph(walk, plan.steps, "", scope, None, most=plan.most, collects=plan.collects)


WORKFLOWS: Final[Mapping[str, Callable[[Walk, Scope], Awaitable[Any]]]] = MappingProxyType(
    {
        "linear": walk_steps,
        "parallel": walk_graph,
        "conditional": walk_steps,
        "state_machine": walk_states,
        "event_driven": walk_events,
        "ml_enhanced": walk_steps,
    }
)
"""By the type of a workflow."""
