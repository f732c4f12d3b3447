"""Takes snapshots while everything goes on: a millisecond's work at a time, then whoever waits has a turn.

Detectors are taken one after the other, each at a place of its own in the log; what a detector holds at that moment is
copied by reference, and made into rows bit by bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import trio

from automation.memory.desk import Rows
from automation.memory.recorder import Recorder
from automation.memory.sealing import Keyhole
from automation.memory.snapshots import SnapshotFile

SLICE_SECONDS: Final = 0.001
ROWS_TOGETHER: Final = 128
HELD_BYTES: Final = 1 << 20
Found = tuple[str, str, Rows] | None
"""Owner, name and rows of a part; None for a pause."""


class Taking:
    """One snapshot; OSError where it cannot be written. `place` is the number of the next frame of the log."""

    def __init__(
        self, directory_fd: int, number: int, keyhole: Keyhole, recorder: Recorder, place: Callable[[], int]
    ) -> None:
        self.parts = 0
        self.longest = 0.0  # seconds of computing at a stretch
        self._file: Final = SnapshotFile(directory_fd, number, keyhole)
        self._recorder: Final = recorder
        self._place: Final = place
        self._since, self._used = time.perf_counter(), time.thread_time()

    async def take(self, parts: Iterator[Found], oldest: int) -> int:
        """Write all parts; `oldest` is the first frame that events still waiting need. Bytes of the snapshot."""
        try:
            for found in parts:
                if found is not None:
                    await self._part(*found)
                await self._breathe()
            await trio.to_thread.run_sync(self._file.finish, oldest)
        except BaseException:
            self._file.abandon()
            raise
        return self._file.size

    async def _part(self, owner: str, name: str, rows: Rows) -> None:
        self._recorder.flush()  # what lies before this place is in the part
        self._file.part(owner, name, self._place())
        together: list[Any] = []
        for row in rows():
            together.append(row)
            if len(together) >= ROWS_TOGETHER:
                self._file.add(together)
                together = []
            await self._breathe()
        if together:
            self._file.add(together)
        self.parts += 1
        if self._file.held > HELD_BYTES:
            await trio.to_thread.run_sync(self._file.write)
            self._since, self._used = time.perf_counter(), time.thread_time()

    async def _breathe(self) -> None:
        if time.perf_counter() - self._since > SLICE_SECONDS:
            self.longest = max(self.longest, time.thread_time() - self._used)
            await trio.lowlevel.checkpoint()
            self._since, self._used = time.perf_counter(), time.thread_time()
