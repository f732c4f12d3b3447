"""Runs that a step of another run starts: the child's result is the step's, its failure too, cancelling goes down."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from automation.errors import BulkheadFull, CallerError
from automation.events import SemanticEvent
from automation.runner.gate import FULL
from automation.runner.plan import Plan
from automation.runner.record import Run
from automation.runner.retry import WorkflowFailed
from automation.triggers.firing import Firing

if TYPE_CHECKING:
    from automation.runner.walk import Walk

CHILD: Final = -2  # the number of the trigger that a parent is


class Starter(Protocol):
    """What the runner offers."""

    def start_child(self, plan: Plan, firing: Firing, run_id: str, parent: tuple[str, str] | None) -> Run | None:
        """Begin a run under this identity, or find the one that it began before; None when it ended long ago."""
        ...

    async def ended(self, run_id: str) -> Mapping[str, Any]:
        """Wait for the end of a run: the data of its last record."""
        ...

    def cancel(self, run_id: str, reason: str) -> Run:
        """Ask it to stop."""
        ...


class Calls:
    """How steps start runs. `find` gives the plan of an active workflow, `rule` that of a rule's actions; each raises
    CallerError when there is none. A chain of runs stops at `depth_limit`.
    """

    def __init__(self, starter: Starter, depth_limit: int) -> None:
        self.find: Callable[[str], Plan] = _unknown
        self.rule: Callable[[str], Plan] = _unknown
        self.depth_limit = depth_limit
        self._starter: Final = starter

    def of(self, walk: Walk, place: str, attempt: int) -> Call:
        """The calls of one attempt of a step."""
        return Call(self, self._starter, walk, place, attempt)


def _unknown(name: str) -> Plan:
    raise CallerError(f"there is no workflow called {name!r}")


class Call:
    """Implements `automation.actions.context.Workflows` for one attempt of a step; another attempt is another child."""

    __slots__ = ("_attempt", "_calls", "_number", "_place", "_starter", "_walk")

    def __init__(self, calls: Calls, starter: Starter, walk: Walk, place: str, attempt: int) -> None:
        self._calls: Final = calls
        self._starter: Final = starter
        self._walk: Final = walk
        self._place: Final = place
        self._attempt: Final = attempt
        self._number = 0  # a script may start several

    async def start(self, name: str, given: Mapping[str, Any], *, waits: bool) -> dict[str, Any]:
        """Run a workflow: `{run}`, and once it has ended well `status` and `output`; WorkflowFailed when not well."""
        return await self._start(self._calls.find(name), "workflow", given, waits=waits)

    async def rule(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out the actions of a rule, with its conditions left out."""
        return await self._start(self._calls.rule(name), "rule", given, waits=True)

    async def _start(self, plan: Plan, kind: str, given: Mapping[str, Any], *, waits: bool) -> dict[str, Any]:
        run = self._walk.run
        if run.cause.depth >= self._calls.depth_limit:
            raise WorkflowFailed(f"{plan.name} would be number {run.cause.depth + 1} in a chain of automations")
        origin = run.firing.event
        given_path = given.get("path")
        path = given_path.strip("/") if isinstance(given_path, str) else origin.dest or origin.path
        event = SemanticEvent("user.run", path, uid=origin.uid, cause=run.cause, attrs={"input": dict(given)})
        firing = Firing(plan.name, CHILD, kind, f"{run.id}:{self._place}", (event,), 1, dict(given))
        self._number += 1
        identity = f"{run.id}\0{self._place}\0{self._attempt}\0{self._number}"
        child_id = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        child = self._starter.start_child(plan, firing, child_id, (run.id, self._place) if waits else None)
        if not waits:
            return {"run": child_id}
        data = await self._outcome(child_id, child)
        if str(data.get("error", "")).startswith(FULL):
            raise BulkheadFull(f"{plan.name} found no room: {data['error']}")
        if data["status"] != "succeeded":
            raise WorkflowFailed(f"{plan.name} (run {child_id}) {_said(data['status'])}: {data.get('error', '')}")
        return {"run": child_id, "status": data["status"], "output": data.get("output")}

    async def _outcome(self, child_id: str, child: Run | None) -> Mapping[str, Any]:
        """What became of the child. When this step is cancelled, the child is first, with all that it did undone."""
        try:
            return await self._walk.rest(lambda: self._starter.ended(child_id))
        except trio.Cancelled:
            if child is not None and not child.finished and child.status not in ("compensating", "suspended"):
                self._starter.cancel(child_id, f"its parent {self._walk.run.id} is cancelled")
                with trio.CancelScope(shield=True):
                    await self._starter.ended(child_id)
            raise


def _said(status: str) -> str:
    return {"compensation_failed": "could not be undone", "compensated": "failed and was undone"}.get(status, status)
