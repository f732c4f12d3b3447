"""From the form of a trigger to what does its work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from automation.definitions import Workflow
from automation.triggers.forms import DerivedTrigger, EventTrigger, PatternTrigger, ScheduleTrigger, StateTrigger
from automation.triggers.on_event import OnEvent
from automation.triggers.on_pattern import OnPattern
from automation.triggers.on_schedule import OnSchedule
from automation.triggers.on_state import OnState

Fed = OnEvent | OnState
"""A trigger that is fed events and has deadlines."""
Trigger = Fed | OnPattern | OnSchedule


def build(
    workflow: Workflow,
    number: int,
    *,
    state: Callable[[], dict[str, Any]],
    busy: Callable[[int], bool],
    now: float,
    last: float | None = None,
) -> Trigger | None:
    """The trigger of that number, None for a manual one. `now` in seconds since the epoch; `last` is the time that a
    schedule handled last, if that is known from an earlier mount. See the classes for the rest.
    """
    form, kind, variables = workflow.triggers[number], workflow.triggers[number].type, workflow.vars
    if isinstance(form, DerivedTrigger):
        form = form.as_event()
    if isinstance(form, EventTrigger):
        return OnEvent(workflow.name, number, form, variables=variables, state=state, busy=busy, kind=kind)
    if isinstance(form, PatternTrigger):
        return OnPattern(workflow.name, number, form, variables=variables, state=state)
    if isinstance(form, StateTrigger):
        return OnState(workflow.name, number, form, state=state)
    return OnSchedule(workflow.name, number, form, now, last) if isinstance(form, ScheduleTrigger) else None
