"""Event time: a buffer that gives events back in the order of their `ts`, as far as the watermark has come."""

from __future__ import annotations

import heapq
from typing import Final

from automation.events import SemanticEvent

_LONG_AGO: Final = -(1 << 63)


class Reorder:
    """Holds at most `capacity` events; a full buffer gives up waiting: its earliest event goes on and counts as seen.

    The watermark is the promise that nothing older comes: set by `promise`, or `lateness` (ns) behind the newest event.
    """

    def __init__(self, lateness: int | None, capacity: int) -> None:
        self.watermark = _LONG_AGO
        self.late = 0
        self.hurried = 0
        self._lateness: Final = lateness
        self._capacity: Final = capacity
        self._heap: Final[list[tuple[int, int, SemanticEvent]]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def earliest(self) -> int | None:
        """`ts` of the first event that waits."""
        return self._heap[0][0] if self._heap else None

    def accept(self, event: SemanticEvent) -> bool:
        """Take an event; False if it is late, that is, not newer than the watermark."""
        if event.ts <= self.watermark:
            self.late += 1
            return False
        self._count += 1
        heapq.heappush(self._heap, (event.ts, self._count, event))
        if self._lateness is not None:
            self.promise(event.ts - self._lateness - 1)
        if len(self._heap) > self._capacity:
            self.hurried += 1
            self.promise(self._heap[0][0])
        return True

    def promise(self, ts: int) -> None:
        """Nothing with this `ts` or an older one comes any more; an older promise changes nothing."""
        self.watermark = max(self.watermark, ts)

    @property
    def waiting(self) -> list[SemanticEvent]:
        """The events that wait for the watermark, in order."""
        return [event for _, _, event in sorted(self._heap, key=lambda entry: entry[:2])]

    def resume(self, watermark: int, late: int, waiting: list[SemanticEvent]) -> None:
        """Go on from what an earlier one held."""
        for event in waiting:
            self._count += 1
            heapq.heappush(self._heap, (event.ts, self._count, event))
        self.watermark, self.late = max(self.watermark, watermark), self.late + late

    def ready(self) -> list[SemanticEvent]:
        """The events that the watermark has passed, in order of time, equal ones in order of arrival."""
        out = []
        while self._heap and self._heap[0][0] <= self.watermark:
            out.append(heapq.heappop(self._heap)[2])
        return out
