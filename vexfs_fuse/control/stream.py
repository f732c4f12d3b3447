"""An open event stream: what `cat`, `tail -f`, `head`, `read` and `poll` see of a subscription.

The file has no content of its own, so offsets are a reader's own: where it starts is where "now" is, and each record
takes the next bytes. What was read stays readable for a while, since shells and `head` read a block and seek back to
the line they took.

A reader that starts at offset 0 (`cat`, `head`, `read`) waits for events. One that seeks first (`tail`, to the end)
is answered as by a file that grows: end of file when there is nothing new. That, and the size that `EventStream`
shows, is what `tail -f` needs; it would read a stream that waits to its end, that is for ever, before it prints a
line. The first read after a seek finds the end of file whatever is queued, since `tail` looks for lines backwards
there and forgets what it found.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable
from typing import Final

import pyfuse3
import trio

from automation.bus import Subscription
from automation.events import SemanticEvent
from vexfs_fuse.errors import EAGAIN, EBADF, EINTR, fail

READERS: Final = 64
REREAD: Final = 1 << 18  # bytes kept behind a reader; a block of cat is 128 KiB
BATCH: Final = 128  # records rendered at a time, so that a backlog does not hold the loop: about 10 µs each
PATIENCE: Final = 1.0  # seconds
READABLE: Final = select.POLLIN | select.POLLRDNORM


class Readers:
    """How many streams are open: at most `READERS`, since a waiting read occupies one of the session's request tasks.

    `answer_every` bounds the wait of a read in seconds where signals do not reach us (no native library): a process
    that waits for an answer cannot die, so it is answered EINTR, upon which programs ask again. None where they do.
    """

    def __init__(self, answer_every: float | None) -> None:
        self.answer_every: Final = answer_every
        self.closed = False
        self._open: Final[set[Stream]] = set()
        self._departures: Final = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        """No more may be opened."""
        return len(self._open) >= READERS

    def enter(self, stream: Stream) -> None:
        """One more."""
        self._open.add(stream)
        if self.closed:
            stream.close()

    def leave(self, stream: Stream) -> None:
        """One less."""
        self._open.discard(stream)
        self._departures.unpark_all()

    async def close(self) -> None:
        """End all streams. Who waits gets the end of the file, and `PATIENCE` to close it: that wants an answer too."""
        self.closed = True
        leaving = {stream for stream in self._open if stream.waiting}
        for stream in tuple(self._open):
            stream.close()
        with trio.move_on_after(PATIENCE):
            while leaving & self._open:
                await self._departures.park()


class Window:
    """The bytes around a reader's offset: up to `REREAD` already read, and those rendered but not yet read."""

    def __init__(self) -> None:
        self.start = 0
        self._bytes = bytearray()

    @property
    def end(self) -> int:
        """Offset behind the last byte."""
        return self.start + len(self._bytes)

    def __contains__(self, offset: int) -> bool:
        return self.start <= offset <= self.end

    def move(self, position: int, offset: int) -> None:
        """Forget what lies before `position` and let the rest be at `offset`."""
        del self._bytes[: position - self.start]
        self.start = offset

    def take(self, offset: int, size: int) -> bytes:
        """At most `size` bytes at `offset`; what lies too far behind is let go."""
        at = offset - self.start
        data = bytes(self._bytes[at : at + size])
        surplus = at + len(data) - REREAD
        if surplus > 0:
            del self._bytes[:surplus]
            self.start += surplus
        return data

    def append(self, data: bytes) -> None:
        """Bytes that come next."""
        self._bytes += data


class Stream:
    """One reader. The queue and its overflow are those of its subscription."""

    def __init__(
        self,
        subscription: Subscription,
        readers: Readers,
        *,
        nonblocking: bool,
        on_release: Callable[[Stream], None],
    ) -> None:
        self.position = 0  # behind the last byte that was read
        self._subscription: Final = subscription
        self._readers: Final = readers
        self._nonblocking: Final = nonblocking
        self._on_release: Final = on_release
        self._window: Final = Window()
        self._following: bool | None = None  # unknown before the first read
        self._waiting: trio.CancelScope | None = None
        self._waiter: pyfuse3.PollHandle | None = None

    @property
    def ready(self) -> bool:
        """Whether a read at `position` returns bytes, or the end, at once."""
        return self._window.end > self.position or self._subscription.ready or self._readers.closed

    @property
    def waiting(self) -> bool:
        """Whether a read waits for an event."""
        return self._waiting is not None

    async def read(self, offset: int, size: int, nonblocking: bool = False) -> bytes:
        """The bytes at `offset`, waiting for them as the module's docstring says; empty when the tree is closing.

        EAGAIN for a descriptor with O_NONBLOCK, and while another process waits on this same open file; EINTR for a
        signal.
        """
        if self._following is None:
            self._following = offset > 0
        if offset not in self._window:
            self._window.move(self.position, offset)
            self.position = offset
            if self._following:
                return b""
        if offset == self._window.end:
            await self._fill(nonblocking or self._nonblocking)
        data = self._window.take(offset, size)
        self.position = offset + len(data)
        return data

    async def write(self, offset: int, data: bytes) -> int:
        """Refused: events are emitted by workflows."""
        fail(EBADF)

    def truncate(self, size: int) -> None:
        """Nothing to truncate."""

    async def flush(self) -> None:
        """Nothing to do."""

    def poll(self, waiter: pyfuse3.PollHandle | None) -> int:
        """Readable, or `waiter` is told as soon as it is."""
        if self._subscription.closed:
            return READABLE | select.POLLHUP
        if self.ready:
            return READABLE
        if waiter is not None:
            self._waiter = waiter
            self._subscription.on_ready(self._notify)
        return 0

    def interrupt(self) -> None:
        """Answer the read that waits."""
        if self._waiting is not None:
            self._waiting.cancel()

    def close(self) -> None:
        """No more events: who waits gets the end of the file."""
        self._subscription.close()

    async def release(self) -> None:
        """Leave the bus."""
        self.close()
        self._subscription.on_ready(None)
        self._waiter = None
        self._readers.leave(self)
        self._on_release(self)

    async def _fill(self, nonblocking: bool) -> None:
        if self._subscription.ready or self._following:
            events = self._subscription.receive_nowait(BATCH)
        elif nonblocking or self._waiting is not None:
            fail(EAGAIN)
        else:
            events = await self._wait()
        self._window.append("".join(f"{event.as_json()}\n" for event in events).encode())

    async def _wait(self) -> list[SemanticEvent]:
        limit = self._readers.answer_every
        with trio.CancelScope() if limit is None else trio.move_on_after(limit) as scope:
            self._waiting = scope
            try:
                return await self._subscription.receive(BATCH)
            finally:
                self._waiting = None
        fail(EINTR)

    def _notify(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            with contextlib.suppress(OSError):  # the poller or the mount is gone
                waiter.notify()
