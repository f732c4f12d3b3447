"""A workflow's definition as a file: read, and replaced by what is written when the file is closed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import pyfuse3

from automation.errors import CallerError
from vexfs_fuse.control.handles import Snapshot
from vexfs_fuse.control.nodes import ALWAYS_READY, Description, Handle, Opening
from vexfs_fuse.control.scratch import resize, write_into


class Definition:
    """The text that `read` gives, and `install` for the text that is to take its place."""

    def __init__(
        self,
        read: Callable[[], bytes],
        changed_ns: Callable[[], int],
        install: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._read: Final = read
        self._changed_ns: Final = changed_ns
        self._install: Final = install

    def describe(self) -> Description:
        """Readable and writable by the owner."""
        return Description(0o600, len(self._read()), self._changed_ns())

    def open(self, opening: Opening) -> Handle:
        """A snapshot to read; a private copy to write."""
        if not opening.writable:
            return Snapshot(self._text)
        return Upload(self._read(), self._install, opening)

    async def _text(self) -> bytes:
        return self._read()


class Upload:
    """A text on its way in. Each opening has its own copy; the last to close wins.

    It is installed at a flush, and only when something was written since the last one: shells close a duplicate of the
    descriptor before they have written anything. So a truncation alone installs nothing; where there was a text before,
    closing the emptied file for good says so.
    """

    def __init__(self, text: bytes, install: Callable[[bytes], Awaitable[None]], opening: Opening) -> None:
        self._content: Final = bytearray() if opening.truncate else bytearray(text)
        self._had_text: Final = bool(text)
        self._install: Final = install
        self._append: Final = opening.append
        self._changed = False

    async def read(self, offset: int, size: int, nonblocking: bool = False) -> bytes:
        """Bytes of the new text."""
        return bytes(self._content[offset : offset + size])

    async def write(self, offset: int, data: bytes) -> int:
        """Bytes of the new text."""
        write_into(self._content, len(self._content) if self._append else offset, data)
        self._changed = True
        return len(data)

    def truncate(self, size: int) -> None:
        """Set the size of the new text."""
        resize(self._content, size)
        self._changed = True

    async def flush(self) -> None:
        """Install what was written. Raises DefinitionError when it is wrong; what ran before keeps running."""
        if not self._changed or not self._content:
            return
        self._changed = False
        await self._install(bytes(self._content))

    def poll(self, waiter: pyfuse3.PollHandle | None) -> int:
        """Always ready."""
        return ALWAYS_READY

    def interrupt(self) -> None:
        """Nothing waits here."""

    async def release(self) -> None:
        """Raises CallerError when the file was emptied and left so."""
        if self._had_text and not self._content:
            raise CallerError("an empty file is no definition; the workflow keeps the one it had (rm uninstalls it)")


def decoded(text: bytes) -> str:
    """A definition is UTF-8 text, with or without a byte order mark; CallerError for what is not."""
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CallerError(f"a definition must be UTF-8 text; byte {error.start + 1} is not") from error
