"""What detection is about to rely on, written down before anybody can know of it.

| record | fields | means |
|---|---|---|
| `e` | queues (a bit each), event | accepted by these queues |
| `s` | desk, last event, now, wall, notes | a desk took its events up to that number and let time pass to `now` |
| `f` | run, firing | a firing that is to have its run |
| `d` | run | its run has ended, or it shall have none |
| `k` | key, value | a value to be kept, None to forget it |
| `t` | path, value, whether there is one | the shared state changed |
| `q` | number | events were numbered up to this |

What a desk does in one step is one frame: after a kill, either all of it has happened, or its events are still to come.
A step without events that nothing came of is written with the next frame, or within a second.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from automation.errors import WorldError
from automation.event_rows import event_row
from automation.events import SemanticEvent
from automation.memory.event_log import EventLog

log: Final = logging.getLogger(__name__)
MOST_LAZY: Final = 256


class _Block:
    """`with` it, then `end`; twice as quick as a generator."""

    __slots__ = ("_end",)

    def __init__(self, end: Callable[[], None]) -> None:
        self._end: Final = end

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception: object) -> None:
        self._end()


_NOTHING: Final = _Block(lambda: None)


class Recorder:
    """Writes to `log` while there is one. A log that cannot be written is given up with its reason in `error`: the
    events go on, unrecorded.
    """

    def __init__(self) -> None:
        self.log: EventLog | None = None
        self.error = ""
        self.on_failure: Callable[[], None] = lambda: None
        self.seq = 0  # the last event that the log knows of
        self.places: list[tuple[int, int]] = []  # now and then a frame, and the last event before it
        self._held: list[Any] | None = None
        self._urgent = False
        self._lazy: list[Any] = []
        self._latest: dict[str, Any] = {}
        self._notes: list[Any] = []
        self._block: Final = _Block(self._end)

    # What happens

    def accepted(self, event: SemanticEvent, queues: int) -> None:
        """Called in `publish`, before the reply: about 4 µs, 1.2 of them for the write (`bench/memory.py`)."""
        if self.log is not None:
            self.seq = event.seq
            try:
                if self._held is None:
                    self._append([("e", queues, event_row(event))])
                else:
                    self._held.append(("e", queues, event_row(event)))
                    self._urgent = True
            except Exception as error:  # a bug of ours must not end the operation
                log.exception("an event could not be recorded")
                self.give_up(repr(error))

    def write(self, record: Any) -> None:
        """Write a record now, or in a step at its end."""
        if self.log is None:
            return
        if self._held is None:
            self._append([record])
        else:
            self._held.append(record)
            self._urgent = True

    def write_soon(self, record: Any) -> None:
        """Write a record with the next one, or within a second: what is also known from elsewhere."""
        if self.log is None:
            return
        if self._held is not None:
            self._held.append(record)
            return
        self._lazy.append(record)
        if len(self._lazy) >= MOST_LAZY:
            self.flush()

    def write_lazily(self, key: str, record: Any) -> None:
        """Write a record with the next one, unless another of the same key comes before."""
        if self.log is not None:
            self._latest[key] = record

    def together(self) -> AbstractContextManager[None]:
        """What is written in this block is one frame."""
        if self._held is not None or self.log is None:
            return _NOTHING
        self._held = []
        return self._block

    def step(self, desk: str, events: Sequence[SemanticEvent], now: float, wall: float) -> AbstractContextManager[None]:
        """A desk takes events and lets time pass."""
        if self._held is not None or self.log is None:
            return _NOTHING
        last = events[-1].seq if events else 0
        self._notes = []
        self._held = [("s", desk, last, now, wall, self._notes)]
        self._urgent = last > 0
        return self._block

    def note(self, value: Any, *, urgent: bool = False) -> None:
        """Something else that the step rests on, to be told when it is repeated."""
        if self._held is not None:
            self._notes.append(value)
            self._urgent = self._urgent or urgent

    def _end(self) -> None:
        held, self._held = self._held or [], None
        if self._urgent:
            self._urgent = False
            self._append(held)
        else:
            self._lazy += held
            if len(self._lazy) >= MOST_LAZY:
                self.flush()

    # To the log

    def flush(self) -> None:
        """Write what was put off."""
        if self._lazy or self._latest:
            self._append([])

    def _append(self, records: list[Any]) -> None:
        log = self.log
        if log is None:
            return
        if self._lazy or self._latest:
            records = [*self._lazy, *self._latest.values(), *records]
            self._lazy, self._latest = [], {}
        try:
            log.append(records)
        except (OSError, WorldError) as error:
            self.give_up(str(error))
            return
        if not log.frames & 1023:
            self.places.append((log.frames, self.seq))

    def give_up(self, reason: str) -> None:
        """Write nothing more, until another log is given."""
        log.warning("the event log is off: %s; what happens from now on is lost if this process is killed", reason)
        if self.log is not None:
            self.log.close()
        self.log, self.error = None, reason
        self._lazy, self._latest = [], {}
        self.on_failure()

    def frame_before(self, seq: int) -> int:
        """A frame such that all events from number `seq` on are in it or later ones."""
        found = [frame for frame, last in self.places if last < seq]
        return found[-1] if found else 0

    def forget_places(self, first: int) -> None:
        """Nothing before this frame is asked for any more."""
        self.places = [place for place in self.places if place[0] >= first]
