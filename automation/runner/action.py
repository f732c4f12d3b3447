"""Steps that act: attempts, each within its time, and the waits between them."""

from __future__ import annotations

from typing import Any

import trio

from automation.errors import TimedOut
from automation.runner.plan import AT_ONCE, ENDLESS, ActionBody, PlannedStep, SetBody
from automation.runner.record import StepRecord
from automation.runner.retry import Interrupted, class_of, delay_before, is_worth
from automation.runner.scope import Scope
from automation.runner.sentences import sentence
from automation.runner.walk import CONTROL, Walk
from automation.templates import Template


async def perform_action(walk: Walk, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> Any:
    """The action's result, in as many attempts as it takes and may take. An attempt that a restart interrupted is
    made again, with the same idempotency key, unless the step is done at most once.
    """
    assert isinstance(step.body, ActionBody)
    known, result = walk.recall(step, place, scope, record)
    if known:
        return result
    began = walk.history.start(place)
    record.attempts = 0 if began is None else began.data["attempt"] - 1
    if began is not None and began.kind == "started" and step.at_most_once:
        raise walk.note_failure(step, place, Interrupted("it was under way when VexFS ended, and is done at most once"))
    if began is not None and began.kind == "timer":
        await _pause(walk, began.data["wake"], record)
    most = step.retry.attempts if walk.means.automation.enable_fault_tolerance else 1
    while True:
        record.attempts += 1
        try:
            result = await _attempt(walk, step, place, scope, record)
            walk.require(step, f"{place}!post{record.attempts}", scope, result)
        except CONTROL:
            raise
        except Exception as error:
            if record.attempts >= most or not is_worth(step.retry, class_of(error)):
                raise walk.note_failure(step, place, error, record.attempts) from error
            record.error = f"attempt {record.attempts}: {sentence(error)}"
            await _try_later(walk, step, place, record)
            record.error = ""
        else:
            walk.note_end(step, place, result, record.attempts)
            return result


async def _attempt(walk: Walk, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> Any:
    assert isinstance(step.body, ActionBody)
    data = {"action": step.kind, "attempt": record.attempts, "key": f"{walk.run.id}:{place}"}
    walk.history.note("started", place, data)
    await walk.history.flush()
    await walk.means.turns.take()  # one commit wakes many
    if walk.fresh:
        walk.fresh = False
        walk.means.begun(walk.run)
    seconds = step.timeout
    if step.kind in AT_ONCE:
        seconds = None
    elif seconds is None and step.kind not in ENDLESS:
        seconds = walk.means.automation.automation_timeout
    return await within(seconds, walk, step.body.template, place, scope, record)


async def within(
    seconds: float | None, walk: Walk, template: Template, place: str, scope: Scope, record: StepRecord
) -> Any:
    """The result of an action; TimedOut when it takes longer."""
    if seconds is None:
        return await walk.act(template, place, scope, record)
    with trio.CancelScope(deadline=trio.current_time() + seconds):  # half the cost of `fail_after`
        return await walk.act(template, place, scope, record)
    raise TimedOut(f"took longer than {seconds:g} s")


async def _try_later(walk: Walk, step: PlannedStep, place: str, record: StepRecord) -> None:
    retry, learnt = step.retry, walk.means.learnt(walk.run.workflow, step.name)
    if learnt is not None:
        retry = retry.model_copy(update={"backoff": learnt})
    delay = delay_before(retry, record.attempts + 1, walk.means.dice)
    wake = walk.means.clock() + round(delay * 1e9)
    data = {"wake": wake, "attempt": record.attempts + 1, "error": record.error}
    walk.history.note("timer", place, data)
    await walk.history.flush()
    await _pause(walk, wake, record)


async def _pause(walk: Walk, wake: int, record: StepRecord) -> None:
    await walk.rest(lambda: walk.means.timers.sleep_until(wake), record)


async def perform_set(walk: Walk, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> Any:
    """The variables that it sets; from here on all of the run sees them."""
    assert isinstance(step.body, SetBody)
    known, values = walk.recall(step, place, scope, record)
    if not known:
        try:
            values = step.body.template.render(walk.variables(scope))
            walk.require(step, f"{place}!post", scope, values)
        except Exception as error:
            raise walk.note_failure(step, place, error) from error
        walk.note_end(step, place, values)
        await walk.means.turns.take()
    walk.vars = {**walk.vars, **values}
    return values
