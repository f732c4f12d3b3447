"""`/.vexfs/inbox`: CloudEvents in JSON written here are events; reading shows the last ones that came."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pyfuse3

from automation.errors import CallerError
from automation.inbox import MOST_BYTES, Sender
from vexfs_fuse.control.handles import Snapshot
from vexfs_fuse.control.nodes import ALWAYS_READY, Description, Handle, Opening

if TYPE_CHECKING:
    from automation.inbox import Inbox


class InboxFile:
    """One event, a list, or one event a line. Read: a JSON line for each of the last 100, newest last."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox: Final = inbox

    def describe(self) -> Description:
        """Readable and writable by the owner."""
        return Description(0o600)

    def open(self, opening: Opening) -> Handle:
        """A snapshot to read, a text to write."""
        return _Letter(self._inbox, opening, Snapshot(self._render))

    async def _render(self) -> bytes:
        return "".join(f"{json.dumps(receipt.as_dict())}\n" for receipt in self._inbox.recent).encode()


class _Letter:
    """What is written between open and close. Complete lines that are events are taken at once, so that a program may
    keep the file open; what remains is taken at close.
    """

    def __init__(self, inbox: Inbox, opening: Opening, snapshot: Snapshot) -> None:
        self._inbox: Final = inbox
        self._sender: Final = Sender("inbox", opening.uid, pid=opening.pid)
        self._snapshot: Final = snapshot
        self._text = b""

    async def read(self, offset: int, size: int, nonblocking: bool = False) -> bytes:
        """Bytes of the receipts rendered at the first read."""
        return await self._snapshot.read(offset, size)

    async def write(self, offset: int, data: bytes) -> int:
        """Collect; CallerError past 1 MiB, or for an event that is wrong."""
        self._text += data
        if self._text.endswith(b"\n") and self._is_lines():
            await self.flush()
        if len(self._text) > MOST_BYTES:
            self._text = b""
            raise CallerError(f"an event may have {MOST_BYTES} bytes, not more")
        return len(data)

    def truncate(self, size: int) -> None:
        """The shell's `>` truncates; an inbox has no length."""

    async def flush(self) -> None:
        """Take what was written."""
        text, self._text = self._text, b""
        if not text.strip():
            return
        try:
            self._inbox.receive_text(text.decode(), self._sender)
        except UnicodeDecodeError:
            raise CallerError("an event must be UTF-8 text") from None

    def poll(self, waiter: pyfuse3.PollHandle | None) -> int:
        """Always ready."""
        return ALWAYS_READY

    def interrupt(self) -> None:
        """Nothing waits here."""

    async def release(self) -> None:
        """A flush came before."""

    def _is_lines(self) -> bool:
        try:
            for line in self._text.splitlines():
                json.loads(line or b"0")
        except ValueError:
            return False
        return True
