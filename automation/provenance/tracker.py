"""From events to facts about who made what from what. Pure: no clock, no file; memory is bounded.

A file is an inode while it lives; each close after a change makes a new version of it. A version that a process makes
is derived from the versions that the process opened for reading before (the last 64), and revises the one that was
there. What an automation does is the run's doing: its versions are derived from the file of the event that started it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from automation.events import SemanticEvent
from automation.facts import target_of
from automation.globs import compile_globs
from automation.provenance.forms import ProvenanceForm

TYPES: Final = (
    "file.created",
    "file.opened",
    "file.closed",
    "file.renamed",
    "file.replaced",
    "file.linked",
    "file.deleted",
    "file.copied",
    "workflow.started",
)
MOST_SOURCES: Final = 64
MOST_FILES: Final = 200_000
MOST_AGENTS: Final = 20_000
FORGOTTEN_NS: Final = 600 * 10**9  # a process of another name under the same number, so much later, is another


@dataclass(frozen=True, slots=True)
class Node:
    """A file, version, process, user or run: `key` is unique, `label` for people."""

    key: str
    kind: str
    label: str
    ts: int
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """From an effect to its cause, as in PROV."""

    kind: str
    source: str
    target: str
    ts: int


@dataclass(frozen=True, slots=True)
class Named:
    """A file goes by a path from `ts` on."""

    path: str
    file: str
    ts: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """A file with labels is at a path: it came there, or a version of it was made there."""

    path: str
    labels: tuple[str, ...]
    version: str
    event: SemanticEvent


Fact = Node | Edge | Named | Labelled


@dataclass(slots=True)
class File:
    """A file that lives: how often it has been changed, where it is, its labels."""

    key: str
    path: str
    version: int = 0
    labels: tuple[str, ...] = ()

    @property
    def current(self) -> str:
        """The key of its present version."""
        return f"{self.key}.{self.version}"


@dataclass(slots=True)
class _Agent:
    """A process or run: what it has read, newest last."""

    key: str
    name: str
    seen: int
    reads: OrderedDict[str, tuple[str, ...]] = field(default_factory=OrderedDict)


class Tracker:
    """`epoch` tells the inodes and processes of one mount from those of another; `files` are those that an earlier
    mount knew, by inode.
    """

    def __init__(self, form: ProvenanceForm, epoch: str, files: Mapping[int, File] | None = None) -> None:
        self._covers: Final = compile_globs(tuple(form.path)) if form.path else None
        self._labels: Final[list[tuple[str, Callable[[str], bool]]]] = [
            (name, compile_globs(tuple(globs))) for name, globs in form.labels.items()
        ]
        self._epoch: Final = epoch
        self._files: Final[OrderedDict[int, File]] = OrderedDict(files or {})
        self._agents: Final[OrderedDict[str, _Agent]] = OrderedDict()
        self._users: Final[set[int]] = set()
        self._count = 0

    @property
    def files(self) -> Mapping[int, File]:
        """Those that live and are known, by inode."""
        return self._files

    def recent(self, question: str) -> list[str]:
        """Paths, pids, uids or runs that were seen, newest first."""
        if question in ("lineage", "impact"):
            return list(dict.fromkeys(file.path for file in reversed(self._files.values())))
        if question == "user":
            return [str(uid) for uid in self._users]
        return [key.rpartition(":")[2] for key in reversed(self._agents) if key.startswith(f"{question}:")]

    def feed(self, event: SemanticEvent) -> list[Fact]:
        """What an event says."""
        if event.errno is not None or event.type not in TYPES:
            return []
        facts: list[Fact] = []
        if event.type == "workflow.started":
            self._started(event, facts)
        elif event.inode and (self._covers is None or self._covers(target_of(event)) or self._covers(event.path)):
            _HANDLERS[event.type](self, event, facts)
        return facts

    def _started(self, event: SemanticEvent, facts: list[Fact]) -> None:
        """A run: it has read the file of the event that started it."""
        agent = self._agent(event, facts)
        if agent is None or not event.path:
            return
        file = next((one for one in reversed(self._files.values()) if one.path == event.path), None)
        if file is not None:
            self._read(agent, file, event.ts, facts)

    def _created(self, event: SemanticEvent, facts: list[Fact]) -> None:
        self._files.pop(event.inode, None)  # the number of one that is gone
        self._file(event.inode, event.path, event.ts, facts)

    def _opened(self, event: SemanticEvent, facts: list[Fact]) -> None:
        if "r" not in event.attrs.get("mode", ""):
            return
        file = self._file(event.inode, event.path, event.ts, facts)
        agent = self._agent(event, facts)
        if agent is not None:
            self._read(agent, file, event.ts, facts)

    def _copied(self, event: SemanticEvent, facts: list[Fact]) -> None:
        origin = event.attrs.get("from")
        file = next((one for one in reversed(self._files.values()) if one.path == origin), None)
        agent = self._agent(event, facts)
        if file is not None and agent is not None:
            self._read(agent, file, event.ts, facts)

    def _closed(self, event: SemanticEvent, facts: list[Fact]) -> None:
        attrs = event.attrs
        if not attrs.get("written") and not attrs.get("created"):
            return
        file = self._file(event.inode, event.path, event.ts, facts)
        before, whole = file.current, attrs.get("size_before") == 0 or attrs.get("created")
        agent = self._agent(event, facts)
        sources = [] if agent is None else list(agent.reads.items())[-MOST_SOURCES:]
        labels = set(self._labels_at(event.path)) | (set() if whole else set(file.labels))
        labels |= {label for version, theirs in sources if version != before for label in theirs}
        file.version += 1
        file.labels = tuple(sorted(labels))
        facts.append(Node(file.current, "version", event.path, event.ts, file.labels))
        facts.append(Edge("specializationOf", file.current, file.key, event.ts))
        if agent is not None:
            facts.append(Edge("wasGeneratedBy", file.current, agent.key, event.ts))
        if not whole:
            facts.append(Edge("wasRevisionOf", file.current, before, event.ts))
        facts += [Edge("wasDerivedFrom", file.current, one, event.ts) for one, _ in sources if one != before]
        if file.labels:
            facts.append(Labelled(event.path, file.labels, file.current, event))

    def _renamed(self, event: SemanticEvent, facts: list[Fact]) -> None:
        file = self._file(event.inode, event.path, event.ts, facts)
        file.path = target_of(event)
        file.labels = tuple(sorted({*file.labels, *self._labels_at(file.path)}))
        facts.append(Named(file.path, file.key, event.ts))
        agent = self._agent(event, facts)
        if agent is not None:
            facts.append(Edge("renamed", agent.key, file.key, event.ts))
        if file.labels:
            facts.append(Labelled(file.path, file.labels, file.current, event))

    def _deleted(self, event: SemanticEvent, facts: list[Fact]) -> None:
        file = self._files.get(event.inode)
        agent = self._agent(event, facts) if file is not None else None
        if file is not None and agent is not None:
            facts.append(Edge("wasInvalidatedBy", file.key, agent.key, event.ts))
        if not event.attrs.get("nlink"):
            self._files.pop(event.inode, None)

    def _file(self, inode: int, path: str, ts: int, facts: list[Fact]) -> File:
        file = self._files.get(inode)
        if file is None:
            while len(self._files) >= MOST_FILES:
                self._files.popitem(last=False)
            self._count += 1
            file = self._files[inode] = File(f"file:{self._epoch}:{inode}:{self._count}", path)
            file.labels = self._labels_at(path)
            facts.append(Node(file.key, "file", path, ts, file.labels))
            facts.append(Named(path, file.key, ts))
            facts.append(Node(file.current, "version", path, ts, file.labels))
            facts.append(Edge("specializationOf", file.current, file.key, ts))
        self._files.move_to_end(inode)
        return file

    def _labels_at(self, path: str) -> tuple[str, ...]:
        return tuple(name for name, covers in self._labels if covers(path))

    def _read(self, agent: _Agent, file: File, ts: int, facts: list[Fact]) -> None:
        if file.current not in agent.reads:
            facts.append(Edge("used", agent.key, file.current, ts))
        agent.reads[file.current] = file.labels
        agent.reads.move_to_end(file.current)
        while len(agent.reads) > MOST_SOURCES:
            agent.reads.popitem(last=False)

    def _agent(self, event: SemanticEvent, facts: list[Fact]) -> _Agent | None:
        """The run or process behind an event."""
        cause = event.cause
        number = f"run:{cause.run}" if cause is not None else f"process:{self._epoch}:{event.pid}"
        if cause is None and not event.pid:
            return None  # behind the mount's back
        name = cause.workflow if cause is not None else event.comm
        agent = self._agents.get(number)
        if agent is not None and agent.name != name and event.ts - agent.seen > FORGOTTEN_NS:
            agent = None
        if agent is None:
            while len(self._agents) >= MOST_AGENTS:
                self._agents.popitem(last=False)
            key = number if cause is not None else f"{number}:{event.ts}"
            agent = self._agents[number] = _Agent(key, name, event.ts)
            kind = "run" if cause is not None else "process"
            facts.append(Node(key, kind, f"{name} ({number.rpartition(':')[2]})", event.ts))
            if cause is None:
                facts += self._user(event, key)
        elif agent.name != name:  # it has become another program
            agent.name = name
            facts.append(Node(agent.key, "process", f"{name} ({event.pid})", event.ts))
        agent.seen = event.ts
        self._agents.move_to_end(number)
        return agent

    def _user(self, event: SemanticEvent, process: str) -> Iterable[Fact]:
        key = f"user:{event.uid}"
        if event.uid not in self._users:
            self._users.add(event.uid)
            yield Node(key, "user", f"uid {event.uid}", event.ts)
        yield Edge("wasAssociatedWith", process, key, event.ts)


_HANDLERS: Final[Mapping[str, Callable[[Tracker, SemanticEvent, list[Any]], None]]] = {
    "file.created": Tracker._created,
    "file.opened": Tracker._opened,
    "file.closed": Tracker._closed,
    "file.renamed": Tracker._renamed,
    "file.replaced": Tracker._renamed,
    "file.linked": Tracker._renamed,
    "file.deleted": Tracker._deleted,
    "file.copied": Tracker._copied,
}
