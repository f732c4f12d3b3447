"""What a directory holds of an earlier life: the newest snapshot that is whole, and the log since."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from automation.errors import WorldError
from automation.memory.event_log import Segment, read_segments
from automation.memory.sealing import OPEN, Keyhole
from automation.memory.snapshots import Part, Snapshot, numbers, read_snapshot

JUMP: Final = 10_000_000
"""Numbers left out after a kill, for events that were numbered and not recorded. See `Memory` for the other half."""
_NOTHING: Final = Part(0)


@dataclass(slots=True)
class Earlier:
    """`seq` is the last event number that may have been given, `epoch` names all lives since the memory began, `now` is
    the last time of its clock. `problems` are sentences about what could not be read.
    """

    epoch: int
    seq: int = 0
    now: float = 0.0
    clean: bool = False
    snapshot: Snapshot | None = None
    segments: list[Segment] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    firings: dict[str, Any] = field(default_factory=dict)
    events: int = 0

    def frames(self) -> Iterator[tuple[int, list[Any]]]:
        """The frames that the snapshot needs, with their numbers."""
        oldest = self.snapshot.oldest if self.snapshot is not None else 0
        for segment in self.segments:
            for i, records in enumerate(segment.frames, segment.first):
                if i >= oldest:
                    yield i, records

    def part(self, owner: str, name: str) -> Part:
        """A part of the snapshot, an empty one where it has none."""
        return _NOTHING if self.snapshot is None else self.snapshot.parts.get((owner, name), _NOTHING)

    def parts(self, owner: str) -> dict[str, Part]:
        """All parts of one owner, by name."""
        found = {} if self.snapshot is None else self.snapshot.parts
        return {name: part for (whose, name), part in found.items() if whose == owner}


def read_earlier(directory_fd: int, keyhole: Keyhole = OPEN) -> Earlier:
    """Everything that can be read. Never raises for what a file holds."""
    earlier = Earlier(time.time_ns())
    found = numbers(directory_fd)
    for number in reversed(found):
        try:
            earlier.snapshot = read_snapshot(directory_fd, number, keyhole)
        except (OSError, WorldError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            earlier.problems.append(f"snapshot {number} of detection's state cannot be read: {reason}")
            continue
        if earlier.snapshot is not None:
            break
        older = "the one before it is used" if number != found[0] else "there is no other one"
        earlier.problems.append(f"snapshot {number} of detection's state is damaged: {older}")
    earlier.segments = read_segments(directory_fd, keyhole)
    _check(earlier)
    _gather(earlier)
    return earlier


def _check(earlier: Earlier) -> None:
    segments, snapshot = earlier.segments, earlier.snapshot
    earlier.problems += [_damage(segment) for segment in segments if segment.damaged]
    begins = segments[0].first if segments else 0
    if begins > (snapshot.oldest if snapshot is not None else 0):
        earlier.problems.append("the event log does not reach back to the snapshot: what lies between is lost")
    if segments:
        earlier.epoch = segments[-1].epoch or earlier.epoch


def _damage(segment: Segment) -> str:
    return f"segment {segment.number} of the event log {segment.reason}: its last {segment.damaged} bytes are not used"


def _gather(earlier: Earlier) -> None:
    """What the log says beyond the snapshot, but for what is to be replayed."""
    meta = earlier.part("memory", "meta")
    if meta.rows:
        about = meta.rows[0]
        earlier.epoch, earlier.seq, earlier.now = about["epoch"], about["seq"], about["now"]
        earlier.clean = about["clean"]
    values, firings = earlier.part("memory", "values"), earlier.part("memory", "firings")
    earlier.values = dict(values.rows)
    earlier.firings = dict(firings.rows)
    for number, records in earlier.frames():
        earlier.clean = earlier.clean and number < meta.position
        for kind, *fields in records:
            if kind == "e":
                earlier.seq = max(earlier.seq, fields[1][0])
                earlier.events += 1
            elif kind == "q":
                earlier.seq = max(earlier.seq, fields[0])
            elif kind == "s":
                earlier.now = max(earlier.now, fields[2])
            elif kind == "k" and number >= values.position:
                _keep(earlier.values, *fields)
            elif kind == "f" and number >= firings.position:
                earlier.firings[fields[0]] = fields[1]
            elif kind == "d":
                earlier.firings.pop(fields[0], None)
    if earlier.seq and not earlier.clean:
        earlier.seq += JUMP


def _keep(values: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value
