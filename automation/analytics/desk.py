"""From the bus to findings: keeps the streams of all definitions, feeds them, owns their time, tells what they find.

    bus ─► accept (by type and place) ─► queue ─► engines ─► anomaly.detected, prediction.made, analytics.window
                                 deadlines ─►┘

The queue holds 65,536 events; a full one drops the oldest, which the bus counts and announces. An engine that raises is
disabled with its reason; the others never notice.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import trio

from automation.analytics.anomalies import AnomalyWatch
from automation.analytics.engine import Engine, Node, Output, row_event
from automation.analytics.findings import Finding, Trended
from automation.analytics.forms import Analytics
from automation.analytics.sources import Source, sources
from automation.bus import Bus
from automation.errors import CallerError
from automation.events import SemanticEvent
from automation.index import Index
from automation.makers import Maker

log: Final = logging.getLogger(__name__)

QUEUE: Final = 65_536
BATCH: Final = 1024
FEW: Final = 128  # events at a time while requests come
GATHER_SECONDS: Final = 0.05  # for which they are gathered then: twenty streams take 1 ms for a batch of one event
WINDOW: Final = "analytics.window"
RECHECK_SECONDS: Final = 300.0  # the wall clock may be set


class _Kept:
    """A definition; `engine` is None while it is disabled."""

    def __init__(self, form: Analytics) -> None:
        self.form: Final = form
        self.engine: Engine | None = Engine(form)
        self.sources: Final = sources(form)
        self.fault = ""


class AnalyticsDesk:
    """`wall` is seconds since the epoch. Streams are named `DEFINITION.STREAM` here."""

    def __init__(self, bus: Bus, *, wall: Callable[[], float]) -> None:
        self.paused = False
        self._ignored = 0
        self._shed = False
        self._passed_before = 0
        self._taken, self._seconds = 0, 0.0
        self._bus: Final = bus
        self._wall: Final = wall
        self._kept: Final[dict[str, _Kept]] = {}
        self._index: Final[Index[Source]] = Index()
        self._index.reshape = bus.reshape
        self._imported: Final[set[str]] = set()
        self._tuned: Final[dict[tuple[str, str], float]] = {}
        self._signal = trio.Event()
        self.subscription: Final = bus.subscribe(
            "analytics",
            accept=self._accepts,
            wants=self._wants,
            hears=self._hears,
            takes=self._takes,
            places=self._index,
            capacity=QUEUE,
        )

    def shed(self, on: bool) -> None:
        """Take no events for the load, or take them again. Meanwhile nothing is heard, so that what only analytics
        hears costs nothing, and events are counted by their types.
        """
        if on != self._shed:
            self._recount()
            self._shed = on
            self._bus.reroute()

    @property
    def ignored(self) -> int:
        """Events of the types that streams ask for, which were given up."""
        return self._ignored + (self._passed() - self._passed_before if self._shed else 0)

    @property
    def cost(self) -> float:
        """Seconds of the loop that an event has taken so far, on average."""
        return self._seconds / self._taken if self._taken else 0.0

    def _recount(self) -> None:
        """What is shed is about to begin, to end, or to be of other types."""
        self._bus.reroute()  # what was answered without a look at us is counted by now
        passed = self._passed()
        if self._shed:
            self._ignored += passed - self._passed_before
        self._passed_before = passed

    def _passed(self) -> int:
        return sum(count for name, count in self._bus.counts.items() if self._index.wants(name) and name != WINDOW)

    # What is kept

    def install(self, form: Analytics) -> None:
        """Keep the streams of a definition; those of an unchanged one keep what they hold."""
        kept = self._kept.get(form.name)
        if kept is None or kept.form != form:
            self.remove(form.name)
            self._kept[form.name] = _Kept(form)
            self._retune(form.name)
            self._listen(self._kept[form.name], on=True)

    def remove(self, name: str) -> None:
        """Forget the streams of a definition."""
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._listen(kept, on=False)

    def enable(self, name: str, on: bool) -> None:
        """Let the definition of a stream work (again), with nothing seen so far, or no more; CallerError for none."""
        kept = self._find(name)[0]
        kept.engine, kept.fault = (Engine(kept.form) if on else None), ""
        self._retune(kept.form.name)
        self._listen(kept, on=on)

    def tune(self, stream: str, measure: str, sensitivity: float | None) -> None:
        """Judge a measure of a stream by another sensitivity, or by its own again; also of one that comes later."""
        definition = stream.rpartition(".")[0]
        if sensitivity is not None:
            self._tuned[stream, measure] = sensitivity
        elif self._tuned.pop((stream, measure), None) is not None and definition in self._kept:
            for watch in self._watches(self._kept[definition], stream, measure):
                watch.tune(watch.defined.sensitivity)
        self._retune(definition)

    def _retune(self, definition: str) -> None:
        kept = self._kept.get(definition)
        for (stream, measure), sensitivity in self._tuned.items():
            if kept is not None and stream.rpartition(".")[0] == definition:
                for watch in self._watches(kept, stream, measure):
                    watch.tune(sensitivity)

    @staticmethod
    def _watches(kept: _Kept, stream: str, measure: str) -> Iterator[AnomalyWatch]:
        """The robust watches of a measure."""
        watches = [] if kept.engine is None else kept.engine.watches.get(stream.rpartition(".")[2], [])
        for watch in watches:
            if isinstance(watch, AnomalyWatch) and (watch.form.measure, watch.form.method) == (measure, "robust"):
                yield watch

    def names(self) -> list[str]:
        """Of every stream, join and correlation."""
        return [f"{name}.{node}" for name, kept in self._kept.items() for node in kept.form.order or ()]

    def knows(self, name: str) -> bool:
        """Whether there is one of that name."""
        return name in self.names()

    def enabled(self, name: str) -> bool:
        """Whether it works."""
        return self._find(name)[0].engine is not None

    def node(self, name: str) -> Node | None:
        """What holds its rows; None while it is disabled."""
        kept, node = self._find(name)
        return None if kept.engine is None else kept.engine.nodes[node]

    def nodes(self) -> dict[str, Node]:
        """Everything that works, by name."""
        return {
            f"{name}.{node}": found
            for name, kept in self._kept.items()
            if kept.engine is not None
            for node, found in kept.engine.nodes.items()
        }

    def status(self, name: str) -> dict[str, Any]:
        """Plain values about a stream."""
        kept, node = self._find(name)
        state = "faulty" if kept.fault else "enabled" if kept.engine is not None else "disabled"
        out: dict[str, Any] = {"name": name, "definition": kept.form.name, "state": state}
        out |= {"fault": kept.fault} if kept.fault else {}
        return out | (kept.engine.status()[node] if kept.engine is not None else {})

    def _find(self, name: str) -> tuple[_Kept, str]:
        definition, _, node = name.rpartition(".")
        kept = self._kept.get(definition)
        if kept is None or node not in (kept.form.order or ()):
            raise CallerError(f"there is no stream called {name!r}")
        return kept, node

    def _listen(self, kept: _Kept, *, on: bool) -> None:
        """Ask the bus for what the streams of a definition take, or for nothing more on its behalf."""
        self._recount()
        for source in kept.sources:
            self._index.remove(source, source.types, source.anchors)
        if on:
            for source in kept.sources:
                self._index.add(source, source.types, source.anchors)
        self._passed_before = self._passed()
        self._bus.reroute()
        self._signal.set()

    # Events and time

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        task_status.started()
        while True:
            await self._wait()
            if self._bus.rounds.busy and len(self.subscription) < FEW:
                await trio.sleep(GATHER_SECONDS)
            await self._import()
            since = time.perf_counter()
            for _ in self.steps():
                passed = time.perf_counter() - since
                if passed > self._bus.rounds.slice:
                    self._seconds += passed
                    await self._bus.rest()
                    since = time.perf_counter()
            self._seconds += time.perf_counter() - since
            await self._bus.rest()

    async def _import(self) -> None:
        """What the definitions need and is slow to import, in a thread; events wait meanwhile."""
        needed = {name for kept in self._kept.values() for name in kept.form.libraries} - self._imported
        if needed:
            await trio.to_thread.run_sync(lambda: [importlib.import_module(name) for name in sorted(needed)])
            self._imported.update(needed)

    def step(self) -> None:
        """Take a batch of events and, once the queue is empty, let time pass."""
        for _ in self.steps():
            pass

    def _batch(self) -> int:
        return self._bus.rounds.batch(BATCH, FEW) if self._bus.pace is None else 1

    def steps(self) -> Iterator[None]:
        """The same bit by bit."""
        events = [event for event in self.subscription.receive_nowait(self._batch()) if event.type != WINDOW]
        self._taken += len(events)
        now = round(self._wall() * 1e9)
        for kept in list(self._kept.values()):
            try:
                if events and kept.engine is not None:
                    yield from self._go(kept, kept.engine.steps(events, now, advance=False))
                if kept.engine is not None and not self.subscription.ready and not self.paused:
                    yield from self._go(kept, kept.engine.steps((), now, advance=True))
            except Exception as error:
                log.exception("the analytics %s met a bug", kept.form.name)
                kept.engine, kept.fault = None, f"it raised {error!r}"
                self._listen(kept, on=False)
                attrs = {"name": kept.form.name, "kind": "analytics", "status": "failed", "reason": kept.fault}
                self._bus.publish(SemanticEvent("system.definition", attrs=attrs))

    def _go(self, kept: _Kept, steps: Iterator[Output]) -> Iterator[None]:
        for output in steps:
            self._tell(kept.form.name, output)
            yield

    def _tell(self, definition: str, output: Output) -> None:
        if output.rows and self._bus.heard(WINDOW):
            for row in output.rows:
                event = row_event(row)
                attrs = {**event.attrs, "definition": definition}
                self._bus.publish(SemanticEvent(event.type, ts=event.ts, attrs=attrs))
        for finding in output.findings:
            self._bus.publish(finding_event(definition, finding))

    async def _wait(self) -> None:
        if self.subscription.ready:
            return
        self._signal = trio.Event()
        self.subscription.on_ready(self._signal.set)
        deadlines = [kept.engine.deadline() for kept in self._kept.values() if kept.engine is not None]
        due = min((one for one in deadlines if one is not None), default=None)
        wait = float("inf")
        if due is not None and not self.paused:
            wait = min(RECHECK_SECONDS, max(0.0, due / 1e9 - self._wall()) + 0.001)
        with trio.move_on_after(wait):
            await self._signal.wait()

    # What is asked of the bus

    def _hears(self, type_name: str) -> bool:
        return not self._shed and self._index.wants(type_name)

    def _takes(self, type_name: str, path: str, dest: str | None) -> bool:
        return not self.paused and bool(self._index.find(type_name, path if dest is None else dest))

    def _accepts(self, event: SemanticEvent) -> bool:
        return self._takes(event.type, event.path, event.dest)

    def _wants(self, type_name: str, path: str, maker: Maker) -> bool:
        return not self._shed and any(source.covers(path, maker) for source in self._index.find(type_name, path))


def finding_event(definition: str, finding: Finding) -> SemanticEvent:
    """The event that tells of a finding; a trend is a prediction of nothing, but says where things go."""
    if isinstance(finding, Trended):
        attrs = {name: getattr(finding, name) for name in finding.__slots__}
        return SemanticEvent("analytics.trend", ts=finding.end, attrs={**attrs, "definition": definition})
    attrs = {**finding.attrs(), "definition": definition}
    return SemanticEvent(finding.event_type, attrs=attrs)
