"""The bus of one tenant: what it is given of the mount's events, at what rate, and what it publishes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from automation.announcements import Announcements
from automation.bus import Bus, Subscription
from automation.events import SemanticEvent
from automation.rounds import Rounds
from automation.tenants.share import BURST, Share

UNMETERED: Final = frozenset(
    ("workflow", "system", "rule", "machine", "model", "pattern", "analytics", "anomaly", "prediction", "graph")
)
"""What its own automations say of themselves: follows from events that were counted."""
SLOWEST: Final = 0.005  # seconds of routing one event: what took longer waited for the processor


class Lane:
    """`rate` events a second, at most a second's worth at once (10 at least). What is over is dropped for this tenant's
    automations only: counted in `dropped`, announced as `system.overload`, and a `system.gap` stands where it was.
    `share` is its part of the loop's time for its tasks. Routing has as much: it cannot come later, so what is over is
    dropped likewise.
    """

    def __init__(
        self, main: Bus, name: str, rate: float, share: Share, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.name: Final = name
        self.rate: Final = rate
        self.dropped = 0
        self.delivered = 0
        self.share: Final = share
        self._routing = 0.0  # seconds of routing that are not its yet
        self._metered: Final[dict[str, bool]] = {}
        self._main: Final = main
        self.bus: Final = Bus(self)
        self.bus.pace = share
        self.knows: Callable[[object], bool] = lambda run: False  # whether a run is the tenant's
        self.own: SemanticEvent | None = None  # what it is publishing at this moment
        self._skip: Subscription | None = None
        self._clock: Final = clock
        self._burst: Final = max(rate, 10.0)
        self._tokens = self._burst
        self._at = clock()
        self._second: tuple[float, int] = (self._at, 0)  # a second, and what had been delivered when it began
        self._last = 0.0
        self._counted = 0  # of what was delivered, what its rate is about
        self._gap: tuple[int, int, int] | None = None  # dropped in this episode, first and last number
        self._announcements: Final = Announcements(self.bus)

    # From the mount

    def take(self, event: SemanticEvent) -> None:
        """Give it an event, within its rate."""
        now = self._clock()
        metered = self._metered.get(event.type)
        if self._is_metered(event.type) if metered is None else metered:
            passed, self._at = now - self._at, now
            self._tokens = min(self._burst, self._tokens + passed * self.rate)
            self._routing = max(0.0, self._routing - passed * self.share.share)
            if self._tokens < 1.0:
                self._drop(event, "events-per-second", self.rate)
                return
            if self._routing > BURST:
                self._drop(event, "loop-share", self.share.share)
                return
            self._tokens -= 1.0
            self._counted += 1
            if self._gap is not None:
                self._tell(self._gap)
        self.delivered += 1
        self.bus.deliver(event, self._skip if event is self.own else None)
        self._routing += min(self._clock() - now, SLOWEST)

    def _is_metered(self, type: str) -> bool:
        if len(self._metered) > 10_000:  # users may invent names without end
            self._metered.clear()
        metered = self._metered[type] = type.partition(".")[0] not in UNMETERED
        return metered

    def _drop(self, event: SemanticEvent, limit: str, most: float) -> None:
        self.dropped += 1
        count, first, _ = self._gap or (0, event.seq, 0)
        self._gap = (count + 1, first, event.seq)
        if count == 0:
            self._announcements.overload(limit, "", {"reason": limit, "limit": most, "dropped": self.dropped})

    def _tell(self, gap: tuple[int, int, int]) -> None:
        self._gap = None
        count, first, last = gap
        attrs = {"subscription": "tenant", "dropped": count, "first": first, "last": last}
        record = SemanticEvent("system.gap", tenant=self.name, attrs=attrs)
        record.seq = last
        self.bus.deliver(record)

    def per_second(self) -> float:
        """How many events came in each second since this was asked last, but for the last second."""
        now, (then, before) = self._clock(), self._second
        if now - then >= 1.0:
            self._last = round((self._counted - before) / (now - then), 1)
            self._second = (now, self._counted)
        return self._last

    # To the mount: `Upstream`

    def publish(self, event: SemanticEvent, skip: Subscription | None) -> None:
        """Publish on the mount's bus, as the tenant's; from there it comes back."""
        before = self.own, self._skip
        event.tenant = self.name
        self.own, self._skip = event, skip
        try:
            self._main.publish(event)
        finally:
            self.own, self._skip = before

    @property
    def rounds(self) -> Rounds:
        """Those of the mount."""
        return self._main.rounds

    def skip(self, type: str, count: int) -> None:
        """Count what nobody hears."""
        self._main.skip(type, count)

    def heard(self, type: str) -> bool:
        """Whether anybody else hears it."""
        return self._main.hears(type)

    def demand(self, details: frozenset[str]) -> None:
        """Failed operations and durations, where the tenant's definitions ask for them."""
        self._main.demand(f"tenant {self.name}", details)

    def begin(self, seq: int) -> None:
        """Numbers that an earlier mount gave are not given again."""
        if self._main.published == 0 and self._main.seq < seq:
            self._main.begin(seq)
