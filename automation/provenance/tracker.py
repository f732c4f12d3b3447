"""From events to facts about who made what from what. Pure: no clock, no disk; memory is bounded.

A file is an inode while it lives; each close after a change makes a new version of it. A version that a process makes
is derived from the versions that the process opened for reading before (the last 64), and revises the one that was
there. What an automation does is the run's doing: its versions are derived from the file of the event that started it.
Labels are bits: those that a definition names, and one for each place that a condition asks about.
"""

from __future__ import annotations

import fnmatch
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from automation.events import SemanticEvent
from automation.facts import target_of
from automation.globs import compile_globs
from automation.provenance.facts import Act, Again, Fact, Labelled, Moved, Named, NewAgent, NewFile, NewVersion, Read
from automation.provenance.files import Agent, File, Files
from automation.provenance.forms import ProvenanceForm
from automation.provenance.lineage import normal
from automation.provenance.pipes import NONE, Pipes

MOST_SOURCES: Final = 64
MOST_AGENTS: Final = 20_000
MOST_PIPES: Final = 10_000
MOST_MOVED: Final = 10_000
MOST_MOVES: Final = 8
MOST_REPEATED: Final = 10_000
REPEATED_NS: Final = 10**9  # an edge that is gone over again is told of once in so long
MOST_TOLD: Final = 1000  # files of a renamed directory whose labels are told
FORGOTTEN_NS: Final = 600 * 10**9  # a process of another name under the same number, so much later, is another
ASKED: Final = "<- "  # begins the label of a place that a condition asks about, which nobody is shown


