"""Files in `/.vexfs/workflows` that are no definitions: what editors put beside a file while they save it.

They live in memory until they are renamed or removed, or the mount ends.
"""

from __future__ import annotations

import time
from typing import Final

import pyfuse3

from automation.errors import CallerError
from vexfs_fuse.control.nodes import ALWAYS_READY, Description, Handle, Opening

FILE_LIMIT: Final = 1 << 20  # bytes of one file, a definition or a scratch file
FILES: Final = 64  # scratch files at a time


def write_into(content: bytearray, offset: int, data: bytes) -> None:
    """Put `data` at `offset`, zeros before it where there is nothing; CallerError when the file would be too large."""
    if offset + len(data) > FILE_LIMIT:
        raise CallerError(f"a file here may have {FILE_LIMIT} bytes, not more")
    resize(content, max(len(content), offset))
    content[offset : offset + len(data)] = data


def resize(content: bytearray, size: int) -> None:
    """Cut or fill with zeros; CallerError when the file would be too large."""
    if size > FILE_LIMIT:
        raise CallerError(f"a file here may have {FILE_LIMIT} bytes, not more")
    del content[size:]
    content.extend(bytes(size - len(content)))


class Scratch:
    """A plain file in memory."""

    def __init__(self, content: bytes = b"") -> None:
        self.content: Final = bytearray(content)
        self.changed_ns = time.time_ns()

    def describe(self) -> Description:
        """Readable and writable by the owner."""
        return Description(0o600, len(self.content), self.changed_ns)

    def open(self, opening: Opening) -> Handle:
        """All openings share the content."""
        if opening.truncate:
            self.content.clear()
        return OpenScratch(self, opening.append)


class OpenScratch:
    """An open scratch file."""

    def __init__(self, file: Scratch, append: bool) -> None:
        self._file: Final = file
        self._append: Final = append

    async def read(self, offset: int, size: int, nonblocking: bool = False) -> bytes:
        """Bytes of the file as it is now."""
        return bytes(self._file.content[offset : offset + size])

    async def write(self, offset: int, data: bytes) -> int:
        """Bytes into the file."""
        write_into(self._file.content, len(self._file.content) if self._append else offset, data)
        self._file.changed_ns = time.time_ns()
        return len(data)

    def truncate(self, size: int) -> None:
        """Set the size."""
        resize(self._file.content, size)

    async def flush(self) -> None:
        """Nothing to do."""

    def poll(self, waiter: pyfuse3.PollHandle | None) -> int:
        """Always ready."""
        return ALWAYS_READY

    def interrupt(self) -> None:
        """Nothing waits here."""

    async def release(self) -> None:
        """Nothing to do."""
