"""Every run of one mount: starts them, takes them up again, stops them, remembers them."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import trio

from automation.actions import Equipment, Executor, Performer, Recorder
from automation.bus import Bus
from automation.errors import CallerError, WorldError
from automation.journal.keeping import DEFAULTS as KEEPING
from automation.metering import CURRENT, Account
from automation.rounds import Paced
from automation.runner.awaited import Mailroom
from automation.runner.bodies import perform
from automation.runner.course import Stop, carry_out
from automation.runner.gate import Gate, Ticket
from automation.runner.history import Doubled, History, Unrecorded
from automation.runner.ledger import Ledger, MemoryLedger, NewRun, StoredRun
from automation.runner.pacing import Timers, Waiting
from automation.runner.plan import Plan
from automation.runner.record import Run, StepRecord
from automation.runner.subworkflow import Calls
from automation.runner.walk import Means, Walk
from automation.targets import DEFAULTS, Automation
from automation.triggers.firing import Firing
from automation.triggers.firing_records import firing_record, read_firing
from automation.triggers.on_pattern import match_facts

log: Final = logging.getLogger(__name__)

UNDO_SECONDS: Final = 30.0
UNLIMITED: Final = 1_000_000


class Runner:
    """Every run is a task of one nursery. Keeps the last `history` finished runs for reading.

    A firing starts exactly one run: the same identity again gives the run that is there. A cancelled or failed run is
    compensated. What is recorded in the ledger outlives the mount if the ledger does; `clock` gives ns since the epoch;
    `step_inputs` is how many characters of what a step was given are kept; `begun` is told of a run whose first action
    is about to be performed.
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
        clock: Callable[[], int] = time.time_ns,
        automation: Automation = DEFAULTS,
        step_inputs: int = KEEPING.step_inputs,
        begun: Callable[[Run], None] = lambda run: None,
    ) -> None:
        self.counts: Final[Counter[tuple[str, str]]] = Counter()  # (workflow, status) of finished runs
        self.active: Final[dict[str, Run]] = {}
        self.learnt: Callable[[str, str], float | None] = lambda workflow, step: None
        self.on_finished: Callable[[Run], None] = lambda run: None
        self.on_dropped: Callable[[Run], None] = lambda run: None
        self.on_resumed: Callable[[Run], None] = lambda run: None
        self.calls: Final = Calls(self, automation.max_chain_depth)
        self.ledger: Final[Ledger] = ledger or MemoryLedger(history)
        self._automation: Final = automation
        self._step_inputs: Final = step_inputs
        self._begun: Final = begun
        self._bus: Final = bus
        self._started_ns: Final = started_ns
        self._history: Final = history
        self._clock: Final = clock
        self._timers: Final = Timers(clock)
        self._mailroom: Final = Mailroom(bus)
        self._equipment: Final = equipment
        self._executor: Final = executor or Performer()
        self._dry: Final = Recorder()
        self._dice: Final = dice or random.Random()
        self._turns: Final = bus.rounds if bus.pace is None else Paced(bus.rounds, bus.pace)
        self._account = Account(None)
        self.waiting: Final = Waiting()
        self._gate = Gate(UNLIMITED)
        self._means = self._make_means()
        self._runs: Final[dict[str, Run]] = {}
        self._walks: Final[dict[str, Walk]] = {}
        self._stops: Final[dict[str, Stop]] = {}
        self._ends: Final[dict[str, trio.Event]] = {}
        self._finished: Final[deque[str]] = deque()
        self._keyed: Final[dict[tuple[str, str], str]] = {}  # event-driven runs by workflow and key
        self._mailed: Final[dict[History, list[Callable[[], None]]]] = {}
        self._unsent: Final[dict[History, None]] = {}
        self._mail = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._suspends = False
        self._moved = trio.Event()

    @property
    def gate(self) -> Gate:
        """Who has room."""
        return self._gate

    @gate.setter
    def gate(self, gate: Gate) -> None:
        self._gate = gate
        self._means = self._make_means()

    def _make_means(self) -> Means:
        return Means(
            equipment=self._equipment,
            executor=self._executor,
            dry=self._dry,
            publish=self._bus.publish,
            timers=self._timers,
            turns=self._turns,
            waiting=self.waiting,
            mailroom=self._mailroom,
            gate=self._gate,
            clock=self._clock,
            dice=self._dice,
            calls=self.calls,
            perform=perform,
            mailed=self._note_mail,
            step_inputs=self._step_inputs,
            automation=self._automation,
            learnt=lambda workflow, step: self.learnt(workflow, step),  # noqa: PLW0108 - it is set later
            begun=self._begun,
        )

    @property
    def serving(self) -> bool:
        """Whether runs can be started."""
        return self._nursery is not None

    @property
    def runs(self) -> Mapping[str, Run]:
        """All runs by identity: those under way and the last finished ones, oldest first."""
        return MappingProxyType(self._runs)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        self._account = Account(CURRENT.get())
        async with trio.open_nursery() as nursery:
            await nursery.start(self._timers.run)
            await nursery.start(self._mailroom.run)
            nursery.start_soon(self._send_mail)
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    @property
    def cost(self) -> float:
        """Seconds of the loop that a run has taken so far, on average; 0 before the first has ended."""
        ended = self.counts.total()
        return self._account.used / ended if ended else 0.0

    # Starting

    def start(self, plan: Plan, firing: Firing, *, by_hand: bool = False) -> Run | None:
        """Begin the run of a firing, or find the one that it began before; None when that one is no more in memory.
        By hand it passes the gate.
        """
        return self._begin(plan, firing, firing.run_id(self._started_ns), None, by_hand)

    def knows(self, firing: Firing) -> bool:
        """Whether a firing has had its run, in this mount or an earlier one."""
        run_id = firing.run_id(self._started_ns)
        return run_id in self._runs or run_id in self.ledger.known

    def start_child(self, plan: Plan, firing: Firing, run_id: str, parent: tuple[str, str] | None) -> Run | None:
        """Begin the run that a step of another run asks for, or find it."""
        return self._begin(plan, firing, run_id, parent, False)

    def _begin(
        self, plan: Plan, firing: Firing, run_id: str, parent: tuple[str, str] | None, by_hand: bool
    ) -> Run | None:
        known = self._runs.get(run_id)
        if known is not None:
            return known
        if run_id in self.ledger.known:
            return None
        if self._nursery is None:
            raise CallerError("the automations are not running")
        at = self._clock()
        new = NewRun(
            run_id,
            plan.name,
            plan.digest,
            plan.definition,
            firing_record(firing),
            firing.key,
            at,
            plan.priority,
            self._tenant(plan, firing),
            parent,
        )
        run = self._register(plan, firing, new)
        self._admit(plan, run, History(self.ledger, new, self._clock), by_hand)
        return run

    def _tenant(self, plan: Plan, firing: Firing) -> str:
        """Whose the run is, in the turns at the gate; nobody's where tenants are not told apart."""
        shared = not self._automation.enable_multi_tenant_isolation
        return "" if shared else plan.tenant or firing.event.tenant

    def _register(self, plan: Plan, firing: Firing, new: NewRun) -> Run:
        shown = plan.steps if plan.type not in ("state_machine", "event_driven") else ()
        steps = [StepRecord(step.name, step.kind) for step in shown]
        run = Run(new.id, plan.name, firing, dict(firing.input), steps, created_ns=new.at)
        run.priority, run.tenant, run.parent = new.priority, new.tenant, new.parent
        run.match = None if firing.match is None else match_facts(firing.match)
        self._runs[run.id] = self.active[run.id] = run
        return run

    def _admit(self, plan: Plan, run: Run, history: History, by_hand: bool) -> None:
        nursery = self._nursery
        if nursery is None:
            raise CallerError("the automations are not running")
        ticket = None if by_hand else Ticket(run.priority, run.tenant, plan.type)
        walk = self._walks[run.id] = Walk(self._means, plan, run, history, ticket)
        self._stops[run.id] = Stop(trio.CancelScope())
        if plan.type == "event_driven":
            self._keyed[plan.name, run.firing.key] = run.id

        def go() -> None:
            nursery.start_soon(self._whole_run, walk, name=f"run {run.id} of {plan.name}")

        if ticket is None:
            go()
        elif not self._gate.offer(ticket, go, lambda reason: self._drop(run, reason)) and run.id in self.active:
            self._note_mail(history)  # it waits, and is recorded meanwhile

    def resume(self, stored: StoredRun) -> Run:
        """Take a run up again that a ledger has and that has not ended, on its own version of the workflow. ValueError
        when its definition cannot be read any more.
        """
        firing = read_firing(stored.run.firing)
        plan = _parsed(stored.run.definition)
        if firing.actions:
            plan = plan.doing(firing.actions)
        run = self._register(plan, firing, stored.run)
        run.started_ns = stored.records[0].at if stored.records else stored.run.at
        self.on_resumed(run)
        self._admit(plan, run, History(self.ledger, stored.run, self._clock, stored), False)
        return run

    # Stopping

    def cancel(self, run_id: str, reason: str = "cancelled by hand") -> Run:
        """Ask a run to stop; CallerError when there is none under that identity or it has ended."""
        run = self._runs.get(run_id)
        if run is None:
            raise CallerError(f"there is no run {run_id}")
        if run.finished:
            raise CallerError(f"the run {run_id} has {run.status.replace('_', ' ')} already")
        if run.status == "compensating":
            raise CallerError(f"the run {run_id} is being undone already")
        stop, walk = self._stops[run_id], self._walks[run_id]
        stop.reason = stop.reason or reason
        if walk.ticket is not None and self._gate.withdraw(walk.ticket):
            self._drop(run, stop.reason)
        else:
            stop.scope.cancel()
        return run

    def _drop(self, run: Run, reason: str) -> None:
        """A run that has not begun never does."""
        run.status, run.error = "cancelled", reason
        history = self._walks[run.id].history
        history.note("finished", "", {"status": run.status, "error": run.error})
        self._note_mail(history)
        self._finish(run)
        self.on_dropped(run)

    async def shutdown(self, grace: float) -> None:
        """Give the runs under way `grace` seconds. Then they stop: where the ledger outlives the mount, to be resumed,
        else they are cancelled, and what they did is undone.
        """
        with trio.move_on_after(grace):
            await self._wait_idle(lambda: self._kept and all(run.status == "waiting" for run in self.active.values()))
        if self._kept and self._nursery is not None:
            self._suspends = True
            self._nursery.cancel_scope.cancel()
            return
        for run in list(self.active.values()):
            if run.status != "compensating":
                self.cancel(run.id, "VexFS stops")
        with trio.move_on_after(UNDO_SECONDS + 5):
            await self._wait_idle(lambda: False)

    @property
    def _kept(self) -> bool:
        return self.ledger.durable

    async def _wait_idle(self, enough: Callable[[], bool]) -> None:
        while self.active and not enough():
            self._moved = trio.Event()
            with trio.move_on_after(0.5):
                await self._moved.wait()

    # Waiting for the end, and mail

    async def ended(self, run_id: str) -> Mapping[str, Any]:
        """Wait for the end of a run: the data of its last record."""
        while run_id in self.active:
            await self._ends.setdefault(run_id, trio.Event()).wait()
        run = self._runs.get(run_id)
        if run is not None:
            return {"status": run.status, "output": run.output, "error": run.error}
        stored = await self.ledger.load(run_id)
        if stored is None or stored.finished is None:
            raise WorldError(f"nothing is known of the run {run_id} any more")
        return stored.finished.data

    def deliver(self, firing: Firing, recorded: Callable[[], None] = lambda: None) -> bool:
        """Hand an event to the event-driven run of its key; whether there is one that takes it. `recorded` is called
        once the ledger has it.
        """
        run = self.active.get(self._keyed.get((firing.workflow, firing.key), ""))
        if run is None or run.status == "compensating":
            return False
        walk = self._walks[run.id]
        self._mailed.setdefault(walk.history, []).append(recorded)
        walk.mailbox("").put(firing.event)
        self._note_mail(walk.history)
        return True

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call back by the wall clock."""
        self._timers.set(self._clock() + round(seconds * 1e9), call)

    def _note_mail(self, history: History) -> None:
        self._unsent[history] = None
        self._mail.set()

    async def _send_mail(self) -> None:
        """Record what came for runs that are busy or wait for room."""
        while True:
            await self._mail.wait()
            self._mail = trio.Event()
            while self._unsent:
                history = next(iter(self._unsent))
                del self._unsent[history]
                recorded = self._mailed.pop(history, [])
                try:
                    await history.flush()
                    for one in recorded:
                        one()
                except Doubled:
                    log.warning("a run of %s had begun before", history.run.workflow)
                except Exception:  # the disk's fault or ours; the others' mail is recorded all the same
                    log.exception("what came for %s is not recorded", history.run.id)
                await self._turns.take()

    # One run

    async def _whole_run(self, walk: Walk) -> None:
        run = walk.run
        CURRENT.set(self._account)
        await self._turns.take()
        if not run.started_ns:
            run.started_ns = self._clock()
        if not walk.history.resumed:
            walk.publish("workflow.started", {"trigger": run.trigger, "because": _because(run)})
        try:
            await carry_out(walk, self._stops[run.id])
        except Doubled:
            log.info("%s had its run %s before", run.workflow, run.id)
            run.status, run.error = "cancelled", "it had its run before"
        except Unrecorded as error:
            log.exception("run %s of %s stops where it is", run.id, run.workflow)
            run.status, run.error = "suspended", str(error)
        except Exception as error:
            log.exception("run %s of %s met a bug", run.id, run.workflow)
            run.status, run.error = "failed", f"internal error: {error!r}"
        finally:
            if not run.finished and run.status != "suspended":  # the whole service is being cancelled
                run.status = "suspended" if self._kept else "cancelled"
                run.error = run.error or "VexFS stops"
            self._finish(run)

    def _finish(self, run: Run) -> None:
        walk = self._walks.pop(run.id)
        for place in list(walk.mailboxes):
            walk.close(place)
        self._gate.leave(walk.ticket)
        del self.active[run.id], self._stops[run.id]
        awaited = self._ends.pop(run.id, None)
        if awaited is not None:
            awaited.set()
        self._moved.set()
        if walk.plan.type == "event_driven":
            self._keyed.pop((run.workflow, run.firing.key), None)
        if run.status == "suspended":
            if not self._suspends and self._nursery is not None:  # else nothing takes its place
                self._tell_end(run)
            return
        run.ended_ns = self._clock()
        run.started_ns = run.started_ns or run.ended_ns
        self.counts[run.workflow, run.status] += 1
        attrs: dict[str, Any] = {"ms": round((run.ended_ns - run.started_ns) / 1e6, 3)}
        if run.error:
            attrs["error"] = run.error
        if run.left:
            attrs["left"] = run.left
            log.error("run %s of %s: to be undone by hand: %s", run.id, run.workflow, run.left)
        walk.publish(f"workflow.{run.status}", attrs)
        self._finished.append(run.id)
        if len(self._finished) > self._history:
            self._runs.pop(self._finished.popleft(), None)
        self._tell_end(run)

    def _tell_end(self, run: Run) -> None:
        try:
            self.on_finished(run)
        except Exception:  # a bug of ours must not end the other runs
            log.exception("after the end of run %s of %s", run.id, run.workflow)


def _because(run: Run) -> dict[str, Any]:
    """What brought a run about: the event, who made it (a run, a rule, a pattern), and the run that it repeats."""
    event = run.firing.event
    why: dict[str, Any] = {"type": event.type, "event": event.seq}
    if event.cause is not None:
        why |= {"run": event.cause.run, "workflow": event.cause.workflow}
    if run.firing.again:
        why["again"] = run.firing.again.partition("@")[0]
    if event.type == "external.received":
        why |= {name: event.attrs[name] for name in ("source", "id", "via") if name in event.attrs}
    return why


@lru_cache(maxsize=256)
def _parsed(definition: str) -> Plan:
    return Plan.parse(definition)
