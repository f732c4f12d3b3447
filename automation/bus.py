"""Bounded fan-out of events: publishing is synchronous, never blocks and never raises.

Everything here runs in the trio thread; a worker thread hands its events back before they are published.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from enum import StrEnum
from typing import Final, Protocol

import trio

from automation.events import SemanticEvent, covers
from automation.makers import ANYBODY, Maker
from automation.rounds import Pace, Rounds

log: Final = logging.getLogger(__name__)


class Overflow(StrEnum):
    """What a full queue drops: the oldest event (a reader wants the present) or the newest (a log wants the start)."""

    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"


class Places(Protocol):
    """What is known beforehand of the paths whose events a subscription may accept."""

    def extensions(self, type: str) -> Collection[str] | None:
        """What the name ends in, from its last dot on, of paths that are wanted anywhere; None if any may be."""
        ...

    def within(self, type: str, directory: str) -> bool:
        """Whether names in this directory may be wanted, beside those with such an extension."""
        ...


class Subscription:
    """One reader's queue: at most `capacity` events. A full queue drops by `overflow`, counts the loss in `dropped`,
    puts a `system.gap` record where the loss was, and announces the same on the bus once the reader reads again.
    """

    def __init__(
        self,
        bus: Bus,
        name: str,
        types: tuple[str, ...],
        accept: Callable[[SemanticEvent], bool] | None,
        wants: Callable[[str, str, Maker], bool] | None,
        hears: Callable[[str], bool] | None,
        takes: Callable[[str, str, str | None], bool] | None,
        places: Places | None,
        capacity: int,
        overflow: Overflow,
    ) -> None:
        self.name: Final = name
        self.wants: Final = wants
        self.hears: Final = hears
        self.takes: Final = takes
        self.places: Final = places
        self.types: Final = types
        self.capacity: Final = capacity
        self.overflow: Final = overflow
        self.dropped = 0
        self.delivered = 0
        self.closed = False
        self.remembered = 0  # a bit of its own, if what it accepts is to be recorded
        self._bus: Final = bus
        self._accept: Final = accept
        self._queue: Final[deque[SemanticEvent]] = deque()
        self._lot: Final = trio.lowlevel.ParkingLot()
        self._gap: tuple[int, int, int] | None = None  # dropped in this episode, first and last sequence number
        self._on_ready: Callable[[], None] | None = None
        self._waits = False  # whether anybody is to be told of the next event

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def ready(self) -> bool:
        """Whether `receive` would return at once."""
        return bool(self._queue) or self._gap is not None or self.closed

    def on_ready(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` once, synchronously, when the queue becomes readable (poll); None forgets it."""
        self._on_ready = callback
        self._waits = True

    @property
    def oldest(self) -> int | None:
        """Number of the first event that waits."""
        return self._queue[0].seq if self._queue else None

    def requeue(self, events: Iterable[SemanticEvent]) -> None:
        """Let events that were accepted in an earlier life wait before all others."""
        self._queue.extendleft(reversed(list(events)))
        if self._queue:
            self._wake()

    def offer(self, event: SemanticEvent) -> bool:
        """Take an event from the bus, if it is wanted; drops by policy when full."""
        if self._accept is not None and not self._accept(event):
            return False
        if len(self._queue) >= self.capacity:
            lost = event
            if self.overflow is Overflow.DROP_OLDEST:
                lost = self._queue.popleft()
                self._queue.append(event)
            self.lose(lost)
        else:
            self._queue.append(event)
        if self._waits:
            self._wake()
        return True

    def lose(self, event: SemanticEvent) -> None:
        """Do without an event of those that are wanted, as if there were no room."""
        self.dropped += 1
        count, first, _ = self._gap or (0, event.seq, 0)
        self._gap = (count + 1, first, event.seq)

    def receive_nowait(self, limit: int = 256) -> list[SemanticEvent]:
        """At most `limit` events in order, a gap record where some were lost; empty when there are none."""
        gap, self._gap = self._gap, None
        take = min(limit, len(self._queue))
        pop = self._queue.popleft
        batch = [pop() for _ in range(take)]
        self.delivered += take
        if gap is None:
            return batch
        count, first, last = gap
        attrs = {"subscription": self.name, "dropped": count, "first": first, "last": last}
        record = SemanticEvent("system.gap", attrs=attrs)
        record.seq = last
        self._bus.publish(SemanticEvent("system.gap", attrs=attrs), skip=self)
        at = (
            0 if self.overflow is Overflow.DROP_OLDEST else next((i for i, e in enumerate(batch) if e.seq > last), take)
        )
        batch.insert(at, record)
        return batch

    async def receive(self, limit: int = 256) -> list[SemanticEvent]:
        """Wait for events; an empty list means that the subscription is closed."""
        while not self.ready:
            self._waits = True
            await self._lot.park()
        return self.receive_nowait(limit)

    def close(self) -> None:
        """Leave the bus; a waiting reader gets what is queued, then an empty list."""
        if not self.closed:
            self.closed = True
            self._bus.forget(self)
            self._wake()

    def _wake(self) -> None:
        self._waits = False
        if self._lot:
            self._lot.unpark_all()
        if self._on_ready is not None:
            callback, self._on_ready = self._on_ready, None
            callback()


