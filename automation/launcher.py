"""From firings to runs: each workflow's own admission first, then the bound of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import trio

from automation.admission import Admission, Decision
from automation.announcements import Announcements
from automation.bulkheads import Bulkheads
from automation.definitions import Concurrency, RateLimit, Workflow
from automation.errors import CallerError
from automation.expressions import nearest
from automation.guards.buckets import Buckets
from automation.memory.clock import SteadyClock
from automation.runner import Plan, Run, Runner
from automation.runner.gate import Gate
from automation.runner.subworkflow import CHILD
from automation.state import State
from automation.triggers.firing import Firing
from automation.triggers.join import Joint
from automation.values import settle_input

MANUAL: Final = -1
_PASSING: Final = (MANUAL, CHILD)  # what no admission counts
_LONGEST: Final = 7 * 86400.0  # a rate lets nobody wait longer


class _Limiter:
    """The rate of a workflow: how long a firing waits for its turn, and whether it is dropped instead."""

    def __init__(self, form: RateLimit) -> None:
        self.form: Final = form
        count, seconds = form.rate
        self._buckets: Final = Buckets(count / seconds, form.burst, _LONGEST if form.exceeded == "wait" else 0.0)

    def take(self, key: str, now: float) -> tuple[float, bool]:
        wait, within = self._buckets.take(key if self.form.per == "key" else "", now)
        return wait, not within


class Launcher:
    """At most `max_runs` runs that events and schedules brought about go on at once, not counting those that wait for a
    time or an event; further ones wait by the priority of their workflow, in turn between tenants, then by age. How
    many may wait is bounded by each workflow's own queue and the bulkheads. Runs by hand pass by.

    `on_fired` is told of a firing that is to have its run, `on_ended` of a run that has ended, `on_settled` of a firing
    that shall have none, `on_removed(workflow, key)` that those which wait (all, or those of a key) shall have none.
    Muted it starts nothing; `refuses(priority)` says that a new firing is given up for the load, `given_up()` which
    priorities are.
    """

    def __init__(
        self,
        runner: Runner,
        announcements: Announcements,
        state: State,
        max_runs: int,
        bulkheads: Bulkheads | None = None,
        clock: SteadyClock | None = None,
    ) -> None:
        self.room: Final = trio.lowlevel.ParkingLot()  # woken whenever a run ends
        self.on_fired: Callable[[Firing], None] = lambda firing: None
        self.on_settled: Callable[[Firing], None] = lambda firing: None
        self.on_ended: Callable[[str], None] = lambda run: None
        self.on_removed: Callable[[str, str | None], None] = lambda workflow, key: None
        self.refuses: Callable[[str], bool] = lambda priority: False
        self.given_up: Callable[[], Collection[str]] = tuple
        self.muted = False
        self._runner: Final = runner
        self._announcements: Final = announcements
        self._state: Final = state
        self._clock: Final = clock or SteadyClock()
        self._joints: Final[dict[str, Joint]] = {}
        self._plans: Final[dict[str, Plan]] = {}
        self._names: Final[dict[str, str]] = {}  # by workflow_id
        self._admissions: Final[dict[str, Admission]] = {}
        self._limiters: Final[dict[str, _Limiter]] = {}
        self._delayed: Final[Counter[str]] = Counter()
        self.gate: Final = Gate(max_runs, bulkheads)
        runner.gate = self.gate
        runner.on_finished = self._finished
        runner.on_resumed = self._resumed
        runner.on_dropped = self._dropped
        runner.calls.find = self.plan

    def install(self, workflow: Workflow) -> None:
        """Use this version of a workflow for whatever starts from now on."""
        self.install_plan(Plan.of(workflow), workflow.concurrency)
        self._names[str(workflow.workflow_id)] = workflow.name
        limiter = self._limiters.get(workflow.name)
        if workflow.rate is None:
            self._limiters.pop(workflow.name, None)
        elif limiter is None or limiter.form != workflow.rate:
            self._limiters[workflow.name] = _Limiter(workflow.rate)
        joint = self._joints.get(workflow.name)
        if workflow.join is None:
            self._joints.pop(workflow.name, None)
        elif joint is None or (joint.form, joint.triggers) != (workflow.join, len(workflow.triggers)):
            self._joints[workflow.name] = Joint(workflow.join, len(workflow.triggers), self._state.view)

    def install_plan(self, plan: Plan, concurrency: Concurrency) -> None:
        """`install` for what is no workflow; its firings may bring their own actions."""
        self._plans[plan.name] = plan
        self._admissions.setdefault(plan.name, Admission(concurrency)).form = concurrency

    def priority(self, name: str) -> str:
        """That of a workflow; empty where none is installed."""
        plan = self._plans.get(name)
        return "" if plan is None else plan.priority

    def give_up(self, name: str) -> None:
        """Count a firing that a workflow shall have no run of, for the load."""
        if self.refuses(self._plans[name].priority):
            self._admissions[name].dropped["shed"] += 1

    def knows(self, name: str) -> bool:
        """Whether a workflow of that name is installed."""
        return name in self._plans

    def remove(self, name: str) -> int:
        """Start no run of a workflow any more; how many firings waited for one."""
        self._plans.pop(name, None)
        self._joints.pop(name, None)
        self._limiters.pop(name, None)
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

    def has_run(self, firing: Firing) -> bool:
        """Whether the run of a firing is known already, as one that goes on or has ended."""
        return self._runner.knows(firing)

    def waiting(self, name: str = "") -> int:
        """How many firings of a workflow wait, without a name those of all."""
        if name:
            admission = self._admissions.get(name)
            return (0 if admission is None else admission.waiting) + self._delayed[name]
        admitted = sum(admission.waiting for admission in self._admissions.values())
        return admitted + self._delayed.total() + self.gate.waiting

    def status(self, name: str) -> dict[str, Any]:
        """Plain numbers about a workflow."""
        admission = self._admissions[name]
        out: dict[str, Any] = {"running": admission.running, "waiting": admission.waiting}
        if self._delayed[name]:
            out["delayed"] = self._delayed[name]
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
        if at is None and self.refuses(self._plans[firing.workflow].priority):
            admission.dropped["shed"] += 1
            self.on_settled(firing)
            return
        joint = self._joints.get(firing.workflow)
        if joint is not None and firing.kind != "join":
            joined = joint.offer(firing, self._clock.now() if at is None else at)
            self.on_fired(firing)
            for one in joint.given_up():
                self.on_settled(one)
            if joined is None:
                return  # waits for the other triggers
            firing = joined
        if self._plans[firing.workflow].type == "event_driven":
            self.on_fired(firing)
            if self._runner.deliver(firing, lambda: self.on_settled(firing)):
                return
        limiter = self._limiters.get(firing.workflow)
        wait, dropped = limiter.take(firing.key, trio.current_time()) if limiter is not None else (0.0, False)
        if dropped:
            admission.dropped["rate"] += 1
            attrs = {"reason": "rate", "workflow": firing.workflow, "key": firing.key}
            self._announcements.overload(f"rate {firing.workflow}", firing.event.path, attrs)
            self.on_settled(firing)
        elif wait > 0:
            self.on_fired(firing)
            self._delayed[firing.workflow] += 1
            self._runner.after(wait, lambda: self._late(firing))
        else:
            self._offer(admission, firing)

    def _late(self, firing: Firing) -> None:
        """A firing's time has come, as the rate of its workflow has it."""
        self._delayed[firing.workflow] -= 1
        admission = self._admissions.get(firing.workflow)
        if admission is not None and firing.workflow in self._plans:
            self._offer(admission, firing)

    def _offer(self, admission: Admission, firing: Firing) -> None:
        decision = admission.offer(firing)
        if admission.gave_way is not None:
            self.on_settled(admission.gave_way)
            admission.gave_way = None
        if admission.form.policy == "restart" and decision is not Decision.START:
            self.on_removed(firing.workflow, firing.key)  # it takes the place of those that have not begun
        if decision in (Decision.DROP, Decision.FULL):
            self.on_settled(firing)
        else:
            self.on_fired(firing)
        if decision is Decision.START:
            self._start(firing)
        elif decision is Decision.RESTART:
            self._cancel_present(firing)
        elif decision is Decision.FULL:
            attrs = {"reason": "queue", "workflow": firing.workflow, "waiting": admission.waiting}
            self._announcements.overload(f"queue {firing.workflow}", firing.event.path, attrs)

    def start_by_hand(self, firing: Firing, *, dry: bool = False) -> Run:
        """Start a run past all queues; CallerError when its input is not what the workflow asks for."""
        plan = self._plans[firing.workflow]
        try:
            settle_input(plan.inputs, firing.input)
        except ValueError as error:
            raise CallerError(str(error)) from None
        plan = plan.on_paper() if dry else plan
        run = self._runner.start(plan.doing(firing.actions) if firing.actions else plan, firing, by_hand=True)
        assert run is not None  # the number of its event is new
        return run

    def plan(self, name: str) -> Plan:
        """The plan of an active workflow, by its name or `workflow_id`; CallerError when there is none."""
        found = self._plans.get(self._names.get(name.lower(), name))
        if found is None:
            raise CallerError(f"no workflow called {name!r} is active{nearest(name, self._plans)}")
        return found

    def _cancel_present(self, firing: Firing) -> None:
        for run in list(self._runner.active.values()):
            same = run.workflow == firing.workflow and run.firing.key == firing.key
            if same and run.firing.trigger not in _PASSING and run.status != "compensating":
                self._runner.cancel(run.id, "a newer event restarts it")

    def _start(self, firing: Firing) -> None:
        """Start an admitted firing; the gate may let its run wait for its turn among all."""
        if not self._runner.serving:
            return  # the mount ends: the next one starts it
        plan = self._plans.get(firing.workflow)
        if plan is None:
            self._next(firing)
            return
        run = self._runner.start(plan.doing(firing.actions) if firing.actions else plan, firing)
        if run is None or run.firing is not firing:  # it has had its run before
            if run is None or run.finished:
                self.on_settled(firing)
            self._next(firing)

    def _resumed(self, run: Run) -> None:
        """A run goes on that began before the mount: it counts as one of its workflow."""
        if run.firing.trigger not in _PASSING:
            self._admissions.setdefault(run.workflow, Admission(Concurrency())).resumed(run.firing.key)

    def _dropped(self, run: Run) -> None:
        attrs = {"reason": "bulkhead", "workflow": run.workflow, "run": run.id, "error": run.error}
        self._announcements.overload(f"bulkhead {run.workflow}", run.firing.event.path, attrs)

    def _finished(self, run: Run) -> None:
        self.on_ended(run.id)
        if run.firing.trigger not in _PASSING:
            self._next(run.firing)
        self.room.unpark_all()

    def _next(self, firing: Firing) -> None:
        admission = self._admissions.get(firing.workflow)
        if admission is None:
            return
        for following in admission.finished(firing.key):
            self._start(following)
        if firing.workflow not in self._plans and admission.running == 0:
            self._admissions.pop(firing.workflow, None)
