"""How much of something may be used in any stretch of time: calls in a minute, seconds of CPU in an hour."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NoReturn

from automation.errors import QuotaExceeded

_SLICES: Final = 60  # of the stretch: what is used is forgotten slice by slice
_UNITS: Final = {60.0: "a minute", 3600.0: "an hour"}


class Allowance:
    """At most `most` (calls, seconds) of `what` in any `period` seconds; `clock` gives seconds. Call from one thread.

    What is used counts to the end of its slice, a 60th of the period. More than is left may be used, since some
    use is known only afterwards: it counts all the same. `on_use` is told of each use.
    """

    def __init__(self, what: str, most: float, period: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.what: Final = what
        self.most: Final = most
        self.period: Final = period
        self.total = 0.0
        self.refused = 0
        self._clock: Final = clock
        self._slice: Final = period / _SLICES
        self.on_use: Callable[[], None] = lambda: None
        self._used: Final[deque[list[float]]] = deque()  # the number of each slice, and what was used in it

    @property
    def used(self) -> float:
        """In the last `period` seconds."""
        return sum(amount for _, amount in self._current())

    @property
    def left(self) -> float:
        """What may be used now."""
        return max(0.0, self.most - self.used)

    @property
    def wait(self) -> float:
        """Seconds until there is something left."""
        over = self.used - self.most
        for number, amount in self._current():
            over -= amount
            if over < 0:
                return max(0.0, (number + _SLICES + 1) * self._slice - self._clock())
        return 0.0 if self.used < self.most else self.period

    def require(self, amount: float = 0.0) -> None:
        """Refuse with QuotaExceeded unless `amount` is left; without an amount, unless something is."""
        left = self.most - self.used
        if left <= 0 or left < amount:
            self.refuse()

    def refuse(self) -> NoReturn:
        """Raise QuotaExceeded, and count it."""
        self.refused += 1
        raise QuotaExceeded(
            f"the quota of {self.most:g} {self.what} in {_UNITS.get(self.period, f'{self.period:g} s')} "
            f"is used up: try again in {max(1, round(self.wait))} s"
        )

    def use(self, amount: float) -> None:
        """Note that so much was used."""
        self.total += amount
        number = self._clock() // self._slice
        used = self._current()
        if used and used[-1][0] == number:
            used[-1][1] += amount
        else:
            used.append([number, amount])
        self.on_use()

    def take(self, amount: float = 1.0) -> None:
        """Use it, or be refused with QuotaExceeded."""
        self.require(amount)
        self.use(amount)

    def snapshot(self) -> list[list[float]]:
        """What counts now: how many slices ago it was used, and how much."""
        now = self._clock() // self._slice
        return [[now - number, amount] for number, amount in self._current()]

    def restore(self, kept: Iterable[Sequence[float]], passed: float) -> None:
        """Go on with a snapshot that was taken `passed` seconds ago; before anything is used."""
        now = (self._clock() - max(0.0, passed)) // self._slice
        self._used.extend([now - ago, amount] for ago, amount in kept)

    def as_dict(self) -> dict[str, Any]:
        """Plain values: the limit, what was used in the last period, what was used at all, refusals."""
        return {
            "limit": self.most,
            "seconds": self.period,
            "used": round(self.used, 3),
            "total": round(self.total, 3),
            "refused": self.refused,
        }

    def _current(self) -> deque[list[float]]:
        oldest = self._clock() // self._slice - _SLICES
        while self._used and self._used[0][0] < oldest:
            self._used.popleft()
        return self._used
