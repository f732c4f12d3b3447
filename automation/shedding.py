"""What is given up under load, in a stated order, so that everything else goes on.

HighLoad     analytics takes no events, provenance writes none to its graph
Degraded     and what is of low priority does not start
Emergency    nor what is of normal priority

Never given up: the filesystem, guards, the journal, and work of high and critical priority. What is given up is counted
exactly, announced as `system.overload` with `reason: shedding`, and taken up again when the state is another; how long
that takes is the thresholds' affair (hysteresis), not ours. Of the loop's time, too, the automations have less in these
states, while requests come (`rounds`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from automation.bus import Bus
from automation.events import SemanticEvent

ORDER: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "HighLoad": ("analytics", "provenance"),
        "Degraded": ("analytics", "provenance", "low"),
        "Emergency": ("analytics", "provenance", "low", "normal"),
    }
)
"""By system state, what is given up: a part by its name, firings by their priority."""


class Part(Protocol):
    """Something that can do without events for a while."""

    @property
    def ignored(self) -> int:
        """How many events it was not given."""

    @property
    def cost(self) -> float:
        """Seconds of the loop that an event takes, on average; 0 where that is not known."""

    def shed(self, on: bool) -> None:
        """Take no events, or take them again."""


class Shedding:
    """`parts` are told when their turn comes; `run` says how many seconds of the loop a run takes. `counts` is what was
    given up so far.
    """

    def __init__(
        self,
        bus: Bus,
        parts: Mapping[str, Part],
        run: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.given_up: tuple[str, ...] = ()
        self._bus: Final = bus
        self._parts: Final = parts
        self._run: Final = run
        self._clock: Final = clock
        self._firings: Final[Counter[str]] = Counter()
        self._sampled: tuple[float, float, dict[str, int]] = (clock(), 0.0, {})

    @property
    def counts(self) -> dict[str, int]:
        """Events by part, firings by priority."""
        events = {name: part.ignored for name, part in self._parts.items()}
        return {name: count for name, count in (events | self._firings).items() if count}

    def settle(self, state: str) -> None:
        """Give up what this system state gives up, and nothing else."""
        wanted = ORDER.get(state, ())
        if wanted == self.given_up:
            return
        for name, part in self._parts.items():
            if (name in wanted) != (name in self.given_up):
                part.shed(name in wanted)
        self.given_up = wanted
        attrs: dict[str, Any] = {"reason": "shedding", "state": state, "given_up": list(wanted), "counts": self.counts}
        self._bus.publish(SemanticEvent("system.overload", attrs=attrs))

    def refuses(self, priority: str) -> bool:
        """Whether a firing of this priority is given up now; counts it if so."""
        if priority not in self.given_up:
            return False
        self._firings[priority] += 1
        return True

    def demand(self) -> float:
        """Since this was asked last: the share of the time in which automations waited for their turn while requests
        came, and that which what was given up would have taken. It stays high for as long as shedding is needed.
        """
        now, held, counts = self._clock(), self._bus.rounds.held(), self.counts
        then, held_then, counts_then = self._sampled
        self._sampled = now, held, counts
        seconds = held - held_then
        for name, count in counts.items():
            part = self._parts.get(name)
            seconds += (count - counts_then.get(name, 0)) * (self._run() if part is None else part.cost)
        return round(seconds / (now - then), 4) if now > then else 0.0
