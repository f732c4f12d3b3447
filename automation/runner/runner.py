"""Carries runs out: steps in order, each with condition, time limit and retries; undoes what a failed run did."""

from __future__ import annotations

import copy
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import trio
from pydantic import ValidationError

from automation.actions import ActionContext, Equipment, Executor, Performer, build_action
from automation.bus import Bus
from automation.errors import CallerError, TimedOut, VexError, WorldError
from automation.events import SemanticEvent
from automation.runner.ledger import Kind, Ledger, MemoryLedger, NewRun, Record
from automation.runner.plan import Plan, PlannedStep, delay_before
from automation.runner.record import Run, StepRecord
from automation.templates import Template
from automation.triggers.firing import Firing
from automation.triggers.firing_records import firing_record
from automation.triggers.on_pattern import match_facts

log: Final = logging.getLogger(__name__)

UNDO_SECONDS: Final = 30.0
_OUTCOMES: Final = ("succeeded", "failed", "compensated", "cancelled")


class Runner:
    """Every run is a task of one nursery. Keeps the last `history` finished runs for reading.

    A firing starts exactly one run: the same identity again gives the run that is there. A cancelled or failed run is
    compensated in at most 30 s: what its steps name as `compensate`, last step first, then `compensation_steps`.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        equipment: Equipment,
        executor: Executor | None = None,
        started_ns: int,
        history: int = 1000,
        dice: random.Random | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.counts: Final[Counter[tuple[str, str]]] = Counter()  # (workflow, status) of finished runs
        self.active: Final[dict[str, Run]] = {}
        self.on_finished: Callable[[Run], None] = lambda run: None
        self._bus: Final = bus
        self._equipment: Final = equipment
        self._executor: Final[Executor] = executor or Performer()
        self._started_ns: Final = started_ns
        self._history: Final = history
        self._ledger: Final[Ledger] = ledger or MemoryLedger(history)
        self._dice: Final = dice or random.Random()
        self._runs: Final[dict[str, Run]] = {}
        self._finished: Final[deque[str]] = deque()
        self._scopes: Final[dict[str, trio.CancelScope]] = {}
        self._stop_reasons: Final[dict[str, str]] = {}
        self._nursery: trio.Nursery | None = None
        self._idle = trio.Event()

    @property
    def runs(self) -> Mapping[str, Run]:
        """All runs by identity: those under way and the last finished ones, oldest first."""
        return MappingProxyType(self._runs)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def start(self, plan: Plan, firing: Firing) -> Run:
        """Begin the run of a firing, or find the one that it began before."""
        run_id = firing.run_id(self._started_ns)
        known = self._runs.get(run_id)
        if known is not None:
            return known
        if self._nursery is None:
            raise CallerError("the automations are not running")
        steps = [StepRecord(step.name, step.kind) for step in plan.steps]
        run = Run(run_id, plan.name, firing, dict(firing.input), steps)
        run.match = None if firing.match is None else match_facts(firing.match)
        self._runs[run_id] = self.active[run_id] = run
        self._scopes[run_id] = trio.CancelScope()
        self._nursery.start_soon(self._whole_run, plan, run, name=f"run {run_id} of {plan.name}")
        return run

    def cancel(self, run_id: str, reason: str = "cancelled by hand") -> Run:
        """Ask a run to stop; CallerError when there is none under that identity or it has ended."""
        run = self._runs.get(run_id)
        if run is None:
            raise CallerError(f"there is no run {run_id}")
        if run.finished:
            raise CallerError(f"the run {run_id} has {run.status} already")
        self._stop_reasons.setdefault(run_id, reason)
        self._scopes[run_id].cancel()
        return run

    async def shutdown(self, grace: float) -> None:
        """Give the runs under way `grace` seconds, then cancel them and wait for their compensation."""
        with trio.move_on_after(grace):
            await self._wait_idle()
        for run_id in list(self.active):
            self.cancel(run_id, "VexFS stops")
        with trio.move_on_after(UNDO_SECONDS + 5):
            await self._wait_idle()

    async def _wait_idle(self) -> None:
        while self.active:
            self._idle = trio.Event()
            await self._idle.wait()

    async def _whole_run(self, plan: Plan, run: Run) -> None:
        run.status, run.started_ns = "running", time.time_ns()
        self._publish(run, "workflow.started", {"trigger": run.trigger})
        try:
            new = NewRun(
                run.id,
                run.workflow,
                plan.digest,
                plan.definition,
                firing_record(run.firing),
                run.firing.key,
                run.started_ns,
                plan.priority,
                plan.tenant,
            )
            await self._ledger.create(new)
            await self._steps(plan, run)
            await self._note(run, "finished", "", {"status": run.status, "output": run.output, "error": run.error})
        except Exception as error:
            log.exception("run %s of %s met a bug", run.id, run.workflow)
            run.status, run.error = "failed", f"internal error: {error!r}"
        finally:
            self._finish(run)

    async def _steps(self, plan: Plan, run: Run) -> None:
        scope = self._scopes[run.id]
        if plan.timeout is not None:
            scope.deadline = trio.current_time() + plan.timeout
        failed = False
        with scope:
            failed = not self._begin(plan, run)
            for step, record in zip(plan.steps, run.steps, strict=True):
                if failed or not await self._step(plan, run, step, record):
                    failed = True
                    break
        if scope.cancelled_caught:
            self._interrupted(plan, run)
        elif not failed:
            run.status = "succeeded"
            return
        await self._undo(plan, run)

    def _begin(self, plan: Plan, run: Run) -> bool:
        """Work out the variables of the run; whether it can go on."""
        run.vars = plan.vars
        try:
            run.vars = {**plan.vars, **plan.let.render(self._variables(run))}
        except ValueError as error:
            run.status, run.error = "failed", f"let: {error}"
        return not run.error

    def _interrupted(self, plan: Plan, run: Run) -> None:
        reason = self._stop_reasons.get(run.id)
        run.error = reason or f"the workflow took longer than {plan.timeout:g} s"
        for record in run.steps:
            if record.status == "running":
                record.status, record.error, record.ended_ns = "failed", run.error, time.time_ns()
        run.status = "cancelled" if reason else "failed"

    async def _step(self, plan: Plan, run: Run, step: PlannedStep, record: StepRecord) -> bool:
        """Whether the run goes on."""
        record.started_ns = time.time_ns()
        record.status = "running"
        try:
            if step.when is not None and step.when(self._variables(run)) is not True:
                record.status, record.ended_ns = "skipped", time.time_ns()
                run.results[step.name] = None
                return True
            record.result = run.output = await self._attempts(plan, run, step, record)
            record.status = "succeeded"
        except Exception as error:
            record.status, record.error = "failed", _sentence(error)
        record.ended_ns = time.time_ns()
        failed = record.status == "failed"
        run.results[step.name] = {"error": record.error} if failed else record.result
        if failed and not step.continues:
            run.status, run.error = "failed", f"{step.name}: {record.error}"
        ended = {"status": record.status, "result": record.result, "error": record.error}
        await self._note(run, "ended", step.name, ended)
        self._publish(run, "workflow.step", _step_attrs(record))
        return not failed or step.continues

    async def _attempts(self, plan: Plan, run: Run, step: PlannedStep, record: StepRecord) -> Any:
        while True:
            record.attempts += 1
            key = f"{run.id}:{step.name}"
            await self._note(run, "started", step.name, {"action": step.kind, "attempt": record.attempts, "key": key})
            try:
                with trio.fail_after(step.timeout):
                    return await self._perform(plan, run, step.action)
            except trio.TooSlowError:
                error: VexError = TimedOut(f"took longer than {step.timeout:g} s")
            except WorldError as failure:
                error = failure
            if record.attempts >= step.retry.attempts:
                raise error
            record.error = f"attempt {record.attempts}: {error}"
            await trio.sleep(delay_before(step.retry, record.attempts + 1, self._dice))
            record.error = ""

    async def _note(self, run: Run, kind: Kind, place: str, data: dict[str, Any]) -> None:
        await self._ledger.append(run.id, [Record(kind, place, time.time_ns(), data)])

    async def _perform(self, plan: Plan, run: Run, template: Template) -> Any:
        variables = self._variables(run)
        action = build_action(template.render(variables))
        context = ActionContext(
            equipment=self._equipment,
            cause=run.cause,
            variables=variables,
            executor=self._executor,
            key=run.id,
        )
        return await context.effect(action)

    async def _undo(self, plan: Plan, run: Run) -> None:
        """Compensate; the run is `compensated` when it failed and all that there was to undo is undone."""
        if not plan.undoes:
            return
        undone, before = True, len(run.steps)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + UNDO_SECONDS) as scope:
            done = [step for step, record in zip(plan.steps, run.steps, strict=True) if record.status == "succeeded"]
            for step in reversed(done):
                for template in step.compensate:
                    undone &= await self._undo_one(plan, run, f"undo {step.name}", template)
            for step in plan.compensation:
                undone &= await self._undo_one(plan, run, step.name, step.action, step)
        if scope.cancelled_caught:
            undone, run.error = False, f"{run.error}; its compensation took longer than {UNDO_SECONDS:g} s"
        if run.status == "failed" and undone and any(r.status == "compensated" for r in run.steps[before:]):
            run.status = "compensated"

    async def _undo_one(
        self, plan: Plan, run: Run, name: str, template: Template, step: PlannedStep | None = None
    ) -> bool:
        record = StepRecord(name, str(template.source.get("type", "")), "running", 1, time.time_ns())
        run.steps.append(record)
        try:
            if step is not None and step.when is not None and step.when(self._variables(run)) is not True:
                record.status = "skipped"
                return True
            record.result = await self._perform(plan, run, template)
            record.status = "compensated"
        except Exception as error:
            record.status, record.error = "failed", _sentence(error)
            run.error = f"{run.error}; {name} failed too: {record.error}"
        finally:
            record.ended_ns = time.time_ns()
        self._publish(run, "workflow.step", _step_attrs(record))
        return record.status != "failed"

    def _variables(self, run: Run) -> dict[str, Any]:
        return {
            "event": run.event,
            "steps": dict(run.results),
            "state": copy.copy(self._equipment.state.view()),
            "vars": run.vars,
            "input": dict(run.input),
            "run": run.facts() | {"error": run.error},
            "match": run.match,
        }

    def _finish(self, run: Run) -> None:
        run.ended_ns = time.time_ns()
        if run.status not in _OUTCOMES:  # the whole service is being cancelled
            run.status, run.error = "cancelled", run.error or "VexFS stops"
        self.counts[run.workflow, run.status] += 1
        del self.active[run.id], self._scopes[run.id]
        self._stop_reasons.pop(run.id, None)
        run.results, run.vars = {}, {}
        attrs = {"ms": round((run.ended_ns - run.started_ns) / 1e6, 3)} | ({"error": run.error} if run.error else {})
        self._publish(run, f"workflow.{run.status}", attrs)
        self._finished.append(run.id)
        if len(self._finished) > self._history:
            del self._runs[self._finished.popleft()]
        if not self.active:
            self._idle.set()
        self.on_finished(run)

    def _publish(self, run: Run, type_name: str, attrs: dict[str, Any]) -> None:
        path = run.firing.event.dest or run.firing.event.path
        attrs = {"workflow": run.workflow, "run": run.id, **attrs}
        self._bus.publish(SemanticEvent(type_name, path, cause=run.cause, attrs=attrs))


def _step_attrs(record: StepRecord) -> dict[str, Any]:
    attrs: dict[str, Any] = {"step": record.name, "action": record.action, "status": record.status}
    if record.attempts > 1:
        attrs["attempts"] = record.attempts
    return attrs | ({"error": record.error} if record.error else {})


def _sentence(error: Exception) -> str:
    """What went wrong, for a person; a bug of ours goes to the log with its traceback."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    if isinstance(error, VexError | ValueError):
        return str(error)
    if isinstance(error, ExceptionGroup):
        return _sentence(error.exceptions[0])
    log.error("an action met a bug", exc_info=error)
    return f"internal error: {error!r}"
