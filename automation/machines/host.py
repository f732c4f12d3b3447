"""All machines of one mount: from the bus to their instances, from their outcomes to runs and events.

    bus ─► accept (routing index, in `publish`) ─► queue ─► detectors ─► `machine.changed`, runs of their actions
                                         timers ──────────►┘

The queue holds 65,536 events of those that some machine could want; a full one drops the oldest, which the bus counts
and announces. The actions of one instance are carried out in order, one run for each move; a machine that waits for
`done.action` or `error.action` is told how they ended. A machine that raises is switched off with its reason.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any, Final

import trio

from automation.bus import Bus
from automation.definitions import Concurrency
from automation.errors import CallerError
from automation.event_rows import event_row, read_row
from automation.events import Cause, SemanticEvent
from automation.expressions import nearest
from automation.facts import target_of
from automation.globs import Anchor, compile_globs
from automation.index import ANYWHERE, Index
from automation.launcher import Launcher
from automation.machines.detector import Detector
from automation.machines.machine import Machine
from automation.machines.outcomes import Broken, Moved, Outcome
from automation.makers import Maker
from automation.memory.desk import Rows, Step
from automation.memory.records import Records
from automation.requester import Requester, requester
from automation.runner import Plan, Run
from automation.triggers.firing import Firing
from automation.turns import Turns

log: Final = logging.getLogger(__name__)

QUEUE: Final = 65_536
BATCH: Final = 256
HISTORY: Final = 256
RECHECK_SECONDS: Final = 300.0  # the wall clock may be set, and stands still for us while the machine sleeps
ACTIONS: Final = {"workflow.succeeded": "done.action"} | dict.fromkeys(
    ("workflow.failed", "workflow.compensated", "workflow.compensation_failed", "workflow.cancelled"), "error.action"
)
_CONCURRENCY: Final = Concurrency(policy="queued", limit=64, queue=100_000)


class Hosted:
    """One machine that is installed, and its last 256 moves, oldest first."""

    __slots__ = ("detector", "history", "minds")

    def __init__(self, detector: Detector) -> None:
        self.detector: Final = detector
        self.history: Final[deque[dict[str, Any]]] = deque(maxlen=HISTORY)
        events = detector.machine.chart.events
        self.minds: Final = any(name in ("done.action", "error.action", "error", "done") for name in events)

    def rows(self) -> Iterator[Any]:
        """Its last moves, then each instance."""
        instances = self.detector.rows()
        yield {"history": list(self.history), "counts": self.detector.counts()}
        yield from instances


class Machines:
    """`clock` gives ns since the epoch. `state` is the shared state, for conditions; `runs` are the runner's."""

    def __init__(
        self,
        bus: Bus,
        launcher: Launcher,
        *,
        state: Callable[[], Mapping[str, Any]],
        runs: Callable[[], Mapping[str, Run]],
        depth_limit: int = 8,
        clock: Callable[[], int] = time.time_ns,
        records: Records | None = None,
    ) -> None:
        self.paused = False
        self.records: Final = records or Records()
        self.on_fault: Callable[[str, str], None] = lambda name, reason: None
        self._bus: Final = bus
        self._launcher: Final = launcher
        self._state: Final = state
        self._runs: Final = runs
        self._depth_limit: Final = depth_limit
        self._clock: Final = clock
        self._hosted: Final[dict[str, Hosted]] = {}
        self._index: Final[Index[str]] = Index()
        self._minding: Final[set[str]] = set()
        self._earlier: dict[str, Sequence[Any]] = {}
        self._acted_then: dict[str, Any] | None = None  # while steps of an earlier life are repeated
        self.subscription: Final = bus.subscribe(
            "machines", accept=self._accepts, wants=self._wants, hears=self._hears, capacity=QUEUE
        )
        self._turns: Final = Turns(bus, self.subscription)

    # What is installed

    @property
    def names(self) -> tuple[str, ...]:
        """The machines that react."""
        return tuple(self._hosted)

    def install(self, machine: Machine) -> None:
        """Let a machine react, in place of the one of the same name; its instances go on as far as they fit."""
        old = self._hosted.get(machine.name)
        if old is not None and old.detector.machine.source == machine.source:
            return
        new = Hosted(Detector(machine, self._state))
        now = self._clock()
        outcomes: list[Outcome] = []
        earlier = self._earlier.pop(machine.name, None)
        if old is not None:
            self.remove(machine.name)
            new.history.extend(old.history)
            outcomes = new.detector.restore(old.detector.rows(), now)
        elif earlier:
            new.history.extend(earlier[0]["history"])
            new.detector.count_on(earlier[0]["counts"])
            outcomes = new.detector.restore(earlier[1:], now)
        self._hosted[machine.name] = new
        plan = Plan.bare(machine.name)
        self._launcher.install_plan(plan, _CONCURRENCY)
        for types, anchors in _places(machine):
            self._index.add(machine.name, types, anchors)
        if new.minds:
            self._minding.add(machine.name)
        self._bus.reroute()
        if not earlier:  # what had begun before, or ended, does not begin again
            outcomes += new.detector.start(now)
        with self.records.together():
            self._tell(new, outcomes)
        self._turns.wake()

    def remove(self, name: str) -> None:
        """Let a machine react no more; its instances are forgotten, what runs goes on."""
        hosted = self._hosted.pop(name, None)
        if hosted is not None:
            for types, anchors in _places(hosted.detector.machine):
                self._index.remove(name, types, anchors)
            self._minding.discard(name)
            self._launcher.remove(name)
            self._bus.reroute()

    # Reading, and events by hand

    def hosted(self, name: str) -> Hosted:
        """The machine of this name; CallerError when there is none."""
        found = self._hosted.get(name)
        if found is None:
            raise CallerError(f"there is no machine called {name!r}{nearest(name, self._hosted)}")
        return found

    def is_in(self, name: str, state: str, key: Hashable = "") -> bool:
        """Whether the instance of a machine for `key` is in a state; false where anything of that does not exist."""
        found = self._hosted.get(name)
        return found is not None and found.detector.is_in(state, key)

    def holds(self, name: str, state: str, event: SemanticEvent) -> bool:
        """Whether the instance that an event belongs to is in a state; of a rename, that of the old name or of the
        new. For conditions of rules and guards.
        """
        found = self._hosted.get(name)
        return found is not None and found.detector.holds(state, event)

    def status(self, name: str) -> dict[str, Any]:
        """One machine in plain values: counters and how many instances are in which states."""
        detector = self.hosted(name).detector
        states: dict[str, int] = {}
        for instance in detector.instances():
            shown = " ".join(detector.states(instance.key))
            states[shown] = states.get(shown, 0) + 1
        return {"machine": name, "key": detector.machine.key, **detector.status(), "states": states}

    def event(self, name: str, line: str) -> None:
        """Give an instance an event by hand: `EVENT`, `EVENT KEY`, or `{"event": …, "key": …, "data": {…}}`."""
        hosted = self.hosted(name)
        given = _by_hand(line)
        key = given["key"]
        if key is None:
            if hosted.detector.machine.key is not None:
                raise CallerError(f"{name} has an instance for each {hosted.detector.machine.key}; write EVENT KEY")
            key = ""
        path = key if hosted.detector.machine.key == "path" and isinstance(key, str) else ""
        attrs, one = {"machine": name, "event": given["event"], **given["data"]}, requester() or Requester(0)
        event = SemanticEvent("user.machine", path, uid=one.uid, pid=one.pid, comm=one.comm, attrs=attrs)
        now = self._clock()
        with self.records.step("machines", (), 0.0, now / 1e9):
            self._bus.publish(event)
            self.records.note(("event", now, name, key, given["event"], given["data"], event_row(event)), urgent=True)
            self._use(hosted, lambda d: d.inject(key, given["event"], given["data"], event, now))
        self._turns.wake()

    # Over restarts

    def parts(self) -> Iterator[tuple[str, Rows]]:
        """What machines remember: their last moves, then their instances."""
        for name, hosted in list(self._hosted.items()):
            yield name, hosted.rows

    def recall(self, parts: Mapping[str, Sequence[Any]]) -> None:
        """Machines that come go on with these instances, as far as they fit."""
        self._earlier = dict(parts)

    def replay(self, events: Sequence[SemanticEvent], step: Step, without: Collection[str]) -> None:
        """Take events as before."""
        found = [note for note in step.notes if note[0] == "acted"]
        self._acted_then = {run: (key, data, row) for _, run, key, data, row in found}
        for kind, *values in step.notes:
            if kind == "event":
                self._inject_again(values, without)
            elif kind == "now":
                self._take(events, values[0], without)
        self._acted_then = None

    def recovered(self) -> None:
        """What nobody asked for is forgotten."""
        self._earlier = {}
        self._turns.wake()

    def _inject_again(self, values: list[Any], without: Collection[str]) -> None:
        now, name, key, event_name, data, row = values
        hosted = self._hosted.get(name)
        if hosted is not None and name not in without:
            self._use(hosted, lambda d: d.inject(key, event_name, data, read_row(row), now))

    # Serving

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        task_status.started()
        await self._turns.serve(self.step, self._deadline)

    def step(self) -> None:
        """Take a batch of events and every timer that is due."""
        batch, now = self.subscription.receive_nowait(self._bus.batch(BATCH)), self._clock()
        if batch or (not self.paused and self._is_due(now)):
            with self.records.step("machines", batch, 0.0, now / 1e9):
                self.records.note(("now", now))
                self._take(batch, now)

    def _take(self, events: Sequence[SemanticEvent], now: int, without: Collection[str] = ()) -> None:
        for event in events:
            self._route(event, now, without)
        if not self.paused:
            for name, hosted in list(self._hosted.items()):
                due = hosted.detector.deadline()
                if due is not None and due <= now and name not in without:
                    self._use(hosted, lambda d: d.advance(now))

    def _is_due(self, now: int) -> bool:
        return any((due := one.detector.deadline()) is not None and due <= now for one in self._hosted.values())

    def pause(self) -> None:
        """Move nothing: events pass unseen, timers wait."""
        self.paused = True

    def resume(self) -> None:
        """Go on, with what happens from now on and the timers that have ended since."""
        self.paused = False
        self._turns.wake()

    def _deadline(self) -> float:
        """In trio's time."""
        deadlines = [due for hosted in self._hosted.values() if (due := hosted.detector.deadline()) is not None]
        if self.paused or not deadlines:
            return float("inf")
        return trio.current_time() + min(RECHECK_SECONDS, max(0.0, (min(deadlines) - self._clock()) / 1e9))

    # Events

    def _wants(self, type_name: str, path: str, maker: Maker) -> bool:
        return bool(self._index.find(type_name, path))

    def _hears(self, type_name: str) -> bool:
        return self._index.wants(type_name) or (bool(self._minding) and type_name in ACTIONS)

    def _accepts(self, event: SemanticEvent) -> bool:
        """Called in `publish`: whether any machine could want the event."""
        if self.paused:
            return False
        if event.type in ACTIONS and event.attrs.get("workflow") in self._minding:
            return True
        if event.dest is not None and self._index.find(event.type, event.dest):
            return True
        return bool(self._index.find(event.type, event.path))

    def _route(self, event: SemanticEvent, now: int, without: Collection[str]) -> None:
        name = event.attrs.get("workflow")
        if event.type in ACTIONS and name in self._minding and name not in without:
            self._acted(self._hosted[str(name)], event, now)
        if event.cause is not None and event.cause.depth >= self._depth_limit:
            return
        found = self._index.find(event.type, target_of(event))
        if event.dest is not None:
            found = list(dict.fromkeys([*found, *self._index.find(event.type, event.path)]))
        for name in found:
            hosted = self._hosted.get(name)
            if hosted is not None and name not in without:
                self._use(hosted, lambda d: d.feed(event, now))

    def _acted(self, hosted: Hosted, event: SemanticEvent, now: int) -> None:
        """The actions of a move have been carried out, or not: tell the instance, if it is still there."""
        identity = str(event.attrs.get("run"))
        if self._acted_then is not None:
            if identity in self._acted_then:
                key, data, row = self._acted_then[identity]
                self._use(hosted, lambda d: d.inject(key, ACTIONS[event.type], data, read_row(row), now))
            return
        run = self._runs().get(identity)
        key = None if run is None else run.input.get("key")
        if run is not None and hosted.detector.states(key):
            data = {"run": run.id, "output": run.output, "error": run.error}
            self.records.note(("acted", run.id, key, data, event_row(run.firing.event)))
            self._use(hosted, lambda d: d.inject(key, ACTIONS[event.type], data, run.firing.event, now))

    def _use(self, hosted: Hosted, question: Callable[[Detector], list[Outcome]]) -> None:
        name = hosted.detector.machine.name
        try:
            outcomes = question(hosted.detector)
        except Exception as error:
            log.exception("the machine %s raised", name)
            self.remove(name)
            self.on_fault(name, f"it raised {error!r}")
            return
        self._tell(hosted, outcomes)

    # Outcomes

    def _tell(self, hosted: Hosted, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            hosted.history.append(describe(outcome))
            if isinstance(outcome, Moved):
                if outcome.before != outcome.after or outcome.finished:
                    self._publish(outcome)
                if outcome.actions:
                    self._act(outcome)
                for line in outcome.logs:
                    log.info("%s %s: %s", outcome.machine, outcome.key, line)
                for fault in outcome.faults:
                    log.warning("%s %s: %s", outcome.machine, outcome.key, fault)
            elif isinstance(outcome, Broken):
                log.warning("%s %s is given up: %s", outcome.machine, outcome.key, outcome.reason)

    def _publish(self, moved: Moved) -> None:
        if not self._bus.heard("machine.changed"):
            self._bus.skip("machine.changed")
            return
        self._bus.publish(changed_event(moved))

    def _act(self, moved: Moved) -> None:
        event = moved.event or SemanticEvent("user.machine", ts=moved.at, attrs={"machine": moved.machine})
        given = {"key": moved.key, "trigger": moved.trigger, "states": list(moved.after)}
        firing = Firing(
            workflow=moved.machine,
            trigger=moved.number,
            kind="machine",
            key=str(moved.key),
            events=(event,),
            input=given,
            actions=moved.actions,
        )
        self._launcher.admit(firing)


def changed_event(moved: Moved, ts: int | None = None) -> SemanticEvent:
    """The event that tells of a move."""
    attrs: dict[str, Any] = {
        "machine": moved.machine,
        "key": moved.key,
        "trigger": moved.trigger,
        "before": list(moved.before),
        "after": list(moved.after),
    }
    if moved.finished:
        attrs |= {"finished": True, "result": moved.result}
    cause, event = Cause(f"{moved.machine} {moved.number}", moved.machine, _depth(moved.event) + 1), moved.event
    if event is None:
        return SemanticEvent("machine.changed", cause=cause, attrs=attrs, ts=ts)
    who: dict[str, Any] = {"uid": event.uid, "gid": event.gid, "pid": event.pid, "comm": event.comm}
    attrs["event"] = event.seq
    return SemanticEvent("machine.changed", target_of(event), cause=cause, attrs=attrs, ts=ts, **who)


def _places(machine: Machine) -> list[tuple[tuple[str, ...], tuple[Anchor, ...]]]:
    """Where its events lie; a directory may be renamed that is anywhere above its files."""
    anchors = compile_globs(machine.paths).anchors if machine.paths else ANYWHERE
    above = [(("dir.renamed",), ANYWHERE)] if "dir.renamed" in machine.types else []
    return [(machine.types, anchors), *above]


def _depth(event: SemanticEvent | None) -> int:
    return 0 if event is None or event.cause is None else event.cause.depth


def _by_hand(line: str) -> dict[str, Any]:
    """`event`, `key` (None when it is not given) and `data` of a line written by hand."""
    text = line.strip()
    if not text.startswith("{"):
        event, _, key = text.partition(" ")
        if not event:
            raise CallerError("write EVENT, EVENT KEY, or a JSON object with 'event', 'key' and 'data'")
        return {"event": event, "key": _key(key.strip()) if key.strip() else None, "data": {}}
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CallerError(f"the event is no JSON object: {error}") from None
    odd = given.keys() - {"event", "key", "data"}
    if odd or not isinstance(given.get("event"), str) or not isinstance(given.get("data", {}), dict):
        raise CallerError('write {"event": NAME, "key": KEY, "data": {…}}; \'key\' and \'data\' may be left out')
    key = given.get("key")
    if key is not None and not isinstance(key, str | int | float):
        raise CallerError("'key' is text or a number")
    return {"event": given["event"], "key": key, "data": given.get("data", {})}


def _key(text: str) -> str | int:
    """A key as it is written: a process or user is a number."""
    return int(text) if text.isdecimal() and len(text) < 19 and (text == "0" or text[0] != "0") else text


def describe(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a line of a machine's history: plain values, without what is empty."""
    if isinstance(outcome, Moved):
        out: dict[str, Any] = {"at": outcome.at, "key": outcome.key, "trigger": outcome.trigger}
        out |= {"before": list(outcome.before), "after": list(outcome.after)}
        more = {
            "actions": [action.get("type") for action in outcome.actions],
            "logs": list(outcome.logs),
            "faults": list(outcome.faults),
            "finished": outcome.finished,
        }
        return out | {name: value for name, value in more.items() if value}
    if isinstance(outcome, Broken):
        return {"at": outcome.at, "key": outcome.key, "broken": outcome.reason}
    return {"at": outcome.at, "key": outcome.key, "evicted": f"there were {outcome.limit} instances"}
