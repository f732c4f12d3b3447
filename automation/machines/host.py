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
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import trio

from automation.bus import Bus
from automation.definitions import Concurrency
from automation.errors import CallerError
from automation.events import Cause, SemanticEvent
from automation.expressions import nearest
from automation.facts import target_of
from automation.globs import compile_globs
from automation.launcher import Launcher
from automation.machines.detector import Detector
from automation.machines.machine import Machine
from automation.machines.outcomes import Broken, Moved, Outcome
from automation.runner import Plan, Run
from automation.templates import Template
from automation.triggers.firing import Firing
from automation.triggers.index import ANYWHERE, Index

log: Final = logging.getLogger(__name__)

QUEUE: Final = 65_536
BATCH: Final = 256
HISTORY: Final = 256
RECHECK_SECONDS: Final = 300.0  # the wall clock may be set, and stands still for us while the machine sleeps
ACTIONS: Final = {"workflow.succeeded": "done.action"} | dict.fromkeys(
    ("workflow.failed", "workflow.compensated", "workflow.cancelled"), "error.action"
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
    ) -> None:
        self.paused = False
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
        self._signal = trio.Event()
        self.subscription: Final = bus.subscribe(
            "machines", accept=self._accepts, wants=self._wants, hears=self._hears, capacity=QUEUE
        )

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
        if old is not None:
            self.remove(machine.name)
            new.history.extend(old.history)
            outcomes = new.detector.restore(old.detector.snapshot(), now)
        self._hosted[machine.name] = new
        plan = Plan(machine.name, (), (), None, {}, Template({}))
        self._launcher.install_plan(plan, _CONCURRENCY)
        anchors = compile_globs(machine.paths).anchors if machine.paths else ANYWHERE
        self._index.add(machine.name, machine.types, anchors)
        if "dir.renamed" in machine.types:  # of whatever directory above the files
            self._index.add(machine.name, ("dir.renamed",), ANYWHERE)
        if new.minds:
            self._minding.add(machine.name)
        self._bus.reroute()
        self._tell(new, [*outcomes, *new.detector.start(now)])
        self._signal.set()

    def remove(self, name: str) -> None:
        """Let a machine react no more; its instances are forgotten, what runs goes on."""
        if self._hosted.pop(name, None) is not None:
            self._index.remove(name)
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
        event = SemanticEvent("user.machine", path, attrs={"machine": name, "event": given["event"], **given["data"]})
        self._bus.publish(event)
        now = self._clock()
        self._use(hosted, lambda d: d.inject(key, given["event"], given["data"], event, now))
        self._signal.set()

    def snapshot(self) -> dict[str, Any]:
        """Every instance of every machine, as plain JSON."""
        return {name: hosted.detector.snapshot() for name, hosted in self._hosted.items()}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Continue with the instances of a snapshot, for the machines that are installed."""
        now = self._clock()
        for name in [name for name in snapshot if name in self._hosted]:
            hosted = self._hosted[name]
            self._use(hosted, lambda d, kept=snapshot[name]: d.restore(kept, now))  # type: ignore[misc]
        self._signal.set()

    # Serving

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        task_status.started()
        while True:
            await self._wait()
            self.step()
            await trio.lowlevel.checkpoint()  # requests of the filesystem come first

    def step(self) -> None:
        """Take a batch of events and every timer that is due."""
        now = self._clock()
        for event in self.subscription.receive_nowait(BATCH):
            self._route(event, now)
        if not self.paused:
            for hosted in list(self._hosted.values()):
                due = hosted.detector.deadline()
                if due is not None and due <= now:
                    self._use(hosted, lambda d: d.advance(now))

    def pause(self) -> None:
        """Move nothing: events pass unseen, timers wait."""
        self.paused = True

    def resume(self) -> None:
        """Go on, with what happens from now on and the timers that have ended since."""
        self.paused = False
        self._signal.set()

    async def _wait(self) -> None:
        if self.subscription.ready:
            return
        self._signal = trio.Event()
        self.subscription.on_ready(self._signal.set)
        with trio.move_on_after(self._seconds_left()):
            await self._signal.wait()

    def _seconds_left(self) -> float:
        if self.paused:
            return float("inf")
        deadlines = [due for hosted in self._hosted.values() if (due := hosted.detector.deadline()) is not None]
        if not deadlines:
            return float("inf")
        return min(RECHECK_SECONDS, max(0.0, (min(deadlines) - self._clock()) / 1e9))

    # Events

    def _wants(self, type_name: str, path: str) -> bool:
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

    def _route(self, event: SemanticEvent, now: int) -> None:
        name = event.attrs.get("workflow")
        if event.type in ACTIONS and name in self._minding:
            self._acted(self._hosted[str(name)], event, now)
        if event.cause is not None and event.cause.depth >= self._depth_limit:
            return
        found = self._index.find(event.type, target_of(event))
        if event.dest is not None:
            found = list(dict.fromkeys([*found, *self._index.find(event.type, event.path)]))
        for name in found:
            hosted = self._hosted.get(name)
            if hosted is not None:
                self._use(hosted, lambda d: d.feed(event, now))

    def _acted(self, hosted: Hosted, event: SemanticEvent, now: int) -> None:
        """The actions of a move have been carried out, or not: tell the instance, if it is still there."""
        run = self._runs().get(str(event.attrs.get("run")))
        key = None if run is None else run.input.get("key")
        if run is not None and hosted.detector.states(key):
            data = {"run": run.id, "output": run.output, "error": run.error}
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
        depth = _depth(moved.event) + 1
        attrs: dict[str, Any] = {
            "machine": moved.machine,
            "key": moved.key,
            "trigger": moved.trigger,
            "before": list(moved.before),
            "after": list(moved.after),
        }
        if moved.finished:
            attrs |= {"finished": True, "result": moved.result}
        path = "" if moved.event is None else target_of(moved.event)
        cause = Cause(f"{moved.machine} {moved.number}", moved.machine, depth)
        self._bus.publish(SemanticEvent("machine.changed", path, cause=cause, attrs=attrs))

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