class Upstream(Protocol):
    """The bus that another one is fed from, as that one's only way to publish."""

    def publish(self, event: SemanticEvent, skip: Subscription | None) -> None:
        """Publish there; it comes back by `Bus.deliver` if it is for this bus."""

    def skip(self, type: str, count: int) -> None:
        """Count there what nobody hears."""

    def heard(self, type: str) -> bool:
        """Whether anybody there hears this type."""

    def begin(self, seq: int) -> None:
        """Let the numbers there go on after `seq` at least."""

    def demand(self, details: frozenset[str]) -> None:
        """Let events there tell this."""

    @property
    def rounds(self) -> Rounds:
        """In what order all compute."""


class Downstream(Protocol):
    """The buses of tenants, each fed with the events that are its tenant's."""

    def owner(self, path: str, uid: int, gid: int) -> str:
        """Whose an operation there by this caller is; empty when it is nobody's."""

    def deliver(self, event: SemanticEvent) -> None:
        """Hand a numbered event to whom it belongs."""

    def heard(self, type: str) -> bool:
        """Whether it would go to anybody."""

    def taken(self, type: str, path: str, dest: str | None, tenant: str) -> bool:
        """Whether such an event of this tenant would go to anybody."""

    def wanted(self, type: str, path: str, tenant: str | None, maker: Maker) -> bool:
        """Whether anybody may care; without a tenant, it may be any caller's."""


