"""Room for runs: a bound of all, and bulkheads. Strict between priorities, fair between tenants."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from automation.bulkheads import EVERY, PRIORITIES, Bulkhead, Bulkheads

Key = tuple[str, str]
FULL: Final = "the bulkhead of the"  # how the reason of whoever is dropped begins


@dataclass(slots=True, eq=False)
class Ticket:
    """What a run shows at the gate. `inside` says whether it has room now."""

    priority: str = "normal"
    tenant: str = ""
    type: str = "linear"
    inside: bool = False
    keys: tuple[Key, Key, Key] = field(init=False)
    """The bulkheads that it falls under."""

    def __post_init__(self) -> None:
        self.keys = ("type", self.type), ("priority", self.priority), ("tenant", self.tenant)


@dataclass(slots=True, eq=False)
class _Entry:
    """One who waits: `drop` is None for a run that has begun already, which is never dropped."""

    ticket: Ticket
    go: Callable[[], None]
    drop: Callable[[str], None] | None


@dataclass(slots=True)
class _Lane:
    """Those of one priority, tenant and workflow type; runs that have begun already go first."""

    returning: deque[_Entry] = field(default_factory=deque)
    starting: deque[_Entry] = field(default_factory=deque)


class Gate:
    """At most `limit` runs have room. Who finds none waits; when a bulkhead's queue is full, one of those who have not
    begun is dropped as its policy says, and counted in `dropped`. A run without a ticket passes by.
    """

    def __init__(self, limit: int, bulkheads: Bulkheads | None = None) -> None:
        self.dropped: Final[Counter[str]] = Counter()
        self._limit: Final = limit
        self._bulkheads: Final = bulkheads or Bulkheads()
        self._inside: Final[Counter[Key]] = Counter()
        self._waiting: Final[Counter[Key]] = Counter()  # of those who have not begun
        self._total = 0
        self._lanes: Final[tuple[OrderedDict[str, OrderedDict[str, _Lane]], ...]] = tuple(
            OrderedDict() for _ in PRIORITIES
        )
        self.waiting = 0

    def offer(self, ticket: Ticket, go: Callable[[], None], drop: Callable[[str], None]) -> bool:
        """Let a run begin now, by `go`, or later; whether it began. `drop(reason)` is called for whoever gives way."""
        if not self.waiting and self._has_room(ticket):
            self._enter(ticket)
            go()
            return True
        for key in ticket.keys:
            bulkhead = self._bulkhead(key)
            if bulkhead is None or self._waiting[key] < bulkhead.queue:
                continue
            name = f"{key[0]} {key[1]}"
            self.dropped[name] += 1
            oldest = self._oldest(key) if bulkhead.full == "drop_oldest" else None
            if oldest is None:
                drop(f"{FULL} {name} is full")
                return False
            self._forget(oldest)
            if oldest.drop is not None:
                oldest.drop(f"{FULL} {name} is full")
        self._lane(ticket).starting.append(_Entry(ticket, go, drop))
        self._waiting.update(ticket.keys)
        self.waiting += 1
        self._admit()
        return ticket.inside

    def withdraw(self, ticket: Ticket) -> bool:
        """Take one who waits to begin out of the queue; whether there was one."""
        found = next((entry for entry in self._entries() if entry.ticket is ticket and entry.drop is not None), None)
        if found is not None:
            self._forget(found)
        return found is not None

    async def enter(self, ticket: Ticket | None) -> None:
        """Wait for room; a run that has begun goes before those of its kind that have not."""
        if ticket is None or ticket.inside:
            return
        if not self.waiting and self._has_room(ticket):
            self._enter(ticket)
            return
        event = trio.Event()
        entry = _Entry(ticket, event.set, None)
        self._lane(ticket).returning.append(entry)
        self.waiting += 1
        self._admit()
        try:
            await event.wait()
        except trio.Cancelled:
            if not ticket.inside:
                self._forget(entry)
                self._enter(ticket)
            raise

    def force(self, ticket: Ticket | None) -> None:
        """Take room whether there is any or not: for what must be undone."""
        if ticket is not None and not ticket.inside:
            self._enter(ticket)

    def leave(self, ticket: Ticket | None) -> None:
        """Give the room to others."""
        if ticket is None or not ticket.inside:
            return
        ticket.inside = False
        self._total -= 1
        for key in ticket.keys:
            self._inside[key] -= 1
        self._admit()

    @property
    def running(self) -> int:
        """How many have room."""
        return self._total

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers: who has room, who waits, who was dropped, by bulkhead."""
        inside = {f"{kind} {name}": n for (kind, name), n in sorted(self._inside.items()) if n}
        out: dict[str, Any] = {"limit": self._limit, "running": self._total, "waiting": self.waiting, "inside": inside}
        return out | ({"dropped": dict(self.dropped)} if self.dropped else {})

    def _bulkhead(self, key: Key) -> Bulkhead | None:
        kind, name = key
        if kind == "type":
            return self._bulkheads.types.get(name)
        if kind == "priority":
            return self._bulkheads.priorities.get(name)  # type: ignore[call-overload,no-any-return]
        return self._bulkheads.tenants.get(name) or self._bulkheads.tenants.get(EVERY)

    def _fits(self, key: Key) -> bool:
        bulkhead = self._bulkhead(key)
        return bulkhead is None or self._inside[key] < bulkhead.limit

    def _has_room(self, ticket: Ticket) -> bool:
        return self._total < self._limit and all(map(self._fits, ticket.keys))

    def _enter(self, ticket: Ticket) -> None:
        ticket.inside = True
        self._total += 1
        for key in ticket.keys:
            self._inside[key] += 1

    def _lane(self, ticket: Ticket) -> _Lane:
        tenants = self._lanes[PRIORITIES.index(ticket.priority)]
        return tenants.setdefault(ticket.tenant, OrderedDict()).setdefault(ticket.type, _Lane())

    def _admit(self) -> None:
        while self.waiting and self._total < self._limit:
            entry = self._next()
            if entry is None:
                return
            self._enter(entry.ticket)
            entry.go()

    def _next(self) -> _Entry | None:
        """Whose turn it is: the first priority, then the tenant that has waited longest for a turn."""
        for priority, tenants in zip(PRIORITIES, self._lanes, strict=True):
            if not tenants or not self._fits(("priority", priority)):
                continue
            for tenant, lanes in tenants.items():
                if not self._fits(("tenant", tenant)):
                    continue
                for type_name, lane in lanes.items():
                    if self._fits(("type", type_name)):
                        entry = (lane.returning or lane.starting)[0]
                        self._forget(entry)
                        if type_name in lanes:
                            lanes.move_to_end(type_name)
                        if tenant in tenants:
                            tenants.move_to_end(tenant)
                        return entry
        return None

    def _forget(self, entry: _Entry) -> None:
        ticket = entry.ticket
        tenants = self._lanes[PRIORITIES.index(ticket.priority)]
        lanes = tenants[ticket.tenant]
        lane = lanes[ticket.type]
        if entry.drop is None:
            lane.returning.remove(entry)
        else:
            lane.starting.remove(entry)
            for key in ticket.keys:
                self._waiting[key] -= 1
        self.waiting -= 1
        if not lane.returning and not lane.starting:
            del lanes[ticket.type]
            if not lanes:
                del tenants[ticket.tenant]

    def _entries(self) -> Iterator[_Entry]:
        for tenants in self._lanes:
            for lanes in tenants.values():
                for lane in lanes.values():
                    yield from (*lane.returning, *lane.starting)

    def _oldest(self, key: Key) -> _Entry | None:
        for entry in self._entries():
            if entry.drop is not None and key in entry.ticket.keys:
                return entry
        return None
