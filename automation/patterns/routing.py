"""Many patterns at once: which of them an event concerns, one clock for all, one bound over all.

An event reaches a detector if its type and the literal beginning or extension of its path could begin a match there, or
if the detector has a partition for the event's values of the fields that it is partitioned by: one look-up for all
patterns that name the type and are partitioned alike. So what a thousand patterns cost is what the few that are
concerned cost.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, Protocol

from automation.events import SemanticEvent
from automation.index import Index, names_of
from automation.patterns.detector import key_of
from automation.patterns.interests import Concern, anchors_of
from automation.patterns.outcomes import Failed, Outcome
from automation.patterns.skipping import SkipError

log: Final = logging.getLogger(__name__)
_MOST_TYPES: Final = 50_000


class Detecting(Protocol):
    """What the set needs of a detector."""

    @property
    def name(self) -> str: ...
    @property
    def live(self) -> int: ...
    @property
    def weight(self) -> int: ...
    def feed(self, event: SemanticEvent, now: int | None = None) -> Sequence[Outcome]: ...
    def advance(self, now: int) -> Sequence[Outcome]: ...
    def watermark(self, ts: int) -> Sequence[Outcome]: ...
    def deadline(self) -> int | None: ...
    def shed(self, count: int, what: Literal["partials", "bytes"] = "partials") -> list[Outcome]: ...
    def status(self) -> dict[str, Any]: ...
    def concern(self) -> Concern: ...
    def watch(self, seen: Callable[[Hashable, bool], None]) -> None: ...


class _Live:
    """Detectors that name one event type and are partitioned by the same fields: by `key`, those that have such a
    partition now.
    """

    __slots__ = ("entries", "key", "members")

    def __init__(self, by: tuple[str, ...]) -> None:
        key = key_of(by)
        assert key is not None
        self.key: Final = key
        self.members = 0
        self.entries: Final[dict[Hashable, list[_Entry]]] = {}

    def note(self, entry: _Entry, key: Hashable, begun: bool) -> None:
        """A detector's partition began or ended."""
        if begun:
            self.entries.setdefault(key, []).append(entry)
            return
        left = [other for other in self.entries[key] if other is not entry]
        if left:
            self.entries[key] = left  # a list that is being walked stays as it is
        else:
            del self.entries[key]

    def forget(self, entry: _Entry) -> None:
        """Take a removed detector out."""
        self.members -= 1
        for key in [key for key, entries in self.entries.items() if entry in entries]:
            self.note(entry, key, False)


class _Entry:
    """A detector in the set; `due` (ns) is the deadline under which it is filed, `failed` why it is disabled."""

    __slots__ = ("detector", "due", "failed", "live", "weight")

    def __init__(self, detector: Detecting) -> None:
        self.detector: Final = detector
        self.due: int | None = None
        self.failed = ""
        self.live = 0
        self.weight = 0

    def watcher(self, lives: Sequence[_Live]) -> Callable[[Hashable, bool], None]:
        """What the detector tells about its partitions."""

        def seen(key: Hashable, begun: bool) -> None:
            for live in lives:
                live.note(self, key, begun)

        return seen


