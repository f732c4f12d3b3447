"""The event trigger: which events fire, and when a burst of them is one firing."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from automation.event_rows import event_row, read_row
from automation.events import SemanticEvent
from automation.facts import target_of
from automation.globs import Anchor, compile_globs
from automation.index import ANYWHERE
from automation.makers import Maker
from automation.triggers.firing import MOST_EVENTS, Firing
from automation.triggers.forms import EventTrigger
from automation.triggers.matching import Matcher
from automation.triggers.pending import Pending
from automation.triggers.writers import writes

MOST_COOLING: Final = 100_000
MOST_NOTES: Final = 64  # decisions that `explain` can look back on, and events of each
MOST_NOTED: Final = 16
_OBSERVED: Final = ("file.written", "file.truncated", "file.closed", "file.renamed", "file.deleted")


@dataclass(frozen=True, slots=True)
class _Held:
    """Events that wait to fire together; `count` goes on where `events` is full."""

    events: tuple[SemanticEvent, ...]
    count: int

    @property
    def inode(self) -> int:
        return self.events[-1].inode

    def with_event(self, event: SemanticEvent) -> _Held:
        return _Held((*self.events[-MOST_EVENTS + 1 :], event), self.count + 1)

    def joined(self, other: _Held) -> _Held:
        return _Held((*self.events, *other.events)[-MOST_EVENTS:], self.count + other.count)


class OnEvent:
    """One event trigger of one workflow. Holds at most 100,000 settling files and as many debounced keys; what a full
    table gives up is counted in `suppressed`, as is all that matched and did not fire.

    `busy(inode)` says whether somebody has a file open for writing; `kind` is what the definition calls the trigger.
    """

    def __init__(
        self,
        workflow: str,
        number: int,
        form: EventTrigger,
        *,
        variables: Mapping[str, Any],
        state: Callable[[], dict[str, Any]],
        busy: Callable[[int], bool],
        kind: str = "event",
    ) -> None:
        self.kind: Final = kind
        self.workflow: Final = workflow
        self.number: Final = number
        self.form: Final = form
        self.matcher: Final = Matcher(form, variables, state)
        self.variables: Final = variables
        self.fired = 0
        self.suppressed: Final[Counter[str]] = Counter()
        self.notes: Final[deque[tuple[tuple[SemanticEvent, ...], str]]] = deque(maxlen=MOST_NOTES)
        self.learnt: Callable[[str], float | None] = _nothing_learnt
        self._waits: Final = form.settle is not None or form.debounce is not None
        self._busy: Final = busy
        self._settling: Final[Pending[_Held]] = Pending()
        self._open: Final[dict[int, dict[str, _Held]]] = {}  # quiet, but somebody may still write
        self._debouncing: Final[Pending[_Held]] = Pending()
        self._cool_until: Final[dict[str, float]] = {}

    @property
    def types(self) -> tuple[str, ...]:
        """The event types to be fed: those asked for, and those by which settling files are followed."""
        return (*self.form.types, *(_OBSERVED if self.form.settle is not None else ()))

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """Where the events to be fed lie."""
        return compile_globs(tuple(self.form.path)).anchors if self.form.path else ANYWHERE

    @property
    def at_once(self) -> bool:
        """Whether each event that matches is a firing, without regard to others."""
        return not self._waits and self.form.cooldown is None and self.learnt(self.workflow) is None

    def asks(self, type_name: str, maker: Maker) -> bool:
        """Whether such events of this maker may fire, not merely tell of settling files."""
        return self.matcher.has_type(type_name) and self.matcher.may_mean(maker)

    def matches(self, event: SemanticEvent) -> bool:
        """Whether all conditions on a single event hold."""
        return self.matcher.matches(event)

    @property
    def deadline(self) -> float | None:
        """When `due` wants to be called."""
        times = [when for when in (self._settling.deadline, self._debouncing.deadline) if when is not None]
        return min(times, default=None)

    def feed(self, event: SemanticEvent, now: float) -> list[Firing]:
        """Take an event; the firings that it makes at once."""
        if self.form.settle is not None:
            self._follow(event, now, self.form.settle)
        if not self._counts(event):
            return []
        if self.form.settle is not None:
            self._settle(target_of(event), event, now + self.form.settle)
            return []
        return self._debounce(_Held((event,), 1), now)

    def give_up(self, event: SemanticEvent) -> bool:
        """`feed` of a trigger that fires at once, for one who would do nothing with the firing: whether it fired."""
        if not self._counts(event):
            return False
        self.fired += 1
        self.notes.append(((event,), "fired, and given up for the load"))
        return True

    def _counts(self, event: SemanticEvent) -> bool:
        """Whether it matches, and nothing is against it."""
        if event.cause is not None and event.cause.workflow == self.workflow and not self.form.own:
            self.suppressed["own"] += 1
            return False
        if not self.matcher.matches(event):
            return False
        if event.type == "file.closed" and event.attrs.get("nlink") == 0:
            self.suppressed["deleted"] += 1  # a temporary file that was open to the end
            return False
        return True

    def due(self, now: float) -> list[Firing]:
        """The firings whose time has come."""
        firings: list[Firing] = []
        for path, held in list(self._settling.due(now)):
            if held.inode and self._busy(held.inode):
                self._open.setdefault(held.inode, {})[path] = held
            else:
                firings += self._debounce(held, now)
        for key, held in list(self._debouncing.due(now)):
            firings += self._fire(key, held, now)
        return firings

    def waiting(self, event: SemanticEvent) -> str:
        """What an event that matched waits for; empty when it does not wait."""
        path = target_of(event)
        if path in self._settling:
            return f"waits until the file has been quiet for {self.form.settle:g} s"
        if path in self._open.get(event.inode, {}):
            return "waits until nobody has the file open for writing"
        return "waits for more (debounce)" if self.matcher.key(event) in self._debouncing else ""

    def recheck(self, now: float) -> None:
        """Events were lost: wait anew for files that were thought to be open."""
        for inode in list(self._open):
            self._closed(inode, now)

    def rows(self) -> Iterator[Any]:
        """What it remembers: about itself, then (where, key, deadline, count, events) of what waits; no deadline
        while a file is open.
        """
        waiting: list[tuple[str, str, float | None, _Held]] = []
        waiting += [("settling", key, when, held) for key, when, held in self._settling.items()]
        waiting += [("settling", path, None, held) for found in self._open.values() for path, held in found.items()]
        waiting += [("debouncing", key, when, held) for key, when, held in self._debouncing.items()]
        about = {"form": self.form.model_dump_json(), "fired": self.fired}
        yield about | {"suppressed": dict(self.suppressed), "cooling": dict(self._cool_until)}
        for where, key, when, held in waiting:
            yield where, key, when, held.count, [event_row(event) for event in held.events]

    def resume(self, rows: Sequence[Any]) -> bool:
        """Go on from what another remembered; False if that was another trigger."""
        about = rows[0]
        if about["form"] != self.form.model_dump_json():
            return False
        self.fired = about["fired"]
        self.suppressed.update(about["suppressed"])
        self._cool_until.update(about["cooling"])
        for where, key, when, count, events in rows[1:]:
            held = _Held(tuple(read_row(row) for row in events), count)
            if when is None:
                self._open.setdefault(held.inode, {})[key] = held
            else:
                (self._settling if where == "settling" else self._debouncing).put(key, held, when)
        return True

    def status(self) -> dict[str, Any]:
        """Plain numbers for a person."""
        waiting = len(self._settling) + len(self._debouncing) + sum(map(len, self._open.values()))
        out: dict[str, Any] = {"type": self.kind, "fired": self.fired, "waiting": waiting}
        lost = self._settling.dropped + self._debouncing.dropped
        out |= {"suppressed": dict(self.suppressed) | ({"full": lost} if lost else {})}
        if self.matcher.errors:
            out |= {"condition_errors": self.matcher.errors, "last_error": self.matcher.last_error}
        return out

    def _settle(self, path: str, event: SemanticEvent, deadline: float) -> None:
        held = self._settling.pop(path) or self._open.get(event.inode, {}).pop(path, None)
        self._settling.put(path, held.with_event(event) if held else _Held((event,), 1), deadline)

    def _follow(self, event: SemanticEvent, now: float, settle: float) -> None:
        """Keep up with files that are settling: written again, closed, renamed or gone."""
        if event.type == "file.closed" and event.inode in self._open and not self._busy(event.inode):
            self._closed(event.inode, now)
        if event.type not in _OBSERVED:
            return
        held = self._settling.get(event.path) or self._open.get(event.inode, {}).get(event.path)
        if held is None:
            return
        if event.type in ("file.deleted", "file.renamed"):
            self._settling.pop(event.path)
            self._open.get(event.inode, {}).pop(event.path, None)
            if event.dest is not None and self.matcher.covers_path(event.dest):
                self._settling.put(event.dest, held.with_event(event), now + settle)
        elif event.path in self._settling and (event.type != "file.closed" or writes(event)):
            self._settling.put(event.path, held, now + settle)

    def _closed(self, inode: int, now: float) -> None:
        for path, held in self._open.pop(inode).items():
            self._settling.put(path, held, now + (self.form.settle or 0.0))

    def _debounce(self, held: _Held, now: float) -> list[Firing]:
        key = self.matcher.key(held.events[-1])
        if self.form.debounce is None:
            return self._fire(key, held, now)
        earlier = self._debouncing.pop(key)
        self._debouncing.put(key, earlier.joined(held) if earlier else held, now + self.form.debounce)
        return []

    def _fire(self, key: str, held: _Held, now: float) -> list[Firing]:
        learnt = self.learnt(self.workflow)
        cooldown = self.form.cooldown if learnt is None else learnt
        if cooldown is not None:
            if now < self._cool_until.get(key, 0.0):
                self.suppressed["cooldown"] += 1
                self.notes.append((held.events[-MOST_NOTED:], f"not fired: cooldown of the key {key!r}"))
                return []
            self._cool(key, now, cooldown)
        self.fired += 1
        self.notes.append(
            (held.events[-MOST_NOTED:], "fired" if held.count == 1 else f"{held.count} events fired at once")
        )
        return [Firing(self.workflow, self.number, self.kind, key, held.events, held.count, waited=self._waits)]

    def _cool(self, key: str, now: float, cooldown: float) -> None:
        if len(self._cool_until) >= MOST_COOLING:
            over = [name for name, until in self._cool_until.items() if until <= now]
            for name in over or [next(iter(self._cool_until))]:
                del self._cool_until[name]
        self._cool_until[key] = now + cooldown


def _nothing_learnt(workflow: str) -> float | None:
    """The cooldown is that of the form."""
    return None
