"""Token buckets: one for each key, of which the oldest goes when there are too many."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MOST_KEYS: Final = 10_000


class Buckets:
    """`rate` tokens a second flow into each key's bucket, which holds `burst`. Whoever finds none waits for the next;
    a bucket never owes more than `longest` seconds' worth, so nobody waits longer.
    """

    def __init__(self, rate: float, burst: int, longest: float) -> None:
        self._rate: Final = rate
        self._burst: Final = float(burst)
        self._longest: Final = longest
        self._levels: Final[OrderedDict[str, tuple[float, float]]] = OrderedDict()  # tokens, and when that was so

    def take(self, key: str, now: float) -> tuple[float, bool]:
        """Take a token at `now` (s): how long to wait for it, and whether it was to be had within the longest wait."""
        tokens, when = self._levels.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - when) * self._rate) - 1.0
        wait = max(0.0, -tokens / self._rate)
        within = wait <= self._longest
        if not within:
            tokens, wait = tokens + 1.0, self._longest
        self._levels[key] = (tokens, now)
        self._levels.move_to_end(key)
        if len(self._levels) > MOST_KEYS:
            self._levels.popitem(last=False)
        return wait, within
