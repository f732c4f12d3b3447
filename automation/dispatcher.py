"""From the bus to runs: routes events to triggers, keeps their time, admits their firings.

    bus ─► accept (routing index, in `publish`) ─► queue ─► triggers ─► launcher ─► runner
                                      deadlines, schedules ─►┘

The queue holds 65,536 events of those that some trigger could want; a full one drops the oldest, which the bus counts
and announces. Its last quarter is kept for what workflows of high and critical priority want: other events are dropped
before, counted and announced alike. A trigger that raises is switched off with its reason; the others never notice.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import trio

from automation.announcements import Announcements
from automation.backfill import existing
from automation.bulkheads import IMPORTANT, Bulkheads
from automation.bus import Bus
from automation.definitions import Workflow
from automation.errors import CallerError, WorldError
from automation.events import SemanticEvent
from automation.facts import target_of
from automation.index import Index
from automation.journal.path_redaction import is_redacted
from automation.launcher import MANUAL, Launcher
from automation.makers import Maker
from automation.memory.desk import Rows, Step
from automation.memory.records import Records
from automation.requester import Requester, requester
from automation.runner import Run, Runner
from automation.state import State
from automation.triggers import writers
from automation.triggers.factory import Fed, Trigger, build
from automation.triggers.firing import Firing
from automation.triggers.forms import ManualTrigger
from automation.triggers.on_event import OnEvent
from automation.triggers.on_pattern import OnPattern
from automation.triggers.on_schedule import OnSchedule
from automation.triggers.on_state import OnState
from automation.triggers.pattern_desk import PatternDesk
from automation.triggers.pending import Pending
from automation.turns import Turns
from automation.workspace import Workspace

log: Final = logging.getLogger(__name__)

QUEUE: Final = 65_536
ORDINARY: Final = QUEUE * 3 // 4
BATCH: Final = 64
RECENT: Final = 1024  # events that `explain` can look back on
RECHECK_SECONDS: Final = 300.0  # the wall clock may be set, and stands still for us while the machine sleeps


@dataclass(slots=True)
class _Installed:
    """A workflow that reacts: `triggers` by their number, None for manual ones."""

    workflow: Workflow
    triggers: list[Trigger | None]


@dataclass(frozen=True, slots=True)
class _Places:
    """Where an event may be of interest: see `bus.Places`."""

    index: Index[Fed]
    writers: writers.Writers

    def extensions(self, type_name: str) -> set[str] | None:
        return None if self.writers.needs(type_name) else self.index.extensions(type_name)

    def within(self, type_name: str, directory: str) -> bool:
        return self.writers.needs(type_name) or self.index.within(type_name, directory)


class Dispatcher:
    """Owns time for the triggers. `wall` is seconds since the epoch; deadlines run on trio's clock.

    An event at the end of a chain of `depth_limit` automations triggers nothing and is announced once as
    `system.overload`.
    """

    def __init__(
        self,
        bus: Bus,
        runner: Runner,
        state: State,
        workspace: Workspace,
        *,
        depth_limit: int = 8,
        max_runs: int = 256,
        bulkheads: Bulkheads | None = None,
        max_partials: int | None = None,
        wall: Callable[[], float] = time.time,
        records: Records | None = None,
    ) -> None:
        self.paused = False
        self.records: Final = records or Records(wall=wall)
        self.on_fault: Callable[[str, str], None] = lambda name, reason: None
        self.writers: Final = writers.Writers()
        self.ignored: Final[Counter[str]] = Counter()
        self._bus: Final = bus
        self._runner: Final = runner
        self._state: Final = state
        self._workspace: Final = workspace
        self._depth_limit: Final = depth_limit
        self._wall: Final = wall
        self.recent: Final[deque[SemanticEvent]] = deque(maxlen=RECENT)
        self._index: Final[Index[Fed]] = Index()
        self._index.reshape = bus.reshape
        self._installed: Final[dict[str, _Installed]] = {}
        self._deadlines: Final[Pending[Fed]] = Pending(10_000_000)
        self.learnt: Callable[[str], float | None] | None = None  # the cooldown of a workflow, where it is adapted
        self._announcements: Final = Announcements(bus)
        self.launcher: Final = Launcher(runner, self._announcements, state, max_runs, bulkheads, self.records.clock)
        self.patterns: Final = PatternDesk(
            *(bus, self.launcher), depth_limit=depth_limit, wall=wall, records=self.records, max_partials=max_partials
        )
        self._schedules: Final[dict[OnSchedule, None]] = {}
        self._backfills: Final[dict[OnEvent, trio.CancelScope]] = {}
        self._earlier: dict[str, Sequence[Any]] = {}
        self._busy_then: Collection[int] | None = None  # while steps of an earlier life are repeated
        self._nursery: trio.Nursery | None = None
        self.subscription: Final = bus.subscribe(
            "dispatcher",
            accept=self._accepts,
            wants=self._wants,
            hears=self._hears,
            takes=self._takes,
            places=_Places(self._index, self.writers),
            capacity=QUEUE,
        )
        self._turns: Final = Turns(bus, self.subscription)

    # What is installed

    def install(self, workflow: Workflow) -> None:
        """Let a workflow react, in place of the one of the same name; what its unchanged triggers hold stays."""
        old = self._installed.get(workflow.name)
        kept = self._kept(old, workflow)
        if old is not None:
            self._withdraw(old, kept)
        triggers = [kept.get(i) or self._build(workflow, i) for i in range(len(workflow.triggers))]
        self._installed[workflow.name] = _Installed(workflow, triggers)
        self.launcher.install(workflow)
        for i, trigger in enumerate(triggers):
            if isinstance(trigger, Fed) and i not in kept:
                self._hand_back(trigger)
                self._index.add(trigger, trigger.types, trigger.anchors)
                self._bus.reroute()
                self._begin(trigger)
            elif isinstance(trigger, OnSchedule):
                self._schedules[trigger] = None
                self.records.keep(_schedule_key(workflow.name, i), trigger.last)
            elif isinstance(trigger, OnPattern) and i not in kept:
                self.patterns.attach(trigger)
        self._turns.wake()

    def remove(self, name: str) -> None:
        """Let a workflow react no more; what waited is forgotten, what runs goes on."""
        old = self._installed.pop(name, None)
        if old is not None:
            self._withdraw(old, {})
            self.ignored["removed"] += self.launcher.remove(name)

    def status(self, name: str) -> dict[str, Any]:
        """Plain values about one workflow; empty when it is not installed."""
        installed = self._installed.get(name)
        if installed is None:
            return {}
        triggers = [{"type": "manual"} if t is None else t.status() for t in installed.triggers]
        return {**self.launcher.status(name), "triggers": triggers}

    def triggers(self, name: str) -> tuple[Trigger | None, ...]:
        """Those of a workflow by number, None for manual ones."""
        return tuple(self._installed[name].triggers) if name in self._installed else ()

    @property
    def names(self) -> tuple[str, ...]:
        """The workflows that react."""
        return tuple(self._installed)

    def queues(self) -> Mapping[str, int]:
        """How much waits where."""
        return {
            "events": len(self.subscription),
            "patterns": len(self.patterns.subscription),
            "deadlines": len(self._deadlines),
            "firings": self.launcher.waiting(),
            "runs": len(self._runner.active),
        }

    # Serving

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for trigger in self._fed():
                self._begin(trigger)
            await nursery.start(self.patterns.run)
            task_status.started()
            try:
                await self._turns.serve(self.step, self._deadline)
            finally:
                self._nursery = None

    def step(self) -> None:
        """Take a batch of events and everything that is due; for tests that drive the dispatcher by hand."""
        batch = self.subscription.receive_nowait(self._bus.batch(BATCH))
        now, deadline = self.records.clock.now(), self._deadlines.deadline
        due = not self.paused and deadline is not None and deadline <= now
        if batch or due:
            with self.records.step("dispatcher", batch, now, 0.0):
                if due:
                    self.records.note("due")
                self._take(batch, now, due=due)
        if not self.paused:
            self._due_schedules()

    def _take(self, events: Sequence[SemanticEvent], now: float, *, due: bool, without: Collection[str] = ()) -> None:
        for event in events:
            self._route(event, now, without)
        if due:
            self._due(now, without)

    def pause(self) -> None:
        """Start nothing new; events are let pass unseen, what waits goes on waiting."""
        self.paused = self.patterns.paused = True

    def resume(self) -> None:
        """React again, to what happens from now on."""
        self.paused = False
        self.patterns.resume()
        self._turns.wake()

    async def run_by_hand(self, name: str, input: Mapping[str, Any], *, dry: bool = False) -> Run:
        """Start a run now, past triggers and queues. `path` in the input makes that file the event's; `dry` only says
        what it would do.
        """
        installed = self._installed.get(name)
        if installed is None:
            raise CallerError(f"no workflow called {name!r} is active")
        defaults = next((t.input for t in installed.workflow.triggers if isinstance(t, ManualTrigger)), {})
        merged = {**defaults, **input}
        event = await self._manual_event(merged)
        self._bus.publish(event)
        firing = Firing(name, MANUAL, "manual", f"manual {event.seq}", (event,), 1, merged)
        return self.launcher.start_by_hand(firing, dry=dry)

    def run_again(self, run: Run) -> Run:
        """Start a run with the events and input of one that failed, past all queues, on the present version."""
        if not self.launcher.knows(run.workflow):
            raise CallerError(f"no workflow called {run.workflow!r} is active")
        if any(is_redacted(event.path) or is_redacted(event.dest or "") for event in run.firing.events):
            raise CallerError(f"the run {run.id} cannot be started again: the path that it was about is not kept")
        again = f"{run.id}@{time.time_ns()}"
        return self.launcher.start_by_hand(replace(run.firing, again=again, trigger=MANUAL), dry=False)

    async def _manual_event(self, input: Mapping[str, Any]) -> SemanticEvent:
        path = input.get("path", "")
        if not isinstance(path, str):
            raise CallerError("'path' in the input must be text")
        path = path.strip("/")
        try:
            size = (await self._workspace.stat(path)).size if path else None
        except WorldError:
            size = None  # a workflow may be about a file that is not there
        attrs, one = {"input": dict(input)}, requester() or Requester(0)
        return SemanticEvent("user.run", path, size=size, uid=one.uid, pid=one.pid, comm=one.comm, attrs=attrs)

    # Events and time

    def _wants(self, type_name: str, path: str, maker: Maker) -> bool:
        """Whether a trigger asks for such events, not merely follows settling files by them: reads and writes are
        only traced for those who ask.
        """
        return any(trigger.asks(type_name, maker) for trigger in self._index.find(type_name, path))

    def _hears(self, type_name: str) -> bool:
        return self.writers.needs(type_name) or self._index.wants(type_name)

    def _takes(self, type_name: str, path: str, dest: str | None) -> bool:
        """Whether `_accepts` would take such an event, or has to see it. Under 2 µs when no trigger wants it."""
        return self.writers.needs(type_name) or bool(self._asked_for(type_name, path, dest))

    def _accepts(self, event: SemanticEvent) -> bool:
        """Called in `publish`: whether any trigger could want the event."""
        if self.writers.needs(event.type):
            self.writers.note(event)
        triggers = self._asked_for(event.type, event.path, event.dest)
        if not triggers or self._is_given_up(event, triggers):
            return False
        if len(self.subscription) >= ORDINARY and not self._is_important(triggers):
            self.subscription.lose(event)
            return False
        return True

    def _asked_for(self, type_name: str, path: str, dest: str | None) -> list[Fed]:
        """The triggers that could want it, of one that has two names some twice."""
        if self.paused or not self._index.wants(type_name):
            return []
        found = self._index.find(type_name, path)
        return found if dest is None else [*found, *self._index.find(type_name, dest)]

    def _is_important(self, triggers: Iterable[Fed]) -> bool:
        """Whether one of them may start what is of high or critical priority."""
        return any(self.launcher.priority(trigger.workflow) in IMPORTANT for trigger in triggers)

    def _is_given_up(self, event: SemanticEvent, triggers: Sequence[Fed]) -> bool:
        """Whether all that it could start is given up for the load. Then that is counted here: 8 µs with all of its
        publishing, of some 45 that the queue costs.
        """
        given_up = self.launcher.given_up()
        if not given_up or event.dest is not None or event.cause is not None:
            return False
        plain: list[OnEvent] = []
        for trigger in triggers:
            if not isinstance(trigger, OnEvent) or self.launcher.priority(trigger.workflow) not in given_up:
                return False
            if not trigger.at_once:
                return False
            plain.append(trigger)
        try:
            fired = [trigger.workflow for trigger in plain if trigger.give_up(event)]
        except Exception:  # it will raise again, where that is dealt with
            return False
        self.recent.append(event)
        for name in fired:
            self.launcher.give_up(name)
        return True

    def _route(self, event: SemanticEvent, now: float, without: Collection[str] = ()) -> None:
        if event.type == "system.gap" and event.attrs.get("subscription") == "dispatcher":
            self._recheck()
            return
        triggers = self._index.find(event.type, target_of(event))
        if event.dest is not None:  # settling files are followed by their old names too
            triggers = list(dict.fromkeys([*triggers, *self._index.find(event.type, event.path)]))
        if event.cause is not None and event.cause.depth >= self._depth_limit:
            self._too_deep(event, triggers)
            return
        self.recent.append(event)
        for trigger in triggers:
            if not without or _place(trigger) not in without:
                self._ask(trigger, partial(_feed, event=event, now=now))

    def _ask(self, trigger: Fed, question: Callable[[Fed], list[Firing]]) -> None:
        """Feed or wake a trigger, admit its firings, note its next deadline."""
        try:
            firings = question(trigger)
            deadline = trigger.deadline
        except Exception as error:
            log.exception("a trigger of %s raised", trigger.workflow)
            self._fail(trigger.workflow, f"its trigger {trigger.number} raised {error!r}")
            return
        for firing in firings:
            self.launcher.admit(firing)
        key = _place(trigger)
        if deadline is not None:
            self._deadlines.put(key, trigger, deadline)
        elif key in self._deadlines:
            self._deadlines.pop(key)

    def _due(self, now: float, without: Collection[str] = ()) -> None:
        for key, trigger in list(self._deadlines.due(now)):
            if key not in without:
                self._ask(trigger, lambda t: t.due(now))
            elif trigger.deadline is not None:
                self._deadlines.put(key, trigger, trigger.deadline)

    def _due_schedules(self) -> None:
        wall = self._wall()
        for schedule in list(self._schedules):
            for came in schedule.due(wall):
                self._scheduled(schedule, came)

    def _scheduled(self, schedule: OnSchedule, came: float) -> None:
        attrs = {
            "workflow": schedule.workflow,
            "scheduled": came,
            "cron": schedule.form.cron,
            "every": schedule.form.every,
        }
        event = SemanticEvent("system.schedule", attrs={k: v for k, v in attrs.items() if v is not None})
        with self.records.together():
            self.records.keep(_schedule_key(schedule.workflow, schedule.number), schedule.last)
            self._bus.publish(event)
            self.launcher.admit(Firing(schedule.workflow, schedule.number, "schedule", "schedule", (event,)))

    def _deadline(self) -> float:
        """In trio's time."""
        if self.paused:
            return float("inf")
        now, wall = self.records.clock.now(), self._wall()
        times = [now + min(RECHECK_SECONDS, max(0.0, s.next - wall)) for s in self._schedules]
        deadline = self._deadlines.deadline
        first = min([*times, deadline] if deadline is not None else times, default=float("inf"))
        return self.records.clock.in_trio(first)

    def _recheck(self) -> None:
        now = self.records.clock.now()
        for trigger in self._fed():
            trigger.recheck(now)
            self._ask(trigger, lambda t: t.due(now))

    def _fed(self) -> list[Fed]:
        triggers = [trigger for installed in self._installed.values() for trigger in installed.triggers]
        return [trigger for trigger in triggers if isinstance(trigger, Fed)]

    def _too_deep(self, event: SemanticEvent, triggers: list[Fed]) -> None:
        if event.cause is None or not any(trigger.matches(event) for trigger in triggers):
            return
        self.ignored["depth"] += 1
        self._announcements.depth(event, event.cause, self._depth_limit)

    # Over restarts

    def parts(self) -> Iterator[tuple[str, Rows]]:
        """What triggers remember."""
        for trigger in self._fed():
            yield _place(trigger), trigger.rows

    def recall(self, parts: Mapping[str, Sequence[Any]]) -> None:
        """Triggers that come get back what they knew."""
        self._earlier = dict(parts)

    def replay(self, events: Sequence[SemanticEvent], step: Step, without: Collection[str]) -> None:
        """Take events as before."""
        self._busy_then = [note for note in step.notes if note != "due"]
        self._take(events, step.now, due="due" in step.notes, without=without)
        self._busy_then = None

    def recovered(self) -> None:
        """Nobody has a file open any more: what waited for that settles anew."""
        self._earlier = {}
        now = self.records.clock.now()
        for trigger in self._fed():
            trigger.recheck(now)
            self._ask(trigger, lambda t: [])

    def _busy(self, inode: int) -> bool:
        """Whether somebody has a file open for writing; put on record."""
        if self._busy_then is not None:
            return inode in self._busy_then
        if not self.writers.busy(inode):
            return False
        self.records.note(inode)
        return True

    def _hand_back(self, trigger: Fed) -> None:
        rows = self._earlier.pop(_place(trigger), None)
        try:
            if rows and trigger.resume(rows):
                self._ask(trigger, lambda t: [])  # notes its deadline
        except Exception as error:
            log.warning("the trigger %d of %s cannot go on: %r", trigger.number, trigger.workflow, error)

    # Installing

    def _kept(self, old: _Installed | None, new: Workflow) -> dict[int, Trigger]:
        """The triggers that the new definition does not change, by number."""
        if old is None or old.workflow.vars != new.vars:
            return {}
        pairs = enumerate(zip(old.workflow.triggers, new.triggers, strict=False))
        found = {i: old.triggers[i] for i, (before, after) in pairs if before == after}
        return {i: trigger for i, trigger in found.items() if trigger is not None}

    def _build(self, workflow: Workflow, number: int) -> Trigger | None:
        last = self.records.value(_schedule_key(workflow.name, number))
        made = build(workflow, number, state=self._state.view, busy=self._busy, now=self._wall(), last=last)
        if isinstance(made, OnEvent) and self.learnt is not None:
            made.learnt = self.learnt
        return made

    def _withdraw(self, old: _Installed, kept: Mapping[int, Trigger]) -> None:
        for i, trigger in enumerate(old.triggers):
            if isinstance(trigger, OnPattern) and i not in kept:
                self.patterns.detach(trigger)
            if isinstance(trigger, OnSchedule) and i not in kept:
                del self._schedules[trigger]
            if isinstance(trigger, Fed) and i not in kept:
                self._index.remove(trigger, trigger.types, trigger.anchors)
                self._bus.reroute()
                if isinstance(trigger, OnEvent) and trigger in self._backfills:
                    self._backfills[trigger].cancel()
                self._deadlines.pop(_place(trigger))

    def _fail(self, name: str, reason: str) -> None:
        self.remove(name)
        self.on_fault(name, reason)

    def _begin(self, trigger: Fed) -> None:
        """What a trigger does about what is there already, once the dispatcher serves."""
        if self._nursery is None:
            return
        if isinstance(trigger, OnState):
            path = trigger.form.state_path
            event = SemanticEvent("system.state", attrs={"path": path, "new": self._state.get(path), "loaded": True})
            self._ask(trigger, lambda t: trigger.begin(event, self.records.clock.now()))
        elif trigger.form.backfill == "existing":
            self._backfills[trigger] = trio.CancelScope()
            self._nursery.start_soon(self._backfill, trigger, self._backfills[trigger])

    async def _backfill(self, trigger: OnEvent, scope: trio.CancelScope) -> None:
        """Present the files that are there already; waits while too many firings do."""
        with scope:
            async with contextlib.aclosing(_existing(self._workspace, trigger)) as found:
                async for event in found:
                    self._ask(trigger, partial(_feed, event=event, now=self.records.clock.now()))
                    self._turns.wake()
                    while self.launcher.waiting(trigger.workflow) > BATCH:
                        await self.launcher.room.park()
        self._backfills.pop(trigger, None)


def _existing(workspace: Workspace, trigger: OnEvent) -> AsyncGenerator[SemanticEvent, None]:
    return existing(workspace, trigger.anchors, trigger.form.types, trigger.workflow)


def _feed(trigger: Fed, event: SemanticEvent, now: float) -> list[Firing]:
    return trigger.feed(event, now)


def _place(trigger: Fed) -> str:
    return f"{trigger.workflow}\0{trigger.number}"


def _schedule_key(workflow: str, number: int) -> str:
    return f"schedule {workflow} {number}"
