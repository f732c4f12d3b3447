"""Workflows of the type state_machine: steps are states, which transitions leave at once, on events or after a time."""

from __future__ import annotations

from typing import Any

from automation.events import SemanticEvent
from automation.patterns.snapshots import read_numbered
from automation.runner.plan import PlannedStep
from automation.runner.scope import SKIPPED, Frontier, Scope, StepFailed
from automation.runner.wait import next_mail
from automation.runner.walk import Walk
from automation.triggers.firing_records import event_record


async def walk_states(walk: Walk, scope: Scope) -> Any:
    """From the initial state to a final one; the last result. The events for all states are heard from the beginning:
    what comes while a state is busy is looked at afterwards, and what no transition wants then is passed over.
    """
    plan = walk.plan
    states = {step.name: step for step in plan.steps}
    for inner in plan.every_step():
        scope.results.setdefault(inner.name, None)
    state, last = states[plan.initial or plan.steps[0].name], None
    for count in range(plan.most_moves + 1):
        failure, result = await _enter(walk, state, f"[{count}]", scope)
        last = last if result is SKIPPED else result
        if state.final == "failed":
            raise StepFailed(state.name, "the run ended in this state", "workflow")
        if state.final is not None or not state.moves:
            return last
        taken = await _leave(walk, state, f"{state.segment}[{count}]", scope, failure)
        if taken["move"] is None:
            raise failure or StepFailed(state.name, "no transition holds", "condition")
        if "event" in taken:
            scope = scope.with_event(read_numbered(taken["event"]), scope.results)
        state = states[state.moves[taken["move"]].to]
    raise StepFailed(state.name, f"there were more than {plan.most_moves} transitions", "definition")


async def _enter(walk: Walk, state: PlannedStep, suffix: str, scope: Scope) -> tuple[StepFailed | None, Any]:
    """What the state does; its failure is an error transition's affair."""
    try:
        result, _ = await walk.step(state, "", scope, suffix=suffix)
    except StepFailed as failure:
        if not any(move.error for move in state.moves):
            raise
        return failure, SKIPPED
    return None, result if state.body is not None else SKIPPED


async def _leave(
    walk: Walk, state: PlannedStep, place: str, scope: Scope, failure: StepFailed | None
) -> dict[str, Any]:
    """The decision for a transition: its number, None when none holds; the event that it is taken on; and `seen`, how
    many events have been looked at.
    """
    mark = f"{place}!move"
    if walk.history.decided(mark):
        taken: dict[str, Any] = walk.history.decision(mark)
        walk.mailbox("").drop_before(taken["seen"])
        return taken
    if scope.frozen:
        raise Frontier
    result = scope.results.get(state.name)
    taken = {"move": _at_once(walk, state, scope, failure is not None, result)}
    if taken["move"] is None and failure is None:
        taken = await _awaited(walk, state, place, scope, result)
    taken["seen"] = walk.mailbox("").seen
    walk.history.decide(mark, lambda: taken)
    await walk.means.turns.take()
    return taken


def _at_once(walk: Walk, state: PlannedStep, scope: Scope, failed: bool, result: Any) -> int | None:
    for i, move in enumerate(state.moves):
        at_once = move.on is None and move.after is None and move.error is failed
        if at_once and (move.when is None or move.when(walk.variables(scope, result=result)) is True):
            return i
    return None


async def _awaited(walk: Walk, state: PlannedStep, place: str, scope: Scope, result: Any) -> dict[str, Any]:
    """Wait for an event that a transition is taken on, or for the time after which one is taken."""
    entered = walk.history.start(f"{place}!wait")
    since = entered.data["since"] if entered is not None else walk.means.clock()
    due = sorted((round(since + move.after * 1e9), i) for i, move in enumerate(state.moves) if move.after is not None)
    hears = any(move.on is not None for move in state.moves)
    if entered is None and (due or hears):
        walk.history.note("timer", f"{place}!wait", {"wake": due[0][0] if due else None, "since": since})
    await walk.history.flush()
    while due or hears:
        wake = due[0][0] if due else None
        found = await next_mail(walk, "", lambda n, event: True, wake, walk.run.steps[-1] if walk.run.steps else None)
        if found is not None:
            i = _on(walk, state, scope, found[1], result)
            if i is not None:
                return {"move": i, "event": event_record(found[1])}
        else:
            _, i = due.pop(0)
            condition = state.moves[i].when
            if condition is None or condition(walk.variables(scope, result=result)) is True:
                return {"move": i}
    return {"move": None}


def _on(walk: Walk, state: PlannedStep, scope: Scope, event: SemanticEvent, result: Any) -> int | None:
    """The first transition that is taken on this event."""
    for i, move in enumerate(state.moves):
        if move.on is None or not move.on.matcher(lambda: walk.variables(scope)).matches(event):
            continue
        if move.on.holds(event, walk.variables(scope)):
            seen = walk.variables(scope.with_event(event, scope.results), result=result)
            if move.when is None or move.when(seen) is True:
                return i
    return None