class PatternSet:
    """All detectors by name. A detector that raises is disabled and reported; the others are untouched.

    Together they hold at most `max_partials` of about `max_bytes`; beyond that those that hold most give up their
    oldest.
    """

    def __init__(
        self, detectors: Iterable[Detecting] = (), *, max_partials: int = 1_000_000, max_bytes: int = 1_000_000_000
    ) -> None:
        self.live = 0
        self.weight = 0
        self._max_partials: Final = max_partials
        self._max_bytes: Final = max_bytes
        self._entries: Final[dict[str, _Entry]] = {}
        self._index: Final[Index[_Entry]] = Index()
        self._lives: Final[dict[str, dict[tuple[str, ...], _Live]]] = {}  # by the types that patterns name, and fields
        self._known: Final[dict[str, tuple[_Live, ...]]] = {}  # by the types of events
        self._deadlines: Final[list[tuple[int, int, _Entry]]] = []
        self._count = 0
        for detector in detectors:
            self.add(detector)

    def __iter__(self) -> Iterator[Detecting]:
        return (entry.detector for entry in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, name: str) -> Detecting:
        return self._entries[name].detector

    @property
    def failed(self) -> Mapping[str, str]:
        """Disabled detectors and why."""
        return {name: entry.failed for name, entry in self._entries.items() if entry.failed}

    def add(self, detector: Detecting) -> None:
        """Add a detector, or put it in the place of its namesake; the state of the others stays."""
        self.remove(detector.name)
        entry = self._entries[detector.name] = _Entry(detector)
        concern = detector.concern()
        for types, globs in concern.always:
            self._index.add(entry, _names(types), anchors_of(globs))
        if concern.by:
            lives = [
                self._lives.setdefault(name, {}).setdefault(concern.by, _Live(concern.by))
                for name in _names(concern.types)
            ]
            for live in lives:
                live.members += 1
            detector.watch(entry.watcher(lives))
        self._account(entry)  # it may bring partial matches along
        self._known.clear()

    def remove(self, name: str) -> None:
        """Forget a detector and its partial matches; an unknown name is no error."""
        entry = self._entries.pop(name, None)
        if entry is None:
            return
        self._let_go(entry)
        entry.failed = "removed"
        concern = entry.detector.concern()
        for types, globs in concern.always:
            self._index.remove(entry, _names(types), anchors_of(globs))
        for type_name in _names(concern.types) if concern.by else ():
            lives = self._lives[type_name]
            lives[concern.by].forget(entry)
            if not lives[concern.by].members:
                del lives[concern.by]
        self._known.clear()

    def feed(
        self, event: SemanticEvent, now: int | None = None, *, without: Container[str] | None = None
    ) -> list[Outcome]:
        """Give the event to the detectors that it may concern, but not to those named in `without`."""
        out: list[Outcome] = []
        for entry in self._concerned(event):
            if not entry.failed and (without is None or entry.detector.name not in without):
                self._call(entry, entry.detector.feed, event, out)
        if self.live > self._max_partials or self.weight > self._max_bytes:
            self._shed(out)
        return out

    def advance(self, now: int) -> list[Outcome]:
        """Let time pass to `now` (ns) for the detectors that wait for it."""
        out: list[Outcome] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            due, _, entry = heapq.heappop(self._deadlines)
            if entry.due == due and not entry.failed:
                entry.due = None
                self._call(entry, entry.detector.advance, now, out)
        return out

    def watermark(self, ts: int) -> list[Outcome]:
        """In event time: nothing with this `ts` (ns) or an older one comes any more."""
        out: list[Outcome] = []
        for entry in self._entries.values():
            if not entry.failed:
                self._call(entry, entry.detector.watermark, ts, out)
        return out

    def deadline(self) -> int | None:
        """When `advance` should be called next (ns)."""
        while self._deadlines and (self._deadlines[0][2].due != self._deadlines[0][0] or self._deadlines[0][2].failed):
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def _call(
        self, entry: _Entry, method: Callable[[Any], Sequence[Outcome]], argument: Any, out: list[Outcome]
    ) -> None:
        detector = entry.detector
        try:
            outcomes = method(argument)
            if outcomes:
                out.extend(outcomes)
            self._account(entry)
        except SkipError as error:  # as its `or fail` wants
            log.warning("pattern %s is disabled: %s", detector.name, error)
            self._fail(entry, str(error), out)
        except Exception as error:
            log.warning("pattern %s raised and is disabled", detector.name, exc_info=True)
            self._fail(entry, f"{type(error).__name__}: {error}", out)

    def _fail(self, entry: _Entry, reason: str, out: list[Outcome]) -> None:
        entry.failed = reason
        self._let_go(entry)
        out.append(Failed(entry.detector.name, reason))

    def _account(self, entry: _Entry) -> None:
        """Note how much the detector holds now, and what it waits for."""
        detector = entry.detector
        live, due = detector.live, detector.deadline()
        if live != entry.live:
            weight = detector.weight
            self.live += live - entry.live
            self.weight += weight - entry.weight
            entry.live, entry.weight = live, weight
        if due is not None and (entry.due is None or due < entry.due):
            entry.due = due
            self._count += 1
            heapq.heappush(self._deadlines, (due, self._count, entry))

    def _shed(self, out: list[Outcome]) -> None:
        """Give up a hundredth more than needed, so that this is rare."""
        if self.live > self._max_partials:
            most = self._max_partials - self._max_partials // 100
            level = _level((entry.live for entry in self._entries.values()), most)
            for entry in [entry for entry in self._entries.values() if entry.live > level]:
                self._call(entry, entry.detector.shed, entry.live - level, out)
        if self.weight > self._max_bytes:
            entry = max(self._entries.values(), key=lambda entry: entry.weight)
            share = (self.weight - self._max_bytes + self._max_bytes // 100) / max(1, entry.weight)
            count = min(entry.live, math.ceil(entry.live * share))
            self._call(entry, partial(entry.detector.shed, what="bytes"), count, out)

    def _let_go(self, entry: _Entry) -> None:
        """What it holds counts no more."""
        self.live -= entry.live
        self.weight -= entry.weight
        entry.live = entry.weight = 0

    def _concerned(self, event: SemanticEvent) -> Sequence[_Entry]:
        """The detectors that the event may concern, each once."""
        name = event.type
        found = self._index.find(name, event.path, event)
        lives = self._known.get(name)
        for live in self._learn(name) if lives is None else lives:
            some = live.entries.get(live.key(event))
            if some:
                found += some
        return found if len(found) < 2 else list(dict.fromkeys(found))

    def _learn(self, type: str) -> tuple[_Live, ...]:
        """The partitions that events of a type may be of: those filed under it, and under the names that stand for
        it.
        """
        if len(self._known) > _MOST_TYPES:  # users may invent types without end
            self._known.clear()
        found = self._known[type] = tuple(
            live for name in names_of(type) if name in self._lives for live in self._lives[name].values()
        )
        return found


def _level(held: Iterable[int], most: int) -> int:
    """To what each has to come down, where it has more, so that together they hold at most `most`."""
    counts = sorted(held)
    for i, count in enumerate(counts):
        level = most // (len(counts) - i)
        if count > level:
            return level
        most -= count
    return counts[-1]


def _names(types: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name if name == "*" else name.removesuffix(".*") for name in types or ("*",)))
