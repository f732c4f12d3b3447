"""Many patterns at once: which of them an event concerns, one clock for all, one bound over all.

An event reaches a detector if its type and the literal beginning or extension of its path could begin a match there, or
if the detector has a partition for the event's values of the fields that it is partitioned by: one look-up for all
patterns that are partitioned alike. So what a thousand patterns cost is what the few that are concerned cost.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from automation.events import SemanticEvent
from automation.globs import compile_globs
from automation.patterns.detector import key_of
from automation.patterns.interests import Concern, Interest
from automation.patterns.outcomes import Failed, Outcome

log: Final = logging.getLogger(__name__)
_MOST_TYPES: Final = 10_000


class Detecting(Protocol):
    """What the set needs of a detector."""

    @property
    def name(self) -> str: ...
    @property
    def live(self) -> int: ...
    def feed(self, event: SemanticEvent, now: int | None = None) -> Sequence[Outcome]: ...
    def advance(self, now: int) -> Sequence[Outcome]: ...
    def watermark(self, ts: int) -> Sequence[Outcome]: ...
    def deadline(self) -> int | None: ...
    def shed(self, count: int) -> list[Outcome]: ...
    def status(self) -> dict[str, Any]: ...
    def concern(self) -> Concern: ...
    def watch(self, seen: Callable[[Hashable, bool], None]) -> None: ...


class _TypeRoute:
    """Detectors that name one event type, by what is literal about their paths, and what they are partitioned by."""

    __slots__ = ("_by_extension", "_by_head", "_everywhere", "_exact", "lives")

    def __init__(self) -> None:
        self.lives: Final[dict[_Live, int]] = {}
        self._everywhere: Final[list[_Entry]] = []
        self._exact: Final[dict[str, list[_Entry]]] = {}
        self._by_head: Final[dict[str, list[_Entry]]] = {}
        self._by_extension: Final[dict[str, list[_Entry]]] = {}

    def add(self, entry: _Entry, globs: tuple[str, ...]) -> None:
        for entries in self._places(globs):
            if entry not in entries:
                entries.append(entry)

    def remove(self, entry: _Entry, globs: tuple[str, ...]) -> None:
        for entries in self._places(globs):
            if entry in entries:
                entries.remove(entry)

    def _places(self, globs: tuple[str, ...]) -> list[list[_Entry]]:
        places = []
        for anchor in compile_globs(globs).anchors if globs else ():
            head = "/".join(anchor.head)
            if anchor.exact:
                places.append(self._exact.setdefault(head, []))
            elif head:
                places.append(self._by_head.setdefault(head, []))
            elif anchor.extension:
                places.append(self._by_extension.setdefault(anchor.extension, []))
            else:
                places.append(self._everywhere)
        return places if globs else [self._everywhere]

    def find(self, path: str, lists: list[Sequence[_Entry]]) -> None:
        """Append the lists of entries that the path may concern."""
        if self._everywhere:
            lists.append(self._everywhere)
        if self._exact and (found := self._exact.get(path)):
            lists.append(found)
        if self._by_head:
            at = path.find("/")
            while at >= 0:
                if found := self._by_head.get(path[:at]):
                    lists.append(found)
                at = path.find("/", at + 1)
        if self._by_extension:
            dot = path.rfind(".")
            if dot >= 0 and (found := self._by_extension.get(path[dot:])):
                lists.append(found)


class _Live:
    """Detectors partitioned by the same fields: by key, those that have such a partition now."""

    __slots__ = ("_entries", "_key")

    def __init__(self, by: tuple[str, ...]) -> None:
        self._key: Final = key_of(by)
        self._entries: Final[dict[Hashable, list[_Entry]]] = {}

    def watcher(self, entry: _Entry) -> Callable[[Hashable, bool], None]:
        """What the detector tells about its partitions."""
        entries = self._entries

        def seen(key: Hashable, begun: bool) -> None:
            if begun:
                entries.setdefault(key, []).append(entry)
                return
            left = [other for other in entries[key] if other is not entry]
            if left:
                entries[key] = left  # a list that is being walked stays as it is
            else:
                del entries[key]

        return seen

    def find(self, event: SemanticEvent) -> Sequence[_Entry]:
        """The detectors with a partition for the event."""
        assert self._key is not None
        return self._entries.get(self._key(event), ())

    def forget(self, entry: _Entry) -> None:
        """Take a removed detector out."""
        for key in [key for key, entries in self._entries.items() if entry in entries]:
            self.watcher(entry)(key, False)


class _Entry:
    """A detector in the set; `due` (ns) is the deadline under which it is filed, `failed` why it is disabled."""

    __slots__ = ("detector", "due", "failed", "live")

    def __init__(self, detector: Detecting) -> None:
        self.detector: Final = detector
        self.due: int | None = None
        self.failed = ""
        self.live = 0


class PatternSet:
    """All detectors by name. A detector that raises is disabled and reported; the others are untouched.

    Together they hold at most `max_partials`; beyond that the one that holds most gives up its oldest.
    """

    def __init__(self, detectors: Iterable[Detecting] = (), *, max_partials: int = 1_000_000) -> None:
        self.live = 0
        self._max_partials: Final = max_partials
        self._entries: Final[dict[str, _Entry]] = {}
        self._routes: Final[dict[str, _TypeRoute]] = {}  # by the names that patterns give
        self._lives: Final[dict[tuple[str, ...], _Live]] = {}  # by what patterns are partitioned by
        self._known: Final[dict[str, tuple[list[_TypeRoute], list[_Live]]]] = {}  # by the types of events
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
        for name, globs in _names(concern.always):
            self._route(name).add(entry, globs)
        if concern.by:
            live = self._lives.setdefault(concern.by, _Live(concern.by))
            for name, _ in _names(((concern.types, ()),)):
                self._route(name).lives.setdefault(live, 0)
                self._route(name).lives[live] += 1
            detector.watch(live.watcher(entry))
        self._account(entry)  # it may bring partial matches along
        self._known.clear()

    def remove(self, name: str) -> None:
        """Forget a detector and its partial matches; an unknown name is no error."""
        entry = self._entries.pop(name, None)
        if entry is None:
            return
        self.live -= entry.live
        entry.failed = "removed"
        concern = entry.detector.concern()
        for type_name, globs in _names(concern.always):
            self._routes[type_name].remove(entry, globs)
        if concern.by:
            live = self._lives[concern.by]
            live.forget(entry)
            for type_name, _ in _names(((concern.types, ()),)):
                route = self._routes[type_name]
                route.lives[live] -= 1
                if not route.lives[live]:
                    del route.lives[live]
        self._known.clear()

    def _route(self, name: str) -> _TypeRoute:
        return self._routes.setdefault(name, _TypeRoute())

    def feed(
        self, event: SemanticEvent, now: int | None = None, *, without: Container[str] | None = None
    ) -> list[Outcome]:
        """Give the event to the detectors that it may concern, but not to those named in `without`."""
        out: list[Outcome] = []
        for entry in self._concerned(event):
            if not entry.failed and (without is None or entry.detector.name not in without):
                self._call(entry, entry.detector.feed, event, out)
        if self.live > self._max_partials:
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
        except Exception as error:
            log.warning("pattern %s raised and is disabled", detector.name, exc_info=True)
            entry.failed = f"{type(error).__name__}: {error}"
            self.live -= entry.live
            entry.live = 0
            out.append(Failed(detector.name, entry.failed))

    def _account(self, entry: _Entry) -> None:
        """Note how much the detector holds now, and what it waits for."""
        live, due = entry.detector.live, entry.detector.deadline()
        self.live += live - entry.live
        entry.live = live
        if due is not None and (entry.due is None or due < entry.due):
            entry.due = due
            self._count += 1
            heapq.heappush(self._deadlines, (due, self._count, entry))

    def _shed(self, out: list[Outcome]) -> None:
        """Give up a hundredth more than needed, so that this is rare."""
        entry = max(self._entries.values(), key=lambda entry: entry.live)
        count = min(entry.live, self.live - self._max_partials + self._max_partials // 100)
        self._call(entry, entry.detector.shed, count, out)

    def _concerned(self, event: SemanticEvent) -> Sequence[_Entry]:
        """The detectors that the event may concern, each once."""
        routes, lives = self._known.get(event.type) or self._learn(event.type)
        lists: list[Sequence[_Entry]] = []
        for route in routes:
            route.find(event.path, lists)
        for live in lives:
            if found := live.find(event):
                lists.append(found)
        if not lists:
            return ()
        if len(lists) == 1:
            return lists[0]
        return list(dict.fromkeys(entry for entries in lists for entry in entries))

    def _learn(self, type: str) -> tuple[list[_TypeRoute], list[_Live]]:
        """The routes of a type: its own, and those of the names that stand for it."""
        if len(self._known) > _MOST_TYPES:  # users may invent types without end
            self._known.clear()
        parts = type.split(".")
        names = ["*", *(".".join(parts[:count]) for count in range(1, len(parts) + 1))]
        routes = [self._routes[name] for name in names if name in self._routes]
        lives = list(dict.fromkeys(live for route in routes for live in route.lives))
        self._known[type] = (routes, lives)
        return routes, lives


def _names(interests: Iterable[Interest]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for types, globs in interests:
        for name in types or ("*",):
            yield name if name == "*" else name.removesuffix(".*"), globs