class Bus:
    """Gives each event its sequence number and hands it to the subscriptions that want its type.

    Owns no queue: the bounds are those of the subscriptions. A subscription that raises is closed and logged.
    `recorder` is told of each event that remembered subscriptions have accepted, with their bits. `details` are what
    definitions demand beside what events tell anyway: `failed` operations, how long each `took`. A muted bus drops
    everything. The bus of a tenant has an `upstream`, which numbers its events; `downstream` are those buses.
    """

    def __init__(self, upstream: Upstream | None = None) -> None:
        self.seq = 0
        self.first = 0
        self.shapes = 0  # counts what may change who hears what
        self.muted = False
        self.recorder: Callable[[SemanticEvent, int], None] | None = None
        self.downstream: Downstream | None = None
        self.pace: Pace | None = None
        self.details: frozenset[str] = frozenset()
        self.clocked = False  # whether `took` is among them
        self._demands: Final[dict[str, frozenset[str]]] = {}
        self.rounds: Final = Rounds() if upstream is None else upstream.rounds
        self._upstream: Final = upstream
        self.counts: Final[Counter[str]] = Counter()
        self.failed: Final[list[str]] = []
        self._subscriptions: Final[list[Subscription]] = []
        self._routes: Final[dict[str, tuple[Subscription, ...]]] = {}
        self._on_reroute: Callable[[], None] | None = None
        self._on_reshape: Callable[[], None] = lambda: None

    def begin(self, seq: int) -> None:
        """Go on with the numbers after `seq`, before the first event."""
        self.seq = self.first = seq
        if self._upstream is not None:
            self._upstream.begin(seq)

    @property
    def published(self) -> int:
        """How many events this bus has had."""
        return self.seq - self.first if self._upstream is None else self.counts.total()

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """The open subscriptions, oldest first."""
        return tuple(self._subscriptions)

    def publish(self, event: SemanticEvent, skip: Subscription | None = None) -> None:
        """Accept `event`: number it, count it, queue it, but not for `skip` (the reader that the event is about).

        Order on the bus is the order of the calls.
        """
        if self.muted:
            return
        if self._upstream is not None:
            self._upstream.publish(event, skip)
            return
        self.seq = event.seq = self.seq + 1
        self.deliver(event, skip)
        if self.downstream is not None:
            try:
                self.downstream.deliver(event)
            except Exception:
                log.exception("forwarding to a tenant met a bug")

    def adopt(self, event: SemanticEvent) -> None:
        """Publish an event about the tree of which nobody has said yet whose it is."""
        if self.downstream is not None:
            event.tenant = self.downstream.owner(event.path, event.uid, event.gid)
        self.publish(event)

    def deliver(self, event: SemanticEvent, skip: Subscription | None = None) -> None:
        """Count and queue an event that has its number."""
        if self.muted:
            return
        self.seq = event.seq
        name = event.type
        self.counts[name] += 1
        accepted = 0
        routes = self._routes.get(name)
        for subscription in self._route(name) if routes is None else routes:
            if subscription is skip:
                continue
            try:
                if subscription.offer(event):
                    accepted |= subscription.remembered
            except Exception as error:
                log.exception("subscription %s raised and is closed", subscription.name)
                self.failed.append(f"{subscription.name}: {error!r}")
                subscription.close()
        if accepted and self.recorder is not None:
            self.recorder(event, accepted)

    def batch(self, most: int) -> int:
        """How many events those who detect take at a time, of at most so many: a tenant's one, since in between others
        have their turn; few while requests come.
        """
        return self.rounds.batch(most) if self.pace is None else 1

    async def rest(self) -> None:
        """What each reader does between two batches: requests of the filesystem come first, and a tenant has a share
        of the time.
        """
        if self.pace is None:
            await trio.lowlevel.checkpoint()
        else:
            await self.pace.rest()
        await self.rounds.take(detects=True)

    def subscribe(
        self,
        name: str,
        types: Iterable[str] = ("*",),
        *,
        accept: Callable[[SemanticEvent], bool] | None = None,
        wants: Callable[[str, str, Maker], bool] | None = None,
        hears: Callable[[str], bool] | None = None,
        takes: Callable[[str, str, str | None], bool] | None = None,
        places: Places | None = None,
        capacity: int = 65_536,
        overflow: Overflow = Overflow.DROP_OLDEST,
    ) -> Subscription:
        """Join: `types` are dotted names, each standing for all below it; `accept` filters further and must be cheap.

        `wants(type, path, maker)` says beforehand whether an event could matter (see `wanted`); without it all of
        `types` may. `hears(type)` narrows `types` further; call `reroute` when its answers change.
        `takes(type, path, dest)` says no where `accept` would not take such an event (see `taken`). `places` is the
        same for whole directories; call `reshape` when its answers change.
        """
        subscription = Subscription(self, name, tuple(types), accept, wants, hears, takes, places, capacity, overflow)
        self._subscriptions.append(subscription)
        self.reroute()
        return subscription

    def heard(self, type: str) -> bool:
        """Whether an event of this type would go to anybody."""
        if self.hears(type):
            return True
        if self._upstream is not None:
            return self._upstream.heard(type)
        return self.downstream is not None and self.downstream.heard(type)

    def hears(self, type: str) -> bool:
        """Whether a subscription of this very bus would get it."""
        routes = self._routes.get(type)
        return bool(self._route(type) if routes is None else routes)

    def taken(self, type: str, path: str, dest: str | None, tenant: str = "") -> bool:
        """Whether such an event would go to anybody: asked before it is made, which costs more than the question."""
        routes = self._routes.get(type)
        for subscription in self._route(type) if routes is None else routes:
            if subscription.takes is None or subscription.takes(type, path, dest):
                return True
        return self.downstream is not None and self.downstream.taken(type, path, dest, tenant)

    def skip(self, type: str, count: int = 1) -> None:
        """Accept events that nobody hears: numbered and counted, but never made."""
        if self.muted:
            return
        self.counts[type] += count
        if self._upstream is None:
            self.seq += count
        else:
            self._upstream.skip(type, count)

    def demand(self, who: str, details: frozenset[str]) -> None:
        """From now on a definition, or a tenant, needs this beside what events tell anyway."""
        self._demands[who] = details
        if not details:
            del self._demands[who]
        found = frozenset[str]().union(*self._demands.values())
        if found != self.details:
            self.details, self.clocked = found, "took" in found
            if self._upstream is None:
                self.reroute()
            else:
                self._upstream.demand(found)

    def reroute(self) -> None:
        """Who hears what has changed: a subscription came or went, or its `hears` answers otherwise now."""
        self._routes.clear()
        self.reshape()
        if self._on_reroute is not None:
            self._on_reroute()

    def reshape(self) -> None:
        """The answers of some subscription's `places` have changed."""
        self.shapes += 1
        self._on_reshape()

    def on_reshape(self, callback: Callable[[], None]) -> None:
        """Call `callback`, which must be quick, whenever they have."""
        self._on_reshape = callback

    def extensions(self, type: str) -> set[str] | None:
        """What the names end in that anybody may hear of, wherever they are; None if that may be any."""
        found = set[str]()
        if self._elsewhere(type):
            return None
        for subscription in self._route(type):
            some = None if subscription.places is None else subscription.places.extensions(type)
            if some is None:
                return None
            found.update(some)
        return found

    def within(self, type: str, directory: str) -> bool:
        """Whether anybody may hear of other names in a directory."""
        return self._elsewhere(type) or any(
            one.places is None or one.places.within(type, directory) for one in self._route(type)
        )

    def _elsewhere(self, type: str) -> bool:
        """Whether subscriptions of other buses hear it too."""
        return self._upstream is not None or (self.downstream is not None and self.downstream.heard(type))

    def on_reroute(self, callback: Callable[[], None]) -> None:
        """Call `callback` now, and whenever who hears what has changed."""
        self._on_reroute = callback
        callback()

    def wanted(self, type: str, path: str, tenant: str | None = None, maker: Maker = ANYBODY) -> bool:
        """Whether anybody may care about events of `type` at `path` that `maker` makes: decides what a file's open has
        to cost. A tenant's own automations count where `tenant` names it, or nobody.
        """
        routes = self._routes.get(type)
        for subscription in self._route(type) if routes is None else routes:
            if subscription.wants is None or subscription.wants(type, path, maker):
                return True
        return self.downstream is not None and self.downstream.wanted(type, path, tenant, maker)

    def forget(self, subscription: Subscription) -> None:
        """Take a subscription off the bus (`Subscription.close` is the public way)."""
        self._subscriptions.remove(subscription)
        self.reroute()

    def _route(self, type: str) -> tuple[Subscription, ...]:
        wanted = tuple(
            s
            for s in self._subscriptions
            if any(covers(name, type) for name in s.types) and (s.hears is None or s.hears(type))
        )
        if type.startswith("user.") and len(self._routes) > 50_000:  # users may invent names without end
            self._routes.clear()
        self._routes[type] = wanted
        return wanted
