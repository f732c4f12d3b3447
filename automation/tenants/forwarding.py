"""From the bus of the mount to those of its tenants: a dictionary, whatever their number.

What crosses a border is told to both sides, to each without the other's path: to whom it leaves as a deletion, to whom
it comes as a new file, complete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from automation.bus import Bus
from automation.events import Cause, SemanticEvent
from automation.makers import ANYBODY, Maker
from automation.tenants.lane import Lane
from automation.tenants.owners import Owners
from automation.tenants.share import Share

FOR_ALL: Final = frozenset(("system.mounted", "system.unmounted"))
TELLING: Final = frozenset(("file.replaced", "file.copied"))  # `from` in their attrs is a path
ELSEWHERE: Final = ("from", "exchange")  # attrs that hold a path
BECOMES: Final = {  # what crosses a border is to whom it leaves, and to whom it comes
    "file.renamed": (("file.deleted",), ("file.created", "file.closed")),
    "dir.renamed": (("dir.deleted",), ("dir.created",)),
    "file.linked": (("file.linked",), ("file.created", "file.closed")),
}
_NOTHING: Final[tuple[tuple[str, ...], tuple[str, ...]]] = ((), ())


class Forwarding:
    """The `Downstream` of the mount's bus."""

    def __init__(self, bus: Bus, owners: Owners) -> None:
        self.owners: Final = owners
        self.owner: Final[Callable[[str, int, int], str]] = owners.of
        self.lanes: Final[dict[str, Lane]] = {}
        self._bus: Final = bus
        self._heard: Final[dict[str, bool]] = {}
        self._wanting: Final[dict[str, tuple[Lane, ...]]] = {}
        bus.downstream = self

    def join(self, name: str, rate: float, share: Share) -> Lane:
        """A lane for the tenant `name`."""
        lane = self.lanes[name] = Lane(self._bus, name, rate, share)
        lane.bus.on_reroute(self._rerouted)
        return lane

    def leave(self, name: str) -> None:
        """Give a tenant nothing more."""
        self.lanes.pop(name, None)
        self._rerouted()

    def _rerouted(self) -> None:
        self._heard.clear()
        self._wanting.clear()
        self._bus.reroute()

    # What the mount's bus asks

    def deliver(self, event: SemanticEvent) -> None:
        """Hand an event to whom it belongs: to one, seldom to two, or to nobody."""
        lane = self.lanes.get(event.tenant)
        if lane is not None and lane.own is event:
            lane.take(event)
        elif event.dest is not None:
            self._across(event, lane)
        elif lane is not None:
            plain = event.cause is None and event.type not in TELLING
            lane.take(event if plain else self._told(event, lane))
        elif event.type in FOR_ALL:
            for one in self.lanes.values():
                one.take(event)

    def heard(self, type: str) -> bool:
        """Whether any tenant hears this type, or what it becomes when it crosses a border."""
        known = self._heard.get(type)
        if known is None:
            types = {type, *(one for side in BECOMES.get(type, _NOTHING) for one in side)}
            known = any(lane.bus.hears(one) for lane in self.lanes.values() for one in types)
            if len(self._heard) > 10_000:
                self._heard.clear()
            self._heard[type] = known
        return known

    def taken(self, type: str, path: str, dest: str | None, tenant: str) -> bool:
        """Whether that tenant takes it; what has two names may be two tenants'."""
        if dest is not None:
            return True
        lane = self.lanes.get(tenant)
        return lane is not None and lane.bus.taken(type, path, dest)

    def wanted(self, type: str, path: str, tenant: str | None, maker: Maker = ANYBODY) -> bool:
        """Whether that tenant wants it, or, if it is not known whose it is, whoever may."""
        found = self.owners.of_path(path) if tenant is None else tenant
        if found or tenant is not None:
            lane = self.lanes.get(found)
            return lane is not None and lane.bus.wanted(type, path, maker=maker)
        return any(lane.bus.wanted(type, path, maker=maker) for lane in self._hearing(type))

    def _hearing(self, type: str) -> tuple[Lane, ...]:
        known = self._wanting.get(type)
        if known is None:
            known = self._wanting[type] = tuple(lane for lane in self.lanes.values() if lane.bus.hears(type))
        return known

    # What crosses a border

    def _across(self, event: SemanticEvent, lane: Lane | None) -> None:
        assert event.dest is not None
        owners = self.owners
        there = owners.of_path(event.dest)
        if not there:
            inside = owners.of_path(event.path) == event.tenant != ""
            there = owners.of_caller(event.uid, event.gid) if inside else event.tenant
        if there == event.tenant:
            if lane is not None:
                lane.take(self._told(event, lane))
            return
        leaving, arriving = BECOMES.get(event.type, _NOTHING)
        if lane is not None:
            for name in leaving:
                lane.take(_view(event, lane, name, event.path, {"moved_out": True}))
        lane = self.lanes.get(there)
        if lane is not None:
            for name in arriving:
                more = {"written": True, "bytes_written": None, "mode": "w", "created": True}
                about = more if name == "file.closed" else {"moved_in": True}
                lane.take(_view(event, lane, name, event.dest, about))

    def _told(self, event: SemanticEvent, lane: Lane) -> SemanticEvent:
        """The event without a path that is not its tenant's, and without the automation of others that caused it."""
        if event.type in TELLING:
            source = event.attrs.get("from")
            if isinstance(source, str) and self.owner(source, event.uid, event.gid) != event.tenant:
                return _view(event, lane, event.type, event.path, {})
        if event.cause is None or lane.knows(event.cause.run):
            return event
        return _view(event, lane, event.type, event.path, {}, event.dest, elsewhere=())


def _view(
    event: SemanticEvent,
    lane: Lane,
    type: str,
    path: str,
    about: dict[str, Any],
    dest: str | None = None,
    *,
    elsewhere: tuple[str, ...] = ELSEWHERE,
) -> SemanticEvent:
    """What a tenant sees of an event; of an automation that is not its own, only how long the chain is."""
    cause = event.cause
    if cause is not None and not lane.knows(cause.run):
        cause = Cause("", "", cause.depth)
    attrs = {**{name: value for name, value in event.attrs.items() if name not in elsewhere}, **about}
    return event.changed(type=type, path=path, dest=dest, tenant=lane.name, cause=cause, attrs=attrs)