class Tracker:
    """`first` is the first number that is free. Answers what conditions ask (`Lineage`)."""

    def __init__(self, form: ProvenanceForm, first: int = 1) -> None:
        self.files: Final = Files()
        self.next = first
        self.repeats = False  # whether somebody wants to hear of edges that are gone over again
        self.places: Final[dict[str, str]] = {}  # by label, where files have it: a pattern, or several as JSON
        self._covers: Callable[[str], bool] | None = None
        self._bits: Final[dict[str, int]] = {}
        self._tests: Final[dict[str, Callable[[str], bool]]] = {}
        self._count = 0
        self._agents: Final[OrderedDict[str | int, Agent]] = OrderedDict()
        self._shown: Final[dict[int, tuple[str, ...]]] = {0: ()}
        self._moved: Final[OrderedDict[str, str]] = OrderedDict()  # directories: where they were before
        self._exchanged = ("", "")
        self._piped: Final[OrderedDict[int, list[Agent]]] = OrderedDict()  # who writes to a pipe
        self._repeated: Final[OrderedDict[tuple[str, int, int], tuple[int, int]]] = (
            OrderedDict()
        )  # how often, when told
        self.use(form)

    # Labels

    def use(self, form: ProvenanceForm) -> None:
        """Track as this definition says. The labels that it adds are told to `mark` for what is known already."""
        self._covers = compile_globs(tuple(form.path)) if form.path else None
        places = {name: json.dumps(globs) for name, globs in form.labels.items()}
        for name in [name for name in self.places if not name.startswith(ASKED)]:
            if self.places[name] != places.get(name):
                del self.places[name], self._bits[name], self._tests[name]
        self._shown.clear()
        for name, globs in form.labels.items():
            if name not in self.places:
                self._place(name, places[name], tuple(globs))

    def require(self, pattern: str) -> bool:
        """Keep for each file whether it is from such a place; false when that is done already."""
        name = ASKED + pattern
        if name in self.places:
            return False
        self._place(name, pattern, (pattern,))
        return True

    def adopt(self, file: File) -> None:
        """A file that an earlier mount knew."""
        self.files.add(file)

    def move(self, new: str, old: str) -> None:
        """A directory went from `old` to `new`."""
        self._moved.pop(new, None)
        self._moved[new] = old
        if len(self._moved) > MOST_MOVED:
            self._moved.popitem(last=False)

    def mark(self, bit: int, versions: Iterable[int]) -> None:
        """Versions that were made before this label was kept have it."""
        found = set(versions)
        for file in list(self.files.by_inode.values()):
            if file.version in found or any(self._from(path) & bit for path in file.paths):
                self.files.mark(file, file.marks | bit)
        for agent in self._agents.values():
            for version in agent.reads.keys() & found:
                agent.reads[version] |= bit
                agent.marks |= bit

    def bit(self, name: str) -> int:
        """The bit of a label, 0 when it is not kept."""
        return self._bits.get(name, 0)

    def names(self, marks: int) -> list[str]:
        """All labels of some bits, for the store."""
        return [name for name, bit in self._bits.items() if marks & bit]

    def _place(self, name: str, place: str, globs: tuple[str, ...]) -> None:
        self._bits[name] = 1 << self._count
        self._count += 1
        self.places[name] = place
        self._tests[name] = compile_globs(globs)
        self._shown.clear()

    def _at(self, path: str) -> int:
        marks = 0
        for name, covers in self._tests.items():
            if covers(path):
                marks |= self._bits[name]
        return marks

    def _from(self, path: str) -> int:
        """The labels of a file that was there before it was first heard of: directories may have moved since."""
        marks, end = self._at(path), path.rfind("/")
        for _ in range(MOST_MOVES if self._moved else 0):
            while end > 0 and path[:end] not in self._moved:
                end = path.rfind("/", 0, end)
            if end <= 0:
                break
            path = self._moved[path[:end]] + path[end:]
            marks, end = marks | self._at(path), path.rfind("/")
        return marks

    def _labels(self, marks: int) -> tuple[str, ...]:
        found = self._shown.get(marks)
        if found is None:
            shown = [name for name, bit in self._bits.items() if marks & bit and not name.startswith(ASKED)]
            found = self._shown[marks] = tuple(sorted(shown))
        return found

    # What conditions ask

    def labels(self, path: str) -> list[str]:
        """Of a file or, where none is known at the path, of all files in it; and of the place itself."""
        return list(self._labels(self._marks(path)))

    def derived_from(self, path: str, pattern: str) -> bool:
        """ValueError for a pattern that no definition said it would ask about."""
        return bool(self._marks(path) & self._asked(pattern))

    def process_labels(self, pid: int) -> list[str]:
        """Of everything that it has read since it was first seen."""
        agent = self._agents.get(pid)
        return [] if agent is None else list(self._labels(agent.marks))

    def has_read(self, pid: int, pattern: str) -> bool:
        """ValueError as above."""
        agent, bit = self._agents.get(pid), self._asked(pattern)
        return agent is not None and bool(agent.marks & bit)

    def touched_by(self, path: str, who: str | int) -> bool:
        """Among the last 16 names and users."""
        file = self.files.at(path.lstrip("/"))
        if file is None:
            return False
        if isinstance(who, int):
            return who in file.hands
        return any(isinstance(hand, str) and fnmatch.fnmatchcase(hand, who) for hand in file.hands)

    def _marks(self, path: str) -> int:
        path = path.strip("/")
        file = self.files.at(path)
        marks = self.files.marks_in(path) if file is None or path not in self.files.by_path else 0
        return marks | (file.labelled if file is not None else self._from(path))

    def _asked(self, pattern: str) -> int:
        bit = self._bits.get(ASKED + normal(pattern))
        if bit is None:
            raise ValueError(f"whether files come from {pattern!r} is not kept")
        return bit

    # Events

    def inputs(self, pid: int) -> tuple[int, ...]:
        """The pipes that are known to lead to a process that has opened a file for writing."""
        agent = self._agents.get(pid)
        return () if agent is None or not agent.piped else agent.inputs

    def recent(self, question: str) -> list[str]:
        """Paths, pids, uids or runs that were seen, newest first."""
        if question in ("lineage", "impact", "runs"):
            return [file.path for file in reversed(self.files.by_inode.values()) if file.path]
        if question == "user":
            users = {hand for file in self.files.by_inode.values() for hand in file.hands if isinstance(hand, int)}
            return [str(uid) for uid in sorted(users)]
        kind = int if question == "process" else str
        return [str(number) for number in reversed(self._agents) if isinstance(number, kind)]

    def feed(self, event: SemanticEvent, pipes: Pipes = NONE) -> list[Fact]:
        """What an event says; `pipes` are those of the process that opens a file."""
        handler = HANDLERS.get(event.type)
        if handler is None or event.errno is not None:
            return []
        facts: list[Fact] = []
        if pipes is not NONE:
            self._pipe(event, pipes, facts)
        covers = self._covers
        if covers is None or not event.inode or covers(target_of(event)) or covers(event.path):
            handler(self, event, facts)
        return facts

    def _started(self, event: SemanticEvent, facts: list[Fact]) -> None:
        """A run: it has read the file of the event that started it."""
        agent = self._agent(event, facts)
        file = self.files.at(event.path) if event.path else None
        if agent is not None and file is not None:
            facts.append(Act("started", agent.id, file.version, event.ts))
            self._read(agent, file, event.ts, facts)

    def _created(self, event: SemanticEvent, facts: list[Fact]) -> None:
        old = self.files.by_inode.get(event.inode)
        if old is not None:  # the number of one that is gone
            self.files.forget(old)
        file = self._file(event.inode, event.path, event.ts, facts, blank=True)
        agent = self._agent(event, facts)
        if agent is not None:
            file.touch(agent.name, event.uid)

    def _opened(self, event: SemanticEvent, facts: list[Fact]) -> None:
        mode = event.attrs.get("mode", "")
        file = self._file(event.inode, event.path, event.ts, facts)
        agent = self._agent(event, facts)
        if agent is None:
            return
        file.touch(agent.name, event.uid)
        if "r" in mode:
            self._read(agent, file, event.ts, facts)
        if "w" in mode:
            file.writing.append(agent)

    def _pipe(self, event: SemanticEvent, pipes: Pipes, facts: list[Fact]) -> None:
        """What a process reads may go into its output, and what comes from its input into what it writes."""
        agent = self._agent(event, facts)
        if agent is None:
            return
        agent.inputs, agent.piped = pipes.sources, "w" in event.attrs.get("mode", "")
        if pipes.output:
            writers = self._piped.setdefault(pipes.output, [])
            if agent not in writers:
                writers.append(agent)
            self._piped.move_to_end(pipes.output)
            if len(self._piped) > MOST_PIPES:
                self._piped.popitem(last=False)

    def _copied(self, event: SemanticEvent, facts: list[Fact]) -> None:
        file = self.files.at(event.attrs.get("from", ""))
        agent = self._agent(event, facts)
        if file is not None and agent is not None:
            self._read(agent, file, event.ts, facts)

    def _flushed(self, event: SemanticEvent, facts: list[Fact]) -> None:
        """A descriptor for writing was closed: by the one that opened it, or a child that wrote."""
        file = self.files.by_inode.get(event.inode)
        agent = self._agent(event, facts) if file is not None and file.writing else None
        if file is not None and agent is not None:
            if agent in file.closers:
                file.closers.remove(agent)
            file.closers.append(agent)

    def _closed(self, event: SemanticEvent, facts: list[Fact]) -> None:
        attrs = event.attrs
        changed, writable = attrs.get("written") or attrs.get("created"), "w" in attrs.get("mode", "w")
        if not changed and not writable:
            return
        whole = attrs.get("size_before") == 0 or bool(attrs.get("created"))
        file = self._file(event.inode, event.path, event.ts, facts, blank=whole)
        agent = self._agent(event, facts)
        if changed:
            direct = list(dict.fromkeys([*file.writing, *([agent] if agent else []), *file.closers]))
            piped = [one for hand in direct for pipe in hand.inputs for one in self._piped.get(pipe, ())]
            hands = [*(one for one in piped if one not in direct), *direct]
            self._changed(event, file, hands, whole, facts)
        if agent in file.writing:
            file.writing.remove(agent)
        elif file.writing:  # opened by one that has handed it on
            del file.writing[0]
        if not file.writing:
            file.closers.clear()

    def _changed(self, event: SemanticEvent, file: File, hands: list[Agent], whole: bool, facts: list[Fact]) -> None:
        """A file has a new version, by the last of those who had it in hand; of what the others had read, too."""
        before, own = file.version, (file.version, file.pending)
        marks = self._at(event.path) | (0 if whole else file.marks)
        agent = hands[-1] if hands else None
        sources: tuple[int, ...] = ()
        if agent is not None:
            for other in hands[:-1]:
                for version, theirs in list(other.reads.items()):
                    if version not in agent.reads:
                        _note_read(agent, version, theirs, event.ts, facts)
            file.touch(agent.name, event.uid)
            sources = tuple(version for version in agent.reads if version not in own)
            for version in sources:
                marks |= agent.reads[version]
        lost = self._labels(file.marks & ~marks)
        self.files.mark(file, marks)
        file.version, file.pending = file.pending or self._number(), 0
        self.files.changed[file.id] = file
        labels = self._labels(marks)
        maker, upto = (0, 0) if agent is None else (agent.id, agent.read)
        revised, known = 0 if whole else before, " ".join(labels)
        facts.append(NewVersion(file.version, file.id, event.path, maker, revised, known, event.ts, upto, sources))
        if labels:
            facts.append(Labelled(event.path, labels, file.version, event))
        if lost:
            facts.append(Labelled(event.path, lost, file.version, event, lost=True))

    def _renamed(self, event: SemanticEvent, facts: list[Fact]) -> None:
        path, to = event.path, target_of(event)
        if event.type == "file.replaced":
            path = event.attrs.get("from", path)
        file = self._file(event.inode, path, event.ts, facts)
        if event.type == "file.replaced" and to in file.paths:
            return  # told by the rename before
        if event.type != "file.linked":
            self.files.unname(file, path)
            facts.append(Named(file.id, path, event.ts, gone=True))
        self._moved_to(file, to, event, facts)
        agent = self._agent(event, facts)
        if agent is not None:
            file.touch(agent.name, event.uid)
            kind = "linked" if event.type == "file.linked" else "renamed"
            self._act(kind, agent, file, event.ts, facts)
        if file.marks and (labels := self._labels(file.marks)):
            facts.append(Labelled(to, labels, file.version, event))

    def _moved_to(self, file: File, path: str, event: SemanticEvent, facts: list[Fact]) -> None:
        self.files.name(file, path)
        self.files.mark(file, file.labelled | self._at(path))
        facts.append(Named(file.id, path, event.ts))

    def _directory_renamed(self, event: SemanticEvent, facts: list[Fact]) -> None:
        """All files in it have other names; where two directories change places, those in both."""
        old, new = event.path, target_of(event)
        if (new, old) == self._exchanged:
            self._exchanged = ("", "")
            return  # told with the other
        moves = [(old, new)]
        if event.attrs.get("exchange"):
            self._exchanged = (old, new)
            moves.append((new, old))
        found = [(path, file, to + path[len(start) :]) for start, to in moves for path, file in self.files.below(start)]
        for path, file, _ in found:
            self.files.unname(file, path)
            facts.append(Named(file.id, path, event.ts, gone=True))
        for start, to in moves:
            self.move(to, start)
            facts.append(Moved(to, start))
        told = 0
        for _, file, path in found:
            self._moved_to(file, path, event, facts)
            if file.marks and told < MOST_TOLD and (labels := self._labels(file.marks)):
                told += 1
                facts.append(Labelled(path, labels, file.version, event))

    def _deleted(self, event: SemanticEvent, facts: list[Fact]) -> None:
        file = self.files.by_inode.get(event.inode)
        if file is None:
            return
        agent = self._agent(event, facts)
        facts.append(Named(file.id, event.path, event.ts, gone=True))
        self.files.unname(file, event.path)
        if not event.attrs.get("nlink"):
            self.files.forget(file)
            if agent is not None:
                facts.append(Act("invalidated", agent.id, file.id, event.ts))

    def _read(self, agent: Agent, file: File, ts: int, facts: list[Fact]) -> None:
        """What is there, and what is being written to it by others."""
        marks = file.labelled
        if any(one is not agent for one in file.writing):
            file.pending = file.pending or self._number()
            _note_read(agent, file.pending, marks, ts, facts)
        if file.version in agent.reads:
            self._again("used", agent, file.version, ts, facts, before=1)
        _note_read(agent, file.version, marks, ts, facts)

    def _act(self, kind: str, agent: Agent, file: File, ts: int, facts: list[Fact]) -> None:
        if (kind, agent.id, file.id) not in self._repeated:
            facts.append(Act(kind, agent.id, file.id, ts))
        self._again(kind, agent, file.id, ts, facts, before=0)

    def _again(self, kind: str, agent: Agent, target: int, ts: int, facts: list[Fact], *, before: int) -> None:
        """Count how often an agent does the same; `before` is how often it has where that was not counted yet."""
        count, told = self._repeated.pop((kind, agent.id, target), (before, ts - REPEATED_NS))
        count += 1
        if count > 1 and self.repeats and ts - told >= REPEATED_NS:
            told = ts
            facts.append(Again(kind, agent.id, target, count, ts))
        self._repeated[kind, agent.id, target] = count, told
        if len(self._repeated) > MOST_REPEATED:
            self._repeated.popitem(last=False)

    def _number(self) -> int:
        self.next += 1
        return self.next - 1

    def _file(self, inode: int, path: str, ts: int, facts: list[Fact], *, blank: bool = False) -> File:
        file = self.files.by_inode.get(inode)
        if file is None:
            marks = self._at(path) if blank else self._from(path)
            file = File(self._number(), inode, path, self._number(), marks)
            other = self.files.by_path.get(path)
            if other is not None:
                self.files.unname(other, path)
            self.files.add(file)
            facts.append(NewFile(file.id, path, ts))
            facts.append(Named(file.id, path, ts))
            if not blank:
                facts.append(NewVersion(file.version, file.id, path, 0, 0, " ".join(self._labels(file.marks)), ts))
        else:
            self.files.by_inode.move_to_end(inode)
        return file

    def _agent(self, event: SemanticEvent, facts: list[Fact]) -> Agent | None:
        """The run or process behind an event."""
        cause = event.cause
        if cause is None and not event.pid:
            return None  # behind the mount's back
        number = event.pid if cause is None else cause.run
        name = event.comm if cause is None else cause.workflow
        agent = self._agents.get(number)
        if agent is not None and agent.name != name and event.ts - agent.seen > FORGOTTEN_NS:
            agent = None
        if agent is None:
            while len(self._agents) >= MOST_AGENTS:
                self._agents.popitem(last=False)
            agent = self._agents[number] = Agent(self._number(), name, event.ts)
            kind = "process" if cause is None else "run"
            facts.append(NewAgent(agent.id, kind, str(number), name, event.uid, event.ts))
        elif agent.name != name:  # it has become another program
            agent.name = name
            facts.append(NewAgent(agent.id, "process", str(number), name, event.uid, event.ts, again=True))
        agent.seen = event.ts
        self._agents.move_to_end(number)
        return agent


def _note_read(agent: Agent, version: int, marks: int, ts: int, facts: list[Fact]) -> None:
    """The agent has read a version with such labels."""
    if version not in agent.reads:
        agent.read += 1
        facts.append(Read(agent.id, agent.read, version, ts))
        if len(agent.reads) >= MOST_SOURCES:
            del agent.reads[next(iter(agent.reads))]
    agent.reads[version] = marks
    agent.marks |= marks


HANDLERS: Final[Mapping[str, Callable[[Tracker, SemanticEvent, list[Any]], None]]] = {
    "file.created": Tracker._created,
    "file.opened": Tracker._opened,
    "file.closed": Tracker._closed,
    "sync.flush": Tracker._flushed,
    "file.renamed": Tracker._renamed,
    "file.replaced": Tracker._renamed,
    "file.linked": Tracker._renamed,
    "file.deleted": Tracker._deleted,
    "file.copied": Tracker._copied,
    "dir.renamed": Tracker._directory_renamed,
    "workflow.started": Tracker._started,
}
