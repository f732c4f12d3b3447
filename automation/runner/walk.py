"""The interpretation of one run: what every kind of step shares.

A step's execution has a place. What is recorded at a place stands: its end is recalled, a decision is not taken again.
In a frozen scope nothing is performed: it serves to find out, from the records alone, which steps were completed.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from automation.actions import ActionContext, Equipment, Executor
from automation.errors import TimedOut
from automation.events import SemanticEvent
from automation.facts import event_facts
from automation.runner.awaited import Ear, Listening, Mailroom
from automation.runner.brief import brief
from automation.runner.history import Doubled, History, Unrecorded
from automation.runner.mailbox import Mailbox
from automation.runner.plan import Plan, PlannedStep
from automation.runner.prepared import prepare
from automation.runner.record import Run, StepRecord
from automation.runner.retry import ConditionFailed, class_of
from automation.runner.scope import SKIPPED, Frontier, Scope, StepFailed
from automation.runner.sentences import sentence
from automation.targets import Automation

if TYPE_CHECKING:
    from automation.expressions import Expression
    from automation.rounds import Paced, Rounds
    from automation.runner.gate import Gate, Ticket
    from automation.runner.pacing import Timers, Waiting
    from automation.runner.subworkflow import Calls
    from automation.templates import Template

T = TypeVar("T")
CONTROL: Final = (Frontier, Unrecorded, Doubled)
"""What ends an interpretation and is no failure of a step."""


@dataclass(frozen=True, slots=True)
class Means:
    """What all runs of one mount work with."""

    equipment: Equipment
    executor: Executor
    dry: Executor
    publish: Callable[[SemanticEvent], None]
    timers: Timers
    turns: Rounds | Paced
    waiting: Waiting
    mailroom: Mailroom
    gate: Gate
    clock: Callable[[], int]
    dice: random.Random
    calls: Calls
    mailed: Callable[[History], None]
    automation: Automation
    step_inputs: int  # characters of a step's input that are kept
    learnt: Callable[[str, str], float | None]  # the backoff of a workflow's step, where it is adapted
    begun: Callable[[Run], None]  # the first action of a run is about to be performed
    perform: Callable[[Walk, PlannedStep, str, Scope, StepRecord], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Completed:
    """A step that can be undone; `number` is its place in the order of completion. Of one that `failed` only what it
    had done by then is taken back.
    """

    number: int
    place: str
    step: PlannedStep
    scope: Scope
    undo: Any
    failed: bool = False


class Walk:
    """One run under way. `busy` counts its branches that are not waiting; when none is, others may have its room."""

    __slots__ = (
        "_facts",
        "busy",
        "cause",
        "completed",
        "fresh",
        "given",
        "history",
        "mailboxes",
        "means",
        "plan",
        "run",
        "ticket",
        "undo",
        "vars",
    )

    def __init__(self, means: Means, plan: Plan, run: Run, history: History, ticket: Ticket | None) -> None:
        self.means: Final = means
        self.plan: Final = plan
        self.run: Final = run
        self.history: Final = history
        self.ticket: Final = ticket
        self.cause: Final = run.cause
        self.vars: dict[str, Any] = plan.vars
        self._facts: dict[str, Any] | None = None
        self.fresh = not history.resumed
        self.completed: list[Completed] = []
        self.given: Final[dict[str, Any]] = {}
        self.undo: Final[dict[str, Any]] = {}
        self.mailboxes: Final[dict[str, Mailbox]] = {}
        self.busy = 1

    # What expressions see

    def variables(self, scope: Scope, **more: Any) -> dict[str, Any]:
        """Everything that an expression at this place may read; for use before the next await."""
        if self._facts is None:
            self._facts = self.run.event
        return {
            "event": self._facts if scope.event is None else event_facts(scope.event),
            "steps": scope.results,
            "state": self.means.equipment.state.view(),
            "vars": {**self.vars, **scope.vars} if scope.vars else self.vars,
            "input": self.run.input,
            "run": self.run.facts(),
            "match": self.run.match,
            **scope.extra,
            **more,
        }

    def decide(self, place: str, scope: Scope, make: Callable[[], Any]) -> Any:
        """What was decided at a place, or is now; in a frozen scope only the former."""
        if scope.frozen and not self.history.decided(place):
            raise Frontier
        return self.history.decide(place, make)

    def holds(self, condition: Expression, place: str, scope: Scope, **more: Any) -> bool:
        """Whether a condition holds, by decision."""
        return self.decide(place, scope, lambda: condition(self.variables(scope, **more)) is True) is True

    # Steps

    async def step(
        self, step: PlannedStep, prefix: str, scope: Scope, holder: StepRecord | None = None, suffix: str = ""
    ) -> tuple[Any, str | None]:
        """Carry a step out: its result (SKIPPED when there is none) and the step to go on with, if not the next.

        StepFailed when it failed for good and nothing handles that.
        """
        place = f"{prefix}{step.segment}{suffix}"
        record = self._record(step, place, holder)
        record.started_ns, record.status = self.means.clock(), "running"
        try:
            result = await self._judged(step, place, scope, record)
        except CONTROL:
            raise
        except StepFailed as failure:
            return await self._failed(step, place, scope, record, failure)
        except Exception as error:
            said = sentence(error)
            return await self._failed(step, place, scope, record, StepFailed(step.name, said, class_of(error)))
        except BaseException:  # cancelled by a failure beside it, by a time limit, or with the whole run
            record.status, record.error, record.ended_ns = "failed", "cancelled", self.means.clock()
            raise
        record.ended_ns = self.means.clock()
        if result is SKIPPED:
            record.status = "skipped"
            for inner in step.every():
                scope.results[inner.name] = None
        elif record.status == "running":
            record.status = "succeeded"
            record.result = result
            self.tell(record)
        return result, None

    async def _judged(self, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> Any:
        """The step's result, between its conditions."""
        if step.when is not None and not self.holds(step.when, f"{place}!when", scope):
            return SKIPPED
        if step.pre is not None and not self.holds(step.pre, f"{place}!pre", scope):
            raise ConditionFailed(f"the precondition {step.pre.source!r} does not hold")
        result = await self.means.perform(self, step, place, scope, record)
        scope.results[step.name] = result
        if step.compensate or step.undoes_itself:
            self._remember(step, place, scope)
        return result

    def require(self, step: PlannedStep, place: str, scope: Scope, result: Any) -> None:
        """ConditionFailed when the postcondition does not hold with this result."""
        if step.post is None:
            return
        seen = scope.with_result(step.name, result)
        if not self.holds(step.post, place, seen, result=result):
            raise ConditionFailed(f"the postcondition {step.post.source!r} does not hold")

    async def _failed(
        self, step: PlannedStep, place: str, scope: Scope, record: StepRecord, failure: StepFailed
    ) -> tuple[Any, str | None]:
        record.status, record.error, record.ended_ns = "failed", failure.reason(step.name), self.means.clock()
        self.tell(record)
        scope.results[step.name] = {"error": record.error, "class": failure.kind}
        if step.undoes_itself:
            self._remember(step, place, scope, failed=True)
        if not step.continues:
            raise failure
        if step.handler:
            await self.sequence(step.handler, f"{place}!error.", scope, record)
        return SKIPPED, step.goto

    async def sequence(
        self, steps: tuple[PlannedStep, ...], prefix: str, scope: Scope, holder: StepRecord | None
    ) -> Any:
        """Steps one after the other; the last result."""
        last, i = None, 0
        while i < len(steps):
            result, goto = await self.step(steps[i], prefix, scope, holder)
            if result is not SKIPPED:
                last = result
            i = i + 1 if goto is None else next(n for n, step in enumerate(steps) if step.name == goto)
        return last

    def recall(self, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> tuple[bool, Any]:
        """Whether the execution at a place has ended before, and its result; StepFailed when it failed then. Frontier
        in a frozen scope when it has not.
        """
        end = self.history.end(place)
        if end is None:
            if scope.frozen:
                raise Frontier
            return False, None
        _, data = end
        record.attempts = data.get("attempts", 1)
        if data["status"] == "failed":
            raise StepFailed(step.name, data.get("error", ""), data.get("class", "internal"))
        return True, data.get("result")

    def note_end(self, step: PlannedStep, place: str, result: Any, attempts: int = 1) -> None:
        """Record that the execution at a place succeeded, and how its effects are undone if that may be asked for."""
        data = {"status": "succeeded", "result": result, "attempts": attempts}
        if not step.undoes_itself:
            self.undo.pop(place, None)
        elif place in self.undo:
            data["undo"] = self.undo[place]
        self._note_given(place, data)
        self.history.note("ended", place, data)

    def note_failure(self, step: PlannedStep, place: str, error: Exception, attempts: int = 1) -> StepFailed:
        """Record that the execution at a place failed for good; the failure to raise."""
        failure = StepFailed(step.name, sentence(error), class_of(error))
        data = {"status": "failed", "error": failure.text, "class": failure.kind, "attempts": attempts}
        if step.undoes_itself and place in self.undo:
            data["undo"] = self.undo[place]
        self._note_given(place, data)
        self.history.note("ended", place, data)
        return failure

    def _note_given(self, place: str, data: dict[str, Any]) -> None:
        """What the action was given, for people."""
        given = self.given.pop(place, None)
        if given:
            data["input"] = given

    def _remember(self, step: PlannedStep, place: str, scope: Scope, *, failed: bool = False) -> None:
        end = self.history.end(place)
        if end is not None:
            number, undo = end[0], end[1].get("undo")
        else:
            number, undo = self.history.latest(f"{place}."), self.undo.pop(place, None)
        if undo or not failed:
            self.completed.append(Completed(number, place, step, scope, undo, failed))

    def _record(self, step: PlannedStep, place: str, holder: StepRecord | None) -> StepRecord:
        if holder is None:
            for record in self.run.steps:
                if record.name == step.name and record.status == "pending":
                    record.place = place
                    return record
        record = StepRecord(step.name, step.kind, place=place)
        if holder is not None:
            holder.within(record)
        else:
            self.run.add(record)
        return record

    # Effects and waits

    def _snapshot(self, scope: Scope) -> dict[str, Any]:
        """`variables` that stay as they are while others go on."""
        variables = self.variables(scope)
        variables["steps"], variables["state"] = dict(scope.results), copy.copy(variables["state"])
        return variables

    async def act(self, template: Template, place: str, scope: Scope, record: StepRecord) -> Any:
        """Render an action and do it."""
        prepared = prepare(template, lambda: self._snapshot(scope))
        given = self.means.equipment.secrets.redact(prepared.given)  # first: half a secret would not be known again
        record.input = self.given[place] = brief(given, self.means.step_inputs)
        dry = self.plan.dry_run
        executor = self.means.dry if dry else self.means.executor
        context = ActionContext(
            equipment=self.means.equipment,
            cause=self.cause,
            variables=prepared.variables,
            executor=executor,
            key=f"{self.run.id}:{place}",
            progress=lambda done, total: setattr(record, "progress", (done, total)),
            workflows=self.means.calls.of(self, place, record.attempts),
        )
        try:
            return await executor.perform(prepared.action, context)
        finally:
            if context.undo:  # also what an attempt had done before it failed
                self.undo[place] = [*self.undo.get(place, ()), *context.undo]

    def mailbox(self, place: str) -> Mailbox:
        """The mailbox of a wait; without a place that of the whole run."""
        found = self.mailboxes.get(place)
        if found is None:
            mailed = self.means.mailed
            found = self.mailboxes[place] = Mailbox(self.history, place, lambda: mailed(self.history), self._miss)
        return found

    def _miss(self) -> None:
        self.run.missed += 1

    def listen(self, listening: Listening, place: str, scope: Scope) -> None:
        """Let a mailbox get the events that a filter lets pass, until it is closed."""
        mailbox = self.mailbox(place)
        own = listening.own

        def take(event: SemanticEvent) -> None:
            if own or event.cause is None or event.cause.run != self.run.id:
                mailbox.put(event)

        ear = Ear(listening, listening.matcher(lambda: self.variables(scope)), take)
        mailbox.ears.append(ear)
        self.means.mailroom.add(ear)

    def close(self, place: str) -> None:
        """Let a mailbox get nothing more, and forget it."""
        mailbox = self.mailboxes.pop(place, None)
        for ear in mailbox.ears if mailbox is not None else ():
            self.means.mailroom.remove(ear)

    async def rest(self, sleep: Callable[[], Awaitable[T]], record: StepRecord | None = None) -> T:
        """Wait for something outside; meanwhile others may have the room of this run."""
        self.busy -= 1
        self.lull()
        if record is not None:
            record.status = "waiting"
        rested = False
        try:
            value = await sleep()
            rested = True
            return value
        finally:
            self.busy += 1
            if self.busy == 1:
                await self._return(rested)
            if record is not None:
                record.status = "running"

    def lull(self) -> None:
        """When no branch is busy any more, let others have the room."""
        if not self.busy:
            self.run.status = "waiting"
            self.means.waiting.more()
            self.means.gate.leave(self.ticket)

    async def _return(self, rested: bool) -> None:
        self.means.waiting.fewer()
        if not rested:  # cancelled: what must be undone waits for no room
            self.means.gate.force(self.ticket)
        else:
            await self.means.gate.enter(self.ticket)
            await self.means.turns.take()
        self.run.status = "running"

    async def limited(
        self, step: PlannedStep, place: str, scope: Scope, perform: Callable[[Scope], Awaitable[Any]]
    ) -> Any:
        """What a group of steps results in, if that takes no longer than its `timeout`; TimedOut otherwise."""
        assert step.timeout is not None
        late = TimedOut(f"took longer than {step.timeout:g} s")
        if self.history.decided(f"{place}!late"):
            with contextlib.suppress(Frontier, StepFailed):
                await perform(scope.as_frozen())
            raise late
        seconds = step.timeout
        wake = self.decide(f"{place}!timeout", scope, lambda: self.means.clock() + round(seconds * 1e9))
        with trio.CancelScope() as limit:
            timer = self.means.timers.set(wake, limit.cancel)
            try:
                return await perform(scope)
            finally:
                timer.cancel()
        self.history.decide(f"{place}!late", lambda: True)
        raise late

    def tell(self, record: StepRecord) -> None:
        """Publish that a step ended."""
        attrs: dict[str, Any] = {"step": record.name, "action": record.action, "status": record.status}
        if record.place != record.name:
            attrs["place"] = record.place
        if record.attempts > 1:
            attrs["attempts"] = record.attempts
        self.publish("workflow.step", attrs | ({"error": record.error} if record.error else {}))

    def publish(self, type_name: str, attrs: Mapping[str, Any]) -> None:
        """An event about this run."""
        event = self.run.firing.event
        about = {"workflow": self.run.workflow, "run": self.run.id, **attrs}
        if self.plan.dry_run or self.means.executor.dry:
            about["dry_run"] = True
        who: dict[str, Any] = {"uid": event.uid, "gid": event.gid, "pid": event.pid, "comm": event.comm}
        self.means.publish(SemanticEvent(type_name, event.dest or event.path, cause=self.cause, attrs=about, **who))
