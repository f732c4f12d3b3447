"""Compensation: what completed steps did is undone in the reverse order of their completion, each undo with its own
time and retries. What could not be undone is left to be done by hand, and said.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from automation.expressions import Expression
from automation.runner.action import within
from automation.runner.plan import ActionBody, PlannedStep, PlannedUndo, UndoNowBody
from automation.runner.record import StepRecord
from automation.runner.retry import WorkflowFailed, class_of, delay_before, is_worth
from automation.runner.scope import Frontier, Scope
from automation.runner.sentences import sentence
from automation.runner.walk import CONTROL, Completed, Walk
from automation.step_forms import Retry
from automation.templates import Template

UNDO_SECONDS = 30.0


async def undo_all(walk: Walk, scope: Scope) -> bool | None:
    """Undo every completed step, then do the workflow's own compensation: whether all of it succeeded; None when there
    was nothing to undo.
    """
    done, walk.completed = walk.completed, []
    outcomes = await undo_steps(walk, done)
    for step in walk.plan.compensation:
        assert isinstance(step.body, ActionBody)
        retry, timeout = step.retry, step.timeout or UNDO_SECONDS
        undo = PlannedUndo(step.kind, step.body.template, step.when, timeout, retry)
        outcomes.append(await _undo(walk, undo, f"undo/!{step.segment}", scope, step.name))
    undone = [outcome for outcome in outcomes if outcome is not None]
    return all(undone) if undone else None


async def undo_steps(walk: Walk, completed: Collection[Completed]) -> list[bool | None]:
    """Undo these, the last to complete first: whether each undo succeeded, None for what its condition let be."""
    order = sorted(enumerate(completed), key=lambda pair: (pair[1].number, pair[0]), reverse=True)
    outcomes = []
    for _, one in order:
        undos = (*(() if one.failed else one.step.compensate), *(_recorded(one) if one.step.undoes_itself else ()))
        for i, undo in enumerate(undos):
            place = f"undo/{one.place}" + (f"/{i}" if len(undos) > 1 else "")
            outcomes.append(await _undo(walk, undo, place, one.scope, f"undo {one.step.name}"))
    return outcomes


def _recorded(one: Completed) -> tuple[PlannedUndo, ...]:
    """The action that undoes what the step's action recorded."""
    if not one.undo:
        return ()
    action = {"type": "undo", "of": one.undo}
    return (PlannedUndo("undo", Template(action, tuple(action)), None, UNDO_SECONDS, Retry(attempts=3)),)


async def _undo(walk: Walk, undo: PlannedUndo, place: str, scope: Scope, name: str) -> bool | None:
    record = StepRecord(name, undo.kind, "running", 0, walk.means.clock(), place=place)
    walk.run.add(record)
    scope = scope.thawed()
    end = walk.history.end(place)
    try:
        if end is not None:
            _recall(record, dict(end[1]))
        elif undo.when is not None and not _wanted(walk, undo.when, place, scope):
            record.status = "skipped"
        else:
            await _attempts(walk, undo, place, scope, record)
    finally:
        record.ended_ns = walk.means.clock()
    if record.status == "skipped":
        return None
    walk.tell(record)
    if record.status == "failed":
        _leave(walk, undo, place, scope, record)
    return record.status == "compensated"


def _wanted(walk: Walk, condition: Expression, place: str, scope: Scope) -> bool:
    try:
        return walk.holds(condition, f"{place}!when", scope)
    except ValueError:
        return True  # better undone in vain than not


def _recall(record: StepRecord, data: dict[str, Any]) -> None:
    record.attempts, record.error = data.get("attempts", 1), data.get("error", "")
    record.result, record.status = data.get("result"), data["status"]


async def _attempts(walk: Walk, undo: PlannedUndo, place: str, scope: Scope, record: StepRecord) -> None:
    began = walk.history.start(place)
    record.attempts = 0 if began is None else began.data["attempt"] - 1
    while True:
        record.attempts += 1
        data = {"action": undo.kind, "attempt": record.attempts, "key": f"{walk.run.id}:{place}"}
        walk.history.note("started", place, data)
        await walk.history.flush()
        try:
            record.result = await within(undo.timeout, walk, undo.template, place, scope, record)
        except CONTROL:
            raise
        except Exception as error:
            record.error = sentence(error)
            if record.attempts < undo.retry.attempts and is_worth(undo.retry, class_of(error)):
                await _pause(walk, undo, place, record)
                continue
            ended = {"status": "failed", "error": record.error, "class": class_of(error), "attempts": record.attempts}
            record.status = "failed"
        else:
            record.status, record.error = "compensated", ""
            ended = {"status": "compensated", "result": record.result, "attempts": record.attempts}
        walk.history.note("ended", place, ended)
        await walk.history.flush()
        return


async def _pause(walk: Walk, undo: PlannedUndo, place: str, record: StepRecord) -> None:
    wake = walk.means.clock() + round(delay_before(undo.retry, record.attempts + 1, walk.means.dice) * 1e9)
    walk.history.note("timer", place, {"wake": wake, "attempt": record.attempts + 1})
    await walk.history.flush()
    await walk.rest(lambda: walk.means.timers.sleep_until(wake), record)


def _leave(walk: Walk, undo: PlannedUndo, place: str, scope: Scope, record: StepRecord) -> None:
    """Say what is left to do by hand."""
    try:
        action = undo.template.render(walk.variables(scope))
    except ValueError:
        action = undo.template.source
    what = {"place": place.removeprefix("undo/"), "action": action, "error": record.error}
    if undo.description:
        what["description"] = undo.description
    walk.run.left.append(walk.means.equipment.secrets.redact(what))
    walk.run.error = f"{walk.run.error}; {record.name} failed too: {record.error}"


async def perform_undo_now(walk: Walk, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> Any:
    """Undo completed steps in the midst of a run: `{undone}`, how many undos that took."""
    assert isinstance(step.body, UndoNowBody)
    names = step.body.names
    chosen = [one for one in walk.completed if names is None or one.step.name in names]
    walk.completed = [one for one in walk.completed if one not in chosen]
    if scope.frozen and walk.history.end(place) is None:
        walk.completed += chosen  # what of it was undone is recorded, and not done again
        raise Frontier
    known, result = walk.recall(step, place, scope, record)
    if known:
        return result
    outcomes = await undo_steps(walk, chosen)
    if not all(outcome is not False for outcome in outcomes):
        raise walk.note_failure(step, place, WorkflowFailed("not everything could be undone"))
    result = {"undone": sum(outcome is True for outcome in outcomes)}
    walk.note_end(step, place, result)
    return result
