"""From the bus to the graph: nothing is heard until a definition of kind `provenance` is loaded.

    bus ─► accept (by type) ─► queue ─► tracker ─► a thread ─► store
                                          └─► graph.node.created, graph.edge.created, graph.property.set

The queue holds 65,536 events; a full one drops the oldest, which the bus counts and announces. When the store cannot be
written, facts are dropped and counted, and the reason is in the status.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Any, Final

import trio

from automation.bus import Bus
from automation.errors import CallerError
from automation.events import SemanticEvent
from automation.provenance.forms import ProvenanceForm
from automation.provenance.store import Store
from automation.provenance.tracker import TYPES, Edge, Fact, Labelled, Node, Tracker
from automation.state_directory import StateDirectory

log: Final = logging.getLogger(__name__)

BATCH: Final = 2048
FILE: Final = "provenance.sqlite3"


class ProvenanceDesk:
    """`kept` is where the graph outlives the mount, None for in memory; `epoch` tells this mount from others."""

    def __init__(self, bus: Bus, kept: StateDirectory | None, epoch: str) -> None:
        self.dropped = 0
        self.ignored = 0
        self.fault = ""
        self._bus: Final = bus
        self.hides: Callable[[str], bool] = lambda path: False  # files that are not to be in the graph
        self._kept: Final = kept
        self._epoch: Final = epoch
        self._form: ProvenanceForm | None = None
        self._shed = False
        self._tracker: Tracker | None = None
        self._store: Store | None = None
        self._lock: Final = trio.Lock()
        self._changed = trio.Event()
        self.subscription: Final = bus.subscribe(
            "provenance",
            TYPES,
            wants=lambda type_name, path: False,  # opens and closes tell enough: nothing need be traced
            hears=lambda type_name: self._form is not None,
            takes=lambda type_name, path, dest: self._form is not None,
            accept=self._accepts,
        )

    def shed(self, on: bool) -> None:
        """Take no events for the load, or take them again."""
        self._shed = on

    def _accepts(self, event: SemanticEvent) -> bool:
        if self._shed:
            self.ignored += 1
        hidden = self.hides(event.path) or (event.dest is not None and self.hides(event.dest))
        return not self._shed and not hidden

    def install(self, form: ProvenanceForm) -> None:
        """Track as this definition says; a second one takes the place of the first."""
        if form != self._form:
            self._form = form
            self._renew()

    def remove(self, name: str) -> None:
        """Track no more; what is known stays."""
        if self._form is not None and self._form.name == name:
            self._form = None
            self._renew()

    def _renew(self) -> None:
        self._bus.reroute()
        self._changed.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then write down which files live."""
        task_status.started()
        try:
            while True:
                if self._form is None:
                    self._changed = trio.Event()
                    await self._changed.wait()
                    continue
                events = await self.subscription.receive(BATCH)
                await self._take(events)
                await self._bus.rest()
        finally:
            with trio.CancelScope(shield=True):
                await self._close()

    async def _take(self, events: list[SemanticEvent]) -> None:
        form = self._form
        if form is None:
            return
        async with self._lock:
            try:
                if self._store is None:
                    path = None if self._kept is None else self._kept.file(FILE)
                    self._store = await trio.to_thread.run_sync(Store, path, form.most_edges)
                    living = await trio.to_thread.run_sync(self._store.living)
                    self._tracker = Tracker(form, self._epoch, living)
                tracker = self._tracker
                assert tracker is not None
                facts = [fact for event in events for fact in tracker.feed(event)]
                self._tell(facts)
                await trio.to_thread.run_sync(self._store.add, facts)
                self.fault = ""
            except (sqlite3.Error, OSError) as error:
                self.dropped += len(events)
                if not self.fault:
                    log.warning("the graph of provenance cannot be written: %s", error)
                self.fault = str(error)

    def _tell(self, facts: list[Fact]) -> None:
        """The events of the graph, where anybody listens to them."""
        for fact in facts:
            if isinstance(fact, Node) and self._bus.heard("graph.node.created"):
                attrs: dict[str, Any] = {"node": fact.key, "kind": fact.kind, "label": fact.label}
                self._bus.publish(SemanticEvent("graph.node.created", attrs=attrs))
            elif isinstance(fact, Edge) and self._bus.heard("graph.edge.created"):
                attrs = {"from": fact.source, "kind": fact.kind, "to": fact.target}
                self._bus.publish(SemanticEvent("graph.edge.created", attrs=attrs))
            elif isinstance(fact, Labelled) and self._bus.heard("graph.property.set"):
                self._bus.publish(label_event(fact))

    async def ask(self, question: str, subject: str) -> dict[str, Any]:
        """`lineage` or `impact` of a path, or what a `process`, `user` or `run` touched; CallerError for another
        question, or when nothing is tracked.
        """
        if question not in QUESTIONS:
            raise CallerError(f"the questions are {', '.join(QUESTIONS)}, not {question!r}")
        async with self._lock:
            store = self._store
            if store is None:
                raise CallerError("nothing is tracked: load a definition of kind 'provenance'")
            if question in ("lineage", "impact"):
                found = await trio.to_thread.run_sync(lambda: store.related(subject, back=question == "lineage"))
            else:
                key = f"process:%:{subject}:%" if question == "process" else f"{question}:{subject}"
                found = await trio.to_thread.run_sync(store.around, key)
        self._bus.publish(SemanticEvent("graph.queried", attrs={"question": question, "subject": subject}))
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
        async with self._lock:
            if self._store is not None:
                out |= await trio.to_thread.run_sync(self._store.counts)
        return out

    async def _close(self) -> None:
        store, self._store = self._store, None
        if store is None:
            return
        try:
            if self._tracker is not None:
                files = list(self._tracker.files.items())
                await trio.to_thread.run_sync(store.keep, files)
        except sqlite3.Error as error:
            log.warning("which files live is not written down: %s", error)
        await trio.to_thread.run_sync(store.close)


QUESTIONS: Final = ("lineage", "impact", "process", "user", "run")


def label_event(fact: Labelled) -> SemanticEvent:
    """A labelled file is at a path: who brought it there, and by what."""
    event = fact.event
    attrs = {"labels": list(fact.labels), "version": fact.version, "by": event.type, "from": event.path}
    return SemanticEvent(
        "graph.property.set",
        fact.path,
        inode=event.inode,
        pid=event.pid,
        uid=event.uid,
        gid=event.gid,
        comm=event.comm,
        cause=event.cause,
        attrs=attrs,
    )
