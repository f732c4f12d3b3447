"""The event log: frames appended to numbered segments, the oldest removed once no snapshot needs them.

A frame is handed to the kernel by one write(2) before the reply to the operation that it tells of. So it survives a
`kill -9` of this process; not a power loss, for which nothing is forced to the disk.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from automation.errors import WorldError
from automation.memory.frames import begin, pack, unpack
from automation.memory.sealing import OPEN, Keyhole, Seal

VERSION: Final = 1
SEGMENT_BYTES: Final = 4 << 20
MOST_BYTES: Final = 256 << 20
_PREFIX: Final = "events-"


@dataclass(slots=True)
class Segment:
    """One file: the number of its first frame, its size, and while it is read its frames."""

    number: int
    first: int
    size: int = 0
    epoch: int = 0
    frames: list[list[Any]] = field(default_factory=list)
    damaged: int = 0  # bytes that could not be read
    reason: str = "is cut or damaged"


class EventLog:
    """Appends to segments of about 4 MiB in `directory_fd` (borrowed), 256 MiB at most. `frames` is the number of the
    next frame. OSError or WorldError when a frame cannot be written whole; then it is to be closed.
    """

    def __init__(
        self,
        directory_fd: int,
        old: Sequence[Segment] = (),
        keyhole: Keyhole = OPEN,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.frames = max((segment.first + len(segment.frames) for segment in old), default=0)
        self._segments: Final = [Segment(one.number, one.first, one.size) for one in old]
        self._directory_fd: Final = directory_fd
        self._segment_bytes: Final = segment_bytes
        self._most_bytes: Final = most_bytes
        self._before = -sum(segment.size for segment in self._segments)  # of what is written, less what is there
        self._left = most_bytes + self._before
        self._room = 0
        self._fd = -1
        self._keyhole: Final = keyhole
        self._seal: Seal | None = None

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return self._most_bytes - self._left

    @property
    def written(self) -> int:
        """Bytes since the process began."""
        return self._before + self.size

    @property
    def segments(self) -> int:
        """How many there are."""
        return len(self._segments)

    @property
    def first(self) -> int:
        """The number of the first frame that is there, or of the next one."""
        return self._segments[0].first if self._segments else self.frames

    def open(self, epoch: int) -> None:
        """Begin a new segment, for the life of a detection that `epoch` names."""
        self.close()
        number = self._segments[-1].number + 1 if self._segments else 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(_name(number), flags, 0o600, dir_fd=self._directory_fd)
        self._segments.append(Segment(number, self.frames, epoch=epoch))
        self._room = self._segment_bytes
        self._seal = self._keyhole.new()
        self._write(begin(("begin", VERSION, epoch, self.frames), self._seal))

    def append(self, records: list[Any]) -> None:
        """Write one frame."""
        if self._room <= 0:
            self.open(self._segments[-1].epoch)
        self._write(pack(records, self._seal))
        self.frames += 1

    @property
    def full(self) -> bool:
        """Whether there is no room for a frame of some length."""
        return self._left < self._segment_bytes

    def prune(self, first: int) -> None:
        """Remove the segments that only hold frames before `first`."""
        while len(self._segments) > 1 and self._segments[1].first <= first:
            gone = self._segments.pop(0)
            self._left += gone.size
            self._before += gone.size
            remove(self._directory_fd, gone)

    def close(self) -> None:
        """Write no more until it is opened."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._segments[-1].size = self._segment_bytes - self._room

    def _write(self, frame: bytes) -> None:
        size = len(frame)
        if size > self._left:
            raise WorldError(f"the event log would hold more than {self._most_bytes >> 20} MiB")
        done = os.write(self._fd, frame)
        self._room -= done
        self._left -= done
        if done < size:
            raise WorldError(f"of {size} bytes only {done} could be written: the disk is full")


def read_segments(directory_fd: int, keyhole: Keyhole = OPEN) -> list[Segment]:
    """Every segment with its frames, in order. What is damaged ends the reading of its segment, not of the others."""
    found = []
    for name in sorted(os.listdir(directory_fd)):
        if not (name.startswith(_PREFIX) and name.endswith(".log") and name[len(_PREFIX) : -4].isdecimal()):
            continue
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory_fd)
            with open(fd, "rb") as file:
                data = file.read()
        except OSError:
            data = b"\0"  # as damaged as can be
        found.append(_segment(int(name[len(_PREFIX) : -4]), data, keyhole))
    for one, following in itertools.pairwise(found):
        if one.first < 0:  # its beginning is lost: nothing in it can be placed
            one.first = following.first
    return found


def remove(directory_fd: int, segment: Segment) -> None:
    """Unlink a segment; that it is gone already is no error."""
    try:
        os.unlink(_name(segment.number), dir_fd=directory_fd)
    except FileNotFoundError:
        return


def _segment(number: int, data: bytes, keyhole: Keyhole) -> Segment:
    segment, end = Segment(number, -1, len(data)), 0
    try:
        for after, records in unpack(data, keyhole):
            if not end:
                if records[0][:2] != ("begin", VERSION):
                    break
                segment.epoch, segment.first = records[0][2], records[0][3]
            else:
                segment.frames.append(records)
            end = after
    except WorldError as error:
        segment.reason, segment.epoch = f"cannot be read ({error})", 0
    segment.damaged = len(data) - end
    return segment


def _name(number: int) -> str:
    return f"{_PREFIX}{number:012d}.log"
