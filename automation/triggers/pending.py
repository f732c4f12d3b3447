"""Things that wait for their time: one deadline a key, the earliest first."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class Pending(Generic[T]):
    """At most `capacity` keys, each with a value and a deadline that may move; a full table gives up the oldest key
    and counts it in `dropped`.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity: Final = capacity
        self._items: Final[dict[str, tuple[float, T]]] = {}
        self._heap: Final[list[tuple[float, int, str]]] = []
        self._tie: Final = itertools.count()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def get(self, key: str) -> T | None:
        """The value that waits under `key`."""
        item = self._items.get(key)
        return None if item is None else item[1]

    def when(self, key: str) -> float | None:
        """The deadline of `key`."""
        item = self._items.get(key)
        return None if item is None else item[0]

    def items(self) -> list[tuple[str, float, T]]:
        """Keys, deadlines and values as they are now."""
        return [(key, when, value) for key, (when, value) in self._items.items()]

    def put(self, key: str, value: T, deadline: float) -> None:
        """Let `value` wait under `key` until `deadline`, in place of what waited there."""
        if key not in self._items and len(self._items) >= self._capacity:
            del self._items[next(iter(self._items))]
            self.dropped += 1
        self._items[key] = (deadline, value)
        heapq.heappush(self._heap, (deadline, next(self._tie), key))
        if len(self._heap) > 2 * len(self._items) + 1000:  # mostly deadlines that have moved since
            self._heap[:] = [(when, next(self._tie), name) for name, (when, _) in self._items.items()]
            heapq.heapify(self._heap)

    def pop(self, key: str) -> T | None:
        """Take `key` out."""
        item = self._items.pop(key, None)
        return None if item is None else item[1]

    @property
    def deadline(self) -> float | None:
        """The earliest deadline, None when nothing waits."""
        self._prune()
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[tuple[str, T]]:
        """Take out what is due, earliest first."""
        while (when := self.deadline) is not None and when <= now:
            _, _, key = heapq.heappop(self._heap)
            yield key, self._items.pop(key)[1]

    def _prune(self) -> None:
        while self._heap:
            when, _, key = self._heap[0]
            item = self._items.get(key)
            if item is not None and item[0] == when:
                return
            heapq.heappop(self._heap)
