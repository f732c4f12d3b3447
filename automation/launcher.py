"""From firings to runs: each workflow's own admission first, then the bound of all."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

import trio

from automation.admission import Admission, Decision
from automation.announcements import Announcements
from automation.definitions import Concurrency, Workflow
from automation.memory.clock import SteadyClock
from automation.runner import Plan, Run, Runner
from automation.state import State
from automation.triggers.firing import Firing
from automation.triggers.join import Joint

MANUAL: Final = -1
_PRIORITY: Final = {"critical": 0, "high": 1, "normal": 2, "low": 3}


class Launcher:
    """At most `max_runs` runs that events and schedules brought about go on at once; further ones wait by the priority
    of their workflow, then by age. How many may wait is bounded by each workflow's own queue. Runs by hand pass by.

    `on_fired` is told of a firing that is to have its run, `on_settled` when that has ended or there shall be none,
    `on_removed(workflow, key)` that those which wait (all, or those of a key) shall have none. Muted it starts nothing.
    """

    def __init__(
        self,
        runner: Runner,
        announcements: Announcements,
        state: State,
        max_runs: int,
        clock: SteadyClock | None = None,
    ) -> None:
        self.room: Final = trio.lowlevel.ParkingLot()  # woken whenever a run ends
        self.on_fired: Callable[[Firing], None] = lambda firing: None
        self.on_settled: Callable[[Firing], None] = lambda firing: None
        self.on_removed: Callable[[str, str | None], None] = lambda workflow, key: None
        self.muted = False
        self._runner: Final = runner
        self._announcements: Final = announcements
        self._state: Final = state
        self._clock: Final = clock or SteadyClock()
        self._joints: Final[dict[str, Joint]] = {}
        self._max_runs: Final = max_runs
        self._plans: Final[dict[str, tuple[Plan, int]]] = {}
        self._admissions: Final[dict[str, Admission]] = {}
        self._late: Final[list[tuple[int, int, Firing]]] = []
        self._tie: Final = itertools.count()
        runner.on_finished = self._finished

    def install(self, workflow: Workflow) -> None:
        """Use this version of a workflow for whatever starts from now on."""
        self.install_plan(Plan.of(workflow), workflow.concurrency, _PRIORITY[workflow.priority])
        joint = self._joints.get(workflow.name)
        if workflow.join is None:
            self._joints.pop(workflow.name, None)
        elif joint is None or (joint.form, joint.triggers) != (workflow.join, len(workflow.triggers)):
            self._joints[workflow.name] = Joint(workflow.join, len(workflow.triggers), self._state.view)

    def install_plan(self, plan: Plan, concurrency: Concurrency, priority: int = _PRIORITY["normal"]) -> None:
        """`install` for what is no workflow; its firings may bring their own actions."""
        self._plans[plan.name] = (plan, priority)
        self._admissions.setdefault(plan.name, Admission(concurrency)).form = concurrency

    def knows(self, name: str) -> bool:
        """Whether a workflow of that name is installed."""
        return name in self._plans

    def remove(self, name: str) -> int:
        """Start no run of a workflow any more; how many firings waited for one."""
        self._plans.pop(name, None)
        self._joints.pop(name, None)
        self.on_removed(name, None)
        admission = self._admissions.get(name)
        if admission is None:
            return 0
        forgotten = admission.clear()
        if admission.running == 0:
            del self._admissions[name]
        return forgotten

    @property
    def active(self) -> Mapping[str, Run]:
        """The runs that go on, by identity."""
        return self._runner.active

    def waiting(self, name: str = "") -> int:
        """How many firings of a workflow wait, without a name those of all."""
        if name:
            admission = self._admissions.get(name)
            return 0 if admission is None else admission.waiting
        return sum(admission.waiting for admission in self._admissions.values()) + len(self._late)

    def status(self, name: str) -> dict[str, Any]:
        """Plain numbers about a workflow."""
        admission = self._admissions[name]
        out: dict[str, Any] = {"running": admission.running, "waiting": admission.waiting}
        if name in self._joints:
            out["join"] = self._joints[name].status()
        return out | ({"dropped": dict(admission.dropped)} if admission.dropped else {})

    def admit(self, firing: Firing, at: float | None = None) -> None:
        """Start a firing's run now or later, or let it be, as its workflow says. `at` is when it fired, by the steady
        clock, if that was in an earlier life.
        """
        admission = self._admissions.get(firing.workflow)
        if admission is None or firing.workflow not in self._plans or self.muted:
            return  # removed in the same breath
        joint = self._joints.get(firing.workflow)
        if joint is not None and firing.kind != "join":
            joined = joint.offer(firing, self._clock.now() if at is None else at)
            self.on_fired(firing)
            for one in joint.given_up():
                self.on_settled(one)
            if joined is None:
                return  # waits for the other triggers
            firing = joined
        decision = admission.offer(firing)
        if admission.form.policy == "restart" and decision is not Decision.START:
            self.on_removed(firing.workflow, firing.key)  # it takes the place of those that have not begun
        if decision not in (Decision.DROP, Decision.FULL):
            self.on_fired(firing)
        if decision is Decision.START:
            self._start(firing)
        elif decision is Decision.RESTART:
            self._cancel_present(firing)
        elif decision is Decision.FULL:
            attrs = {"reason": "queue", "workflow": firing.workflow, "waiting": admission.waiting}
            self._announcements.overload(f"queue {firing.workflow}", firing.event.path, attrs)

    def start_by_hand(self, firing: Firing) -> Run:
        """Start a run past all queues."""
        return self._runner.start(self._plans[firing.workflow][0], firing)

    def _cancel_present(self, firing: Firing) -> None:
        for run in list(self._runner.active.values()):
            if run.workflow == firing.workflow and run.firing.key == firing.key and run.firing.trigger != MANUAL:
                self._runner.cancel(run.id, "a newer event restarts it")

    def _start(self, firing: Firing) -> None:
        """Start an admitted firing, or let it wait for its turn among all workflows."""
        plan, priority = self._plans.get(firing.workflow, (None, 0))
        if plan is None:
            self._next(firing)
        elif len(self._runner.active) >= self._max_runs:
            heapq.heappush(self._late, (priority, next(self._tie), firing))
        else:
            run = self._runner.start(plan.doing(firing.actions) if firing.actions else plan, firing)
            if run.firing is not firing:  # it has had its run before
                if run.finished:
                    self.on_settled(firing)
                self._next(firing)

    def _finished(self, run: Run) -> None:
        self.on_settled(run.firing)
        if run.firing.trigger != MANUAL:
            self._next(run.firing)
        while self._late and len(self._runner.active) < self._max_runs:
            self._start(heapq.heappop(self._late)[2])
        self.room.unpark_all()

    def _next(self, firing: Firing) -> None:
        admission = self._admissions.get(firing.workflow)
        if admission is None:
            return
        for following in admission.finished(firing.key):
            self._start(following)
        if firing.workflow not in self._plans and admission.running == 0:
            self._admissions.pop(firing.workflow, None)
