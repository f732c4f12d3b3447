"""What is given up under load, in a stated order, so that everything else goes on.

HighLoad     analytics takes no events, provenance writes none to its graph
Degraded     and what is of low priority does not start
Emergency    nor what is of normal priority

Never given up: the filesystem, guards, the journal, and work of high and critical priority. What is given up is counted
exactly, announced as `system.overload` with `reason: shedding`, and taken up again when the state is another; how long
that takes is the thresholds' affair (hysteresis), not ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
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

    def shed(self, on: bool) -> None:
        """Take no events, or take them again."""


class Shedding:
    """`parts` are told when their turn comes. `counts` is what was given up so far."""

    def __init__(self, bus: Bus, parts: Mapping[str, Part]) -> None:
        self.given_up: tuple[str, ...] = ()
        self._bus: Final = bus
        self._parts: Final = parts
        self._firings: Final[Counter[str]] = Counter()

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
