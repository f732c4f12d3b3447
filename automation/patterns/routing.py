"""Many patterns at once: which of them an event concerns, one clock for all, one bound over all.

An event reaches a detector only if its type and the literal beginning or extension of its path could concern it. A
pattern whose steps must follow one another strictly hears every event of its stream, since any of them breaks it.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from automation.events import SemanticEvent, covers
from automation.globs import compile_globs
from automation.patterns.interests import Interest
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
    def interests(self) -> Iterable[Interest]: ...


class _TypeRoute:
    """Detectors for one event type, by what is literal about their paths."""

    __slots__ = ("_by_extension", "_by_head", "_everywhere", "_exact")

    def __init__(self) -> None:
        self._everywhere: list[_Entry] = []
        self._exact: dict[str, list[_Entry]] = {}
        self._by_head: dict[str, list[_Entry]] = {}
        self._by_extension: dict[str, list[_Entry]] = {}

    def add(self, entry: _Entry, globs: tuple[str, ...]) -> None:
        if not globs:
            _insert(self._everywhere, entry)
            return
        for anchor in compile_globs(globs).anchors:
            head = "/".join(anchor.head)
            if anchor.exact:
                _insert(self._exact.setdefault(head, []), entry)
            elif head:
                _insert(self._by_head.setdefault(head, []), entry)
            elif anchor.extension:
                _insert(self._by_extension.setdefault(anchor.extension, []), entry)
            else:
                _insert(self._everywhere, entry)

    def find(self, path: str) -> Sequence[_Entry]:
        """The entries that the path may concern, each once."""
        lists = [self._everywhere] if self._everywhere else []
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
        if len(lists) == 1:
            return lists[0]
        return list({id(entry): entry for entries in lists for entry in entries}.values())


class _Entry:
    """A detector in the set; `due` (ns) is the deadline under which it is filed, `failed` why it is disabled."""

    __slots__ = ("detector", "due", "failed", "live")

    def __init__(self, detector: Detecting) -> None:
        self.detector: Final = detector
        self.due: int | None = None
        self.failed = ""
        self.live = 0


def _insert(entries: list[_Entry], entry: _Entry) -> None:
    if not entries or entries[-1] is not entry:
        entries.append(entry)


class PatternSet:
    """All detectors by name. A detector that raises is disabled and reported; the others are untouched.

    Together they hold at most `max_partials`; beyond that the one that holds most gives up its oldest.
    """

    def __init__(self, detectors: Iterable[Detecting] = (), *, max_partials: int = 1_000_000) -> None:
        self.live = 0
        self._max_partials: Final = max_partials
        self._entries: Final[dict[str, _Entry]] = {}
        self._routes: Final[dict[str, _TypeRoute]] = {}
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
        for name, route in self._routes.items():
            self._file(entry, name, route)

    def remove(self, name: str) -> None:
        """Forget a detector and its partial matches; an unknown name is no error."""
        entry = self._entries.pop(name, None)
        if entry is not None:
            self.live -= entry.live
            entry.failed = "removed"
            self._routes.clear()

    def feed(self, event: SemanticEvent, now: int | None = None) -> list[Outcome]:
        """Give the event to the detectors that it may concern."""
        route = self._routes.get(event.type)
        out: list[Outcome] = []
        for entry in (self._route(event.type) if route is None else route).find(event.path):
            if not entry.failed:
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
            live, due = detector.live, detector.deadline()
        except Exception as error:
            log.warning("pattern %s raised and is disabled", detector.name, exc_info=True)
            entry.failed = f"{type(error).__name__}: {error}"
            self.live -= entry.live
            entry.live = 0
            out.append(Failed(detector.name, entry.failed))
            return
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

    def _route(self, type: str) -> _TypeRoute:
        if len(self._routes) > _MOST_TYPES:  # users may invent types without end
            self._routes.clear()
        route = self._routes[type] = _TypeRoute()
        for entry in self._entries.values():
            self._file(entry, type, route)
        return route

    @staticmethod
    def _file(entry: _Entry, type: str, route: _TypeRoute) -> None:
        for types, globs in entry.detector.interests():
            if not types or any(covers(name.removesuffix(".*"), type) for name in types):
                route.add(entry, globs)
