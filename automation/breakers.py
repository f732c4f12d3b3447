"""Circuit breakers: a destination that keeps failing is left alone for a while, then tried by one probe at a time.

closed ── `failures` in a row ──► open ── after `cooldown` ──► half-open ── a probe succeeds ──► closed
                                   ▲───────── the probe fails: twice the wait, up to `most` ──┘
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import trio

from automation.errors import CircuitOpen, WorldError
from automation.events import SemanticEvent

Condition = Literal["closed", "open", "half-open"]
LONGEST: Final = 300.0  # seconds that a breaker stays open, unless its cooldown is longer
_MOST: Final = 1000  # destinations that are remembered; of more, those that are closed and were not used for longest go


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a breaker opens and how long it stays so: `failures` in a row, seconds of `cooldown`, at `most` so many."""

    failures: int = 5
    cooldown: float = 30.0
    most: float = LONGEST


@dataclass(slots=True)
class Breaker:
    """What is known of one destination. Times are those of the loop, in seconds."""

    destination: str
    thresholds: Thresholds
    condition: Condition = "closed"
    failures: int = 0
    opened: int = 0
    refused: int = 0
    until: float = 0.0
    wait: float = 0.0
    probing: bool = False
    error: str = ""

    def as_dict(self, now: float) -> dict[str, Any]:
        """Plain values."""
        return {
            "destination": self.destination,
            "state": self.condition,
            "failures": self.failures,
            "opened": self.opened,
            "refused": self.refused,
            "seconds_left": round(max(0.0, self.until - now), 1) if self.condition == "open" else 0,
            "error": self.error,
        }


class Breakers:
    """One breaker per destination, made at first use. `publish` is told of each change as `system.breaker`."""

    def __init__(
        self, publish: Callable[[SemanticEvent], None] = lambda event: None, thresholds: Thresholds = Thresholds()
    ) -> None:
        self._publish: Final = publish
        self._thresholds: Final = thresholds
        self._breakers: Final[OrderedDict[str, Breaker]] = OrderedDict()

    @property
    def all(self) -> list[Breaker]:
        """Every destination that was called, in the order of their names."""
        return [self._breakers[name] for name in sorted(self._breakers)]

    @asynccontextmanager
    async def guard(self, destination: str, thresholds: Thresholds | None = None) -> AsyncIterator[None]:
        """Call the destination within; a WorldError from there counts as a failure, cancellation as nothing.

        CircuitOpen at once while the destination is left alone.
        """
        breaker = self._of(destination, thresholds or self._thresholds)
        probe = self._admit(breaker)
        try:
            yield
        except Harmless as answer:
            self._succeeded(breaker)
            raise answer.error from None
        except WorldError as error:
            self._failed(breaker, str(error))
            raise
        else:
            self._succeeded(breaker)
        finally:
            if probe:
                breaker.probing = False

    def _of(self, destination: str, thresholds: Thresholds) -> Breaker:
        breaker = self._breakers.pop(destination, None) or Breaker(destination, thresholds)
        breaker.thresholds = thresholds
        self._breakers[destination] = breaker
        if len(self._breakers) > _MOST:
            idle = next((b for b in self._breakers.values() if b.condition == "closed"), breaker)
            del self._breakers[idle.destination]
        return breaker

    def _admit(self, breaker: Breaker) -> bool:
        """Whether this call is a probe."""
        now = trio.current_time()
        if breaker.condition == "closed":
            return False
        if now < breaker.until or breaker.probing:
            breaker.refused += 1
            left = max(0.0, breaker.until - now)
            wait = f"it is tried again in {left:.0f} s" if left else "it is being tried just now"
            raise CircuitOpen(f"{breaker.destination} keeps failing and is left alone: {wait} ({breaker.error})")
        breaker.probing = True
        self._change(breaker, "half-open")
        return True

    def _failed(self, breaker: Breaker, error: str) -> None:
        breaker.failures += 1
        breaker.error = error
        limits = breaker.thresholds
        if breaker.condition == "half-open":
            breaker.wait = min(limits.most, breaker.wait * 2)
        elif breaker.condition == "closed" and breaker.failures >= limits.failures:
            breaker.wait = limits.cooldown
        else:
            return
        breaker.until = trio.current_time() + breaker.wait
        breaker.opened += 1
        self._change(breaker, "open")

    def _succeeded(self, breaker: Breaker) -> None:
        breaker.failures = 0
        if breaker.condition == "half-open":
            breaker.error = ""
            self._change(breaker, "closed")

    def _change(self, breaker: Breaker, condition: Condition) -> None:
        old, breaker.condition = breaker.condition, condition
        if old != condition:
            attrs = {"destination": breaker.destination, "old": old, "new": condition, "error": breaker.error}
            self._publish(SemanticEvent("system.breaker", attrs=attrs))


class Harmless(Exception):  # noqa: N818 - it carries an error past a breaker
    """A failure that says nothing against the destination: it answered."""

    def __init__(self, error: WorldError) -> None:
        super().__init__(str(error))
        self.error: Final = error
