"""From the bus to the graph: nothing is heard until a definition of kind `provenance` is loaded.

    bus ─► accept: tracker ─► what conditions ask          (in the publisher's time, a few microseconds)
                      └─► facts ─► queue ─► a thread ─► store
                                     └─► the events of the graph

The queue holds the facts of 65,536 events; a full one drops the oldest, which the bus counts and announces. When the
store cannot be written, facts are dropped and counted, and the reason is in the status. Under load facts are given up,
labels never.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import trio

from automation.bus import Bus
from automation.errors import CallerError
from automation.events import SemanticEvent
from automation.globs import compile_globs
from automation.makers import Maker
from automation.provenance.announcing import events_of
from automation.provenance.facts import Fact
from automation.provenance.files import File
from automation.provenance.forms import ProvenanceForm
from automation.provenance.lineage import Lineage
from automation.provenance.pipes import NONE, Pipes, pipes_of
from automation.provenance.store import Living, Store
from automation.provenance.tracker import ASKED, HANDLERS, MOST_AGENTS, Tracker
from automation.state_directory import StateDirectory

log: Final = logging.getLogger(__name__)

BATCH: Final = 2048
FILE: Final = "provenance.sqlite3"
CAPACITY: Final = 65_536
QUESTIONS: Final = ("lineage", "impact", "runs", "process", "user", "run")


class ProvenanceDesk:
    """`kept` is where the graph outlives the mount, None for in memory."""

    def __init__(self, bus: Bus, kept: StateDirectory | None) -> None:
        self.dropped = 0
        self.ignored = 0
        self.fault = ""
        self._bus: Final = bus
        self.hides: Callable[[str], bool] = lambda path: False  # files that are not to be in the graph
        self._kept: Final = kept
        self._form: ProvenanceForm | None = None
        self._shed = False
        self._required: dict[str, Collection[str]] = {}
        self._tracker: Tracker | None = None
        self._store: Store | None = None
        self._lock: Final = trio.Lock()
        self._changed = trio.Event()
        self._pending: Final[deque[SemanticEvent | list[Fact]]] = deque()
        self._pruned = 0
        self._runs: Final[dict[int, str]] = {}  # the keys of their nodes
        self.subscription: Final = bus.subscribe(
            "provenance",
            HANDLERS,
            wants=self._wants,
            hears=lambda type_name: self._form is not None,
            takes=lambda type_name, path, dest: self._form is not None,
            accept=self._accepts,
            capacity=CAPACITY,
        )

    @property
    def cost(self) -> float:
        """Not known: what is given up is mostly a thread's."""
        return 0.0

    def shed(self, on: bool) -> None:
        """Write down nothing for the load, or do so again; labels are kept all the same."""
        self._shed = on

    # Definitions

    @property
    def active(self) -> bool:
        """Whether a definition is loaded."""
        return self._form is not None

    def install(self, form: ProvenanceForm) -> None:
        """Track as this definition says; a second one takes the place of the first."""
        if form != self._form:
            self._form = form
            if self._tracker is not None:
                self._tracker.use(form)
            self._renew()

    def remove(self, name: str) -> None:
        """Track no more; what is known stays."""
        if self._form is not None and self._form.name == name:
            self._form = None
            self._renew()

    def require(self, name: str, patterns: Collection[str]) -> None:
        """The conditions of a definition ask whether files come from these places; none when it is gone."""
        if patterns:
            self._required[name] = patterns
        else:
            self._required.pop(name, None)
        tracker = self._tracker
        if tracker is not None and [one for one in patterns if tracker.require(one)]:
            self._changed.set()

    def _renew(self) -> None:
        self._bus.reroute()
        self._changed.set()

    # What conditions ask

    def labels(self, path: str) -> list[str]:
        """See `Lineage`."""
        return self._asked().labels(path)

    def derived_from(self, path: str, pattern: str) -> bool:
        """See `Lineage`."""
        return self._asked().derived_from(path, pattern)

    def process_labels(self, pid: int) -> list[str]:
        """See `Lineage`."""
        return self._asked().process_labels(pid)

    def has_read(self, pid: int, pattern: str) -> bool:
        """See `Lineage`."""
        return self._asked().has_read(pid, pattern)

    def touched_by(self, path: str, who: str | int) -> bool:
        """See `Lineage`."""
        return self._asked().touched_by(path, who)

    def _asked(self) -> Lineage:
        if self._form is None:
            raise ValueError("no definition of kind 'provenance' is loaded")
        if self._tracker is None:
            raise ValueError("the graph of provenance is not read yet")
        return self._tracker

    # Events

    def _wants(self, type_name: str, path: str, maker: Maker) -> bool:
        """Opens and closes tell enough, so nothing need be traced; but each close of a writer."""
        return self._form is not None and type_name == "sync.flush.writer"

    def _accepts(self, event: SemanticEvent) -> bool:
        if self.hides(event.path) or (event.dest is not None and self.hides(event.dest)):
            return False
        item: SemanticEvent | list[Fact] = event
        if self._tracker is not None:
            self._tracker.repeats = self._bus.heard("graph.edge.updated")
            try:
                item = self._tracker.feed(event, _pipes(event, self._tracker))
            except Exception:  # the bus closes the subscription and says so; then nobody may rely on the labels
                self._tracker = None
                raise
            if not item:
                return False
            if self._shed:
                self.ignored += 1
                return False
        if len(self._pending) >= CAPACITY:
            self._pending.popleft()
        self._pending.append(item)
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, then write down what is left. Started when what is known is read."""
        try:
            async with trio.open_nursery() as nursery:
                await self._prepare()
                nursery.start_soon(self._follow)
                task_status.started()
                while True:
                    await self._take(await self.subscription.receive(BATCH))
                    await self._bus.rest()
        finally:
            with trio.CancelScope(shield=True):
                await self._close()

    async def _follow(self) -> None:
        """Catch up with definitions."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            await self._prepare()

    async def ready(self) -> None:
        """Wait until conditions may ask what is loaded."""
        if self._form is not None and self._tracker is None:
            await self._prepare()

    async def _prepare(self) -> None:
        async with self._lock:
            await self._safely(self._open)

    async def _take(self, events: list[SemanticEvent]) -> None:
        items = [self._pending.popleft() for event in events if event.type in HANDLERS and self._pending]
        async with self._lock:
            if self._tracker is None and self._form is not None:
                await self._safely(self._open)
            tracker = self._tracker
            if tracker is None:
                self.dropped += len(items)
                return
            facts = [fact for item in items for fact in (item if isinstance(item, list) else tracker.feed(item))]
            self._tell(facts)
            await self._safely(lambda: self._write(facts), len(items))

    async def _safely(self, act: Any, events: int = 0) -> None:
        """What cannot be written is counted, and said."""
        try:
            await act()
            self.fault = ""
        except (sqlite3.Error, OSError) as error:
            self.dropped += events
            if not self.fault:
                log.warning("the graph of provenance cannot be kept: %s", error)
            self.fault = str(error)

    async def _write(self, facts: list[Fact]) -> None:
        store, tracker = self._store, self._tracker
        assert store is not None and tracker is not None
        changed = list(tracker.files.changed.values())
        tracker.files.changed.clear()
        living = [living_row(tracker, file) for file in changed if tracker.files.lives(file)]
        dead = [file.id for file in changed if not tracker.files.lives(file)]
        try:
            await trio.to_thread.run_sync(store.add, facts, living, dead)
        except BaseException:
            tracker.files.changed.update({file.id: file for file in changed})
            raise
        if store.pruned > self._pruned:
            for name in ("graph.edge.deleted", "graph.node.deleted"):
                if self._bus.heard(name):
                    self._bus.publish(SemanticEvent(name, attrs={"reason": "pruned", "edges": store.pruned}))
            self._pruned = store.pruned

    async def _open(self) -> None:
        """Read what is known, and see to the labels that are not kept yet for all of it."""
        form = self._form
        if form is None:
            return
        if self._store is None:
            path = None if self._kept is None else self._kept.file(FILE)
            self._store = await trio.to_thread.run_sync(Store, path, form.most_edges)
        store = self._store
        if self._tracker is None:
            tracker = Tracker(form, await trio.to_thread.run_sync(lambda: store.first))
            for pattern in self._patterns():
                tracker.require(pattern)
            kept = await trio.to_thread.run_sync(store.labels)
            current = {name for name, places in tracker.places.items() if kept.get(name) == places}
            for row in await trio.to_thread.run_sync(store.living):
                tracker.adopt(read_living(tracker, row, current))
            for new, old in await trio.to_thread.run_sync(store.moved):
                tracker.move(new, old)
            tracker.files.changed.clear()
            for i, item in enumerate(self._pending):  # what came meanwhile
                if isinstance(item, SemanticEvent):
                    self._pending[i] = tracker.feed(item)
            self._tracker = tracker
        else:
            for pattern in self._patterns():
                self._tracker.require(pattern)
        await self._catch_up(store, self._tracker)

    def _patterns(self) -> list[str]:
        return sorted({one for patterns in self._required.values() for one in patterns})

    async def _catch_up(self, store: Store, tracker: Tracker) -> None:
        """Twice, for what is made meanwhile from what has no label yet."""
        kept = await trio.to_thread.run_sync(store.labels)
        missing = {name: places for name, places in tracker.places.items() if kept.get(name) != places}
        for _ in range(2 if missing else 0):
            for name, places in missing.items():
                await self._write([])
                covers = compile_globs((places,) if name.startswith(ASKED) else tuple(json.loads(places)))
                tracker.mark(tracker.bit(name), await trio.to_thread.run_sync(store.from_places, covers))
        if missing or kept.keys() - tracker.places.keys():
            await self._write([])
            await trio.to_thread.run_sync(store.keep_labels, dict(tracker.places))

    def _tell(self, facts: Iterable[Fact]) -> None:
        """The events of the graph, where anybody listens to them."""
        for event in events_of(facts, self._bus.heard, agents=self._runs):
            self._bus.publish(event)
        while len(self._runs) > MOST_AGENTS:
            del self._runs[next(iter(self._runs))]

    # For people

    async def ask(self, question: str, subject: str) -> dict[str, Any]:
        """`lineage` or `impact` of a path, the `runs` that made it, or what a `process`, `user` or `run` touched;
        CallerError for another question, or when nothing is tracked.
        """
        if question not in QUESTIONS:
            raise CallerError(f"the questions are {', '.join(QUESTIONS)}, not {question!r}")
        async with self._lock:
            store = self._store
            if store is None:
                raise CallerError("nothing is tracked: load a definition of kind 'provenance'")
            if question in ("lineage", "impact"):
                found = await trio.to_thread.run_sync(lambda: store.related(subject, back=question == "lineage"))
            elif question == "runs":
                found = await trio.to_thread.run_sync(store.runs, subject)
            else:
                found = await trio.to_thread.run_sync(store.around, question, subject)
        attrs = {"question": question, "subject": subject, "nodes": len(found["nodes"])}
        self._bus.publish(SemanticEvent("graph.queried", attrs=attrs))
        if question in ("lineage", "impact", "runs"):
            self._bus.publish(SemanticEvent("graph.traversed", attrs=attrs))
        return {"question": question, "subject": subject, **found}

    def recent(self, question: str) -> list[str]:
        """Subjects that one may ask about, newest first: at most 200."""
        if self._tracker is None:
            return []
        return self._tracker.recent(question)[:200]

    async def status(self) -> dict[str, Any]:
        """Plain values."""
        out: dict[str, Any] = {"definition": None if self._form is None else self._form.name, "dropped": self.dropped}
        out |= {"shed": self.ignored} if self.ignored else {}
        if self.fault:
            out["fault"] = self.fault
        if self._tracker is not None and (asked := self._patterns()):
            out["asked"] = asked
        async with self._lock:
            if self._store is not None:
                out |= await trio.to_thread.run_sync(self._store.counts)
        return out

    async def _close(self) -> None:
        if self._store is None:
            return
        if self._tracker is not None:
            await self._take(self.subscription.receive_nowait(CAPACITY))
        store, self._store = self._store, None
        await trio.to_thread.run_sync(store.close)


def _pipes(event: SemanticEvent, tracker: Tracker) -> Pipes:
    """Those of a process that opens a file, while it waits for the answer."""
    if event.type != "file.opened" or not event.pid or event.cause is not None:
        return NONE
    return pipes_of(event.pid, tracker.inputs(event.pid), upstream="w" in event.attrs.get("mode", ""))


def living_row(tracker: Tracker, file: File) -> Living:
    """A file as the store keeps it."""
    texts = (json.dumps(one) for one in (file.paths, tracker.names(file.marks), file.hands))
    return (file.id, file.inode, file.version, *texts)  # type: ignore[return-value]


def read_living(tracker: Tracker, row: Living, current: Collection[str]) -> File:
    """And back, with the labels that are `current`."""
    number, inode, version, paths, labels, hands = row
    file = File(number, inode, "", version)
    file.paths.extend(json.loads(paths))
    file.hands = tuple(json.loads(hands))
    for name in json.loads(labels):
        file.marks |= tracker.bit(name) if name in current else 0
    return file
