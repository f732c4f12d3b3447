"""The course of one run: it begins, its steps are carried out, what failed is undone, it ends. Each part is recorded
before the next rests on it, so that a run which is taken up again goes on where it was.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import trio

from automation.errors import DefinitionError
from automation.runner.bodies import WORKFLOWS
from automation.runner.history import Doubled, Unrecorded
from automation.runner.record import Status
from automation.runner.saga import undo_all
from automation.runner.scope import Frontier, Scope, StepFailed
from automation.runner.sentences import sentence
from automation.runner.walk import CONTROL, Walk
from automation.values import check_type, settle_input

log: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class Stop:
    """How a run is asked to stop: `scope` is cancelled, `reason` says why."""

    scope: trio.CancelScope
    reason: str = ""


async def carry_out(walk: Walk, stop: Stop) -> None:
    """Lead a run to its end; its status then says which. Unrecorded when it has to stop where it is, Doubled when it
    had its run before.
    """
    run, history = walk.run, walk.history
    run.status = "running"
    decided = history.decision("!compensating")
    if decided is not None:
        run.status, run.error = decided["status"], decided["error"]
    elif walk.plan.undone_on_restart and history.resumed:
        run.status, run.error = "failed", "VexFS ended meanwhile, and it is not resumed"
    else:
        await _forward(walk, stop)
    if run.status != "succeeded" and walk.means.automation.enable_rollback_compensation:
        await _backward(walk)
    end = {"status": run.status, "output": run.output, "error": run.error, "left": run.left}
    history.note("finished", "", {name: value for name, value in end.items() if value or name == "status"})
    await history.flush()


async def _forward(walk: Walk, stop: Stop) -> None:
    run, plan = walk.run, walk.plan
    timeout = plan.timeout if plan.timeout is not None else walk.means.automation.workflow_timeout
    if timeout is not None:
        passed = (walk.means.clock() - run.created_ns) / 1e9
        stop.scope.deadline = trio.current_time() + max(0.0, timeout - passed)
    with stop.scope:
        try:
            await _steps(walk)
        except CONTROL:
            raise
        except StepFailed as failure:
            run.status, run.error = "failed", f"{failure.name}: {failure.text}"
        except Exception as error:
            run.status, run.error = "failed", sentence(error)
            if run.error.startswith("internal error"):
                log.exception("run %s of %s met a bug", run.id, run.workflow)
    if stop.scope.cancelled_caught:
        run.error = stop.reason or f"the workflow took longer than {timeout:g} s"
        run.status = "cancelled" if stop.reason else "failed"


async def _steps(walk: Walk) -> None:
    run, plan = walk.run, walk.plan
    scope = begin(walk, frozen=False)
    run.output = await WORKFLOWS[plan.type](walk, scope)
    if plan.outputs:
        run.output = walk.decide("!outputs", scope, lambda: outputs(walk, scope))
    run.status = "succeeded"


def begin(walk: Walk, *, frozen: bool) -> Scope:
    """Work out input and variables, hear what the plan listens to; the outermost scope."""
    run, plan = walk.run, walk.plan
    walk.completed = []
    run.input = settle_input(plan.inputs, run.firing.input)
    scope = Scope({}, frozen=frozen)
    walk.vars = plan.vars
    if plan.let.source:
        try:
            made = walk.decide("!let", scope, lambda: plan.let.render(walk.variables(scope)))
        except ValueError as error:
            raise DefinitionError(plan.name, None, "let", str(error)) from None
        walk.vars = {**plan.vars, **made}
    if not frozen:
        for listening in plan.listens:
            walk.listen(listening, "", scope)
    return scope


def outputs(walk: Walk, scope: Scope) -> dict[str, object]:
    """The declared outputs; ValueError when one is not what it is declared to be."""
    out = {}
    for name, (template, form) in walk.plan.outputs.items():
        out[name] = template.render(walk.variables(scope))
        check_type(f"the output {name!r}", out[name], form.type)
    return out


async def _backward(walk: Walk) -> None:
    run, history = walk.run, walk.history
    failed: Status = run.status
    if not history.decided("!compensating"):
        history.note("compensating", "", {"status": run.status, "error": run.error})
    run.status = "compensating"  # before anything is awaited: nobody may take the run for finished yet
    await history.flush()
    for place in list(walk.mailboxes):
        walk.close(place)
    scope = await _look_back(walk) if history.resumed else Scope({})
    if not scope.results and walk.completed:
        scope = walk.completed[-1].scope
    undone = await undo_all(walk, scope)
    run.status = failed
    if undone is False:
        run.status = "compensation_failed"
    elif undone and failed == "failed":
        run.status = "compensated"


async def _look_back(walk: Walk) -> Scope:
    """Find from the records which steps were completed: the run is interpreted once more, and nothing performed."""
    before = list(walk.run.steps)
    error = walk.run.error
    scope = Scope({}, frozen=True)
    try:
        scope = begin(walk, frozen=True)
        await WORKFLOWS[walk.plan.type](walk, scope)
    except (Unrecorded, Doubled):
        raise
    except (Frontier, StepFailed):
        pass
    except Exception as failure:
        log.debug("looking back on run %s ended in %r", walk.run.id, failure)
    if before and any(record.status != "pending" for record in before):
        walk.run.steps[:] = before
    walk.run.error = error
    return scope
