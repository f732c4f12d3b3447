"""`/.vexfs/events` and `/.vexfs/events.d/TYPE`: the event stream, one JSON object a line."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from automation.events import EVENT_TYPES, known
from vexfs_fuse.control.nodes import Description, Handle, Node, Opening
from vexfs_fuse.control.stream import Readers, Stream
from vexfs_fuse.errors import EMFILE, fail

if TYPE_CHECKING:
    from automation.bus import Bus

QUEUE: Final = 16_384  # events that one reader may lag behind; the oldest are dropped and the reader sees a gap record
STREAM_SIZE: Final = 1 << 20
STRIDE: Final = 1 << 24  # more than a full queue renders to, so that tail reads it all at once


class EventStream:
    """The events of `types` (all below a name, `*` for all) from the moment of opening.

    The size is no amount of data: it is a number that `tail -f` can seek to and sees grow when there is something to
    read. GNU tail asks for the size once a second and reads what it grew by, so while a reader has something waiting
    the size is that reader's offset plus a stride, and at least a mebibyte.
    """

    def __init__(self, bus: Bus, types: tuple[str, ...], readers: Readers) -> None:
        self._bus: Final = bus
        self._types: Final = types
        self._readers: Final = readers
        self._open: Final[set[Stream]] = set()

    def describe(self) -> Description:
        """Readable by the owner."""
        ends = (s.position + (STRIDE if s.ready else 0) for s in self._open)
        return Description(0o400, max(STREAM_SIZE, *ends) if self._open else STREAM_SIZE)

    def open(self, opening: Opening) -> Handle:
        """Subscribe; nothing published from now on is missed unless the reader lags by more than `QUEUE` events."""
        if self._readers.full:
            fail(EMFILE)
        name = f"control:{','.join(self._types)}:pid {opening.pid}"
        subscription = self._bus.subscribe(name, self._types, capacity=QUEUE)
        stream = Stream(subscription, self._readers, nonblocking=opening.nonblocking, on_release=self._open.discard)
        self._open.add(stream)
        self._readers.enter(stream)
        return stream


def _groups() -> tuple[str, ...]:
    """Every type and every group of types, in the order of the taxonomy."""
    names: dict[str, None] = {}
    for name in EVENT_TYPES:
        names.update(dict.fromkeys(itertools.accumulate(name.split("."), lambda a, b: f"{a}.{b}")))
    return tuple(names)


class EventTypes:
    """A stream for each type and group of types; also for `user.ANYTHING` and for several names with commas between."""

    def __init__(self, bus: Bus, readers: Readers, since_ns: int) -> None:
        self._bus: Final = bus
        self._readers: Final = readers
        self._since_ns: Final = since_ns

    def describe(self) -> Description:
        """Listable by the owner."""
        return Description(0o500, 0, self._since_ns)

    def names(self) -> Iterable[str]:
        """What the taxonomy knows."""
        return _groups()

    def child(self, name: str) -> Node | None:
        """The stream of these types."""
        types = tuple(name.split(","))
        return EventStream(self._bus, types, self._readers) if all(map(known, types)) else None
