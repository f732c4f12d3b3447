"""The events that came for one wait of a run, or for a run as a whole, and are not taken yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from automation.events import SemanticEvent
from automation.patterns.snapshots import read_numbered
from automation.runner.awaited import Ear
from automation.triggers.firing_records import event_record

if TYPE_CHECKING:
    from automation.runner.history import History

MOST: Final = 10_000


class Mailbox:
    """Holds at most 10,000 events; a full one drops the newest and tells `on_missed`. Each event is recorded when
    it comes, with a number by which it is known afterwards; `on_mail` is called then. `place` is that of the wait,
    empty for the run's own.
    """

    __slots__ = ("_count", "_history", "_known", "_last", "_mail", "_on_mail", "_on_missed", "_place", "_wake", "ears")

    def __init__(
        self,
        history: History,
        place: str,
        on_mail: Callable[[], None],
        on_missed: Callable[[], None] = lambda: None,
    ) -> None:
        self.ears: Final[list[Ear]] = []
        self._place: Final = place
        self._on_mail: Final = on_mail
        self._on_missed: Final = on_missed
        self._history: Final = history
        self._mail: Final[deque[tuple[int, SemanticEvent]]] = deque()
        self._count = history.mailed.get(place, 0) if history.mailed else 0
        self._last = 0
        self._known: Final[set[int]] = set()  # what came before this life may be handed over once more
        self._wake: trio.Event | None = None
        for number, event in (history.mail or {}).get(place, ()):
            self._mail.append((number, read_numbered(event)))
            self._known.add(event["seq"])

    @property
    def seen(self) -> int:
        """The number of the first event that has not been taken out."""
        return self._mail[0][0] if self._mail else self._count

    def put(self, event: SemanticEvent) -> None:
        """An event came."""
        if event.seq and event.seq == self._last:
            return  # two ears heard the same
        self._last = event.seq
        if event.seq and event.seq in self._known:
            return
        if len(self._mail) >= MOST:
            self._on_missed()
            return
        self._history.note("mail", self._place, {"number": self._count, "event": event_record(event)})
        self._mail.append((self._count, event))
        self._count += 1
        if self._wake is not None:
            self._wake.set()
            self._wake = None
        self._on_mail()

    def take(self, fits: Callable[[int, SemanticEvent], bool]) -> tuple[int, SemanticEvent] | None:
        """The first event that fits, taken out; the others stay."""
        for i, (number, event) in enumerate(self._mail):
            if fits(number, event):
                del self._mail[i]
                return number, event
        return None

    def drop_before(self, number: int) -> None:
        """Forget what came earlier."""
        while self._mail and self._mail[0][0] < number:
            self._mail.popleft()

    async def more(self) -> None:
        """Wait until another event comes."""
        if self._wake is None:
            self._wake = trio.Event()
        await self._wake.wait()
