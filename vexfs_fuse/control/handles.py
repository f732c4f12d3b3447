"""The open files that most nodes share: a rendered text, and a text of command lines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import pyfuse3
import trio

from automation.errors import CallerError
from vexfs_fuse.control.nodes import ALWAYS_READY
from vexfs_fuse.errors import EBADF, fail

Render = Callable[[], Awaitable[bytes]]
LINE_LIMIT: Final = 1 << 20  # bytes of one command: a JSON payload fits, an accidental `cat disk.img > ctl` does not


class Snapshot:
    """A text rendered at the first read, which may take time: a thread or a disk. Later reads see the same bytes."""

    def __init__(self, render: Render) -> None:
        self._render: Final = render
        self._lock: Final = trio.Lock()
        self._content: bytes | None = None

    async def read(self, offset: int, size: int, nonblocking: bool = False) -> bytes:
        """Bytes of the snapshot."""
        if self._content is None:
            async with self._lock:
                if self._content is None:
                    self._content = await self._render()
        return self._content[offset : offset + size]

    async def write(self, offset: int, data: bytes) -> int:
        """Refused: the file cannot be opened for writing."""
        fail(EBADF)

    def truncate(self, size: int) -> None:
        """Nothing to truncate."""

    async def flush(self) -> None:
        """Nothing to do."""

    def poll(self, waiter: pyfuse3.PollHandle | None) -> int:
        """Always ready."""
        return ALWAYS_READY

    def interrupt(self) -> None:
        """The rendering goes on."""

    async def release(self) -> None:
        """Nothing to do."""


class CommandLines:
    """Each line that is written is a command, done before its write returns; a last line without its newline is done at
    close. Offsets mean nothing. The first line that fails fails the write, and those after it in the same write are
    dropped.

    `blank` says whether an empty line is a command too. Reading gives `render()`.
    """

    def __init__(self, render: Render, execute: Callable[[str], Awaitable[object]], *, blank: bool = False) -> None:
        self._snapshot: Final = Snapshot(render)
        self._execute: Final = execute
        self._blank: Final = blank
        self._rest = b""

    async def read(self, offset: int, size: int, nonblocking: bool = False) -> bytes:
        """Bytes of the text rendered at the first read."""
        return await self._snapshot.read(offset, size)

    async def write(self, offset: int, data: bytes) -> int:
        """Do the lines that are complete. Raises CallerError for a line that is too long or not UTF-8."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = b""
        for line in lines:
            await self._do(line)
        if len(rest) > LINE_LIMIT:
            raise CallerError(f"a command line may have {LINE_LIMIT} bytes, not more")
        self._rest = rest
        return len(data)

    def truncate(self, size: int) -> None:
        """The shell's `>` truncates; commands have no length."""

    async def flush(self) -> None:
        """Do the last line if it came without a newline."""
        rest, self._rest = self._rest, b""
        if rest:
            await self._do(rest)

    def poll(self, waiter: pyfuse3.PollHandle | None) -> int:
        """Always ready."""
        return ALWAYS_READY

    def interrupt(self) -> None:
        """Nothing waits here."""

    async def release(self) -> None:
        """A flush came before."""

    async def _do(self, line: bytes) -> None:
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise CallerError("a command must be UTF-8 text") from error
        if "\0" in text:
            raise CallerError("a command must not contain NUL bytes")
        if text or self._blank:
            await self._execute(text)
