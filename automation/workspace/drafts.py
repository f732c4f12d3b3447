"""A small file for a write that is about to be done: made, filled and on the disk, but without a name, so that there is
nothing yet that anybody could see. A run has it made while it waits for its record. On a busy machine an event's file
is there a quarter earlier than without that and what `loop` and the journal do for it; on an idle one, no earlier.

    draft, sync (trio) ─► make, fsync (a thread) ─► name (trio, or with the rest) ─► settle (a thread)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from automation.identity import acting
from automation.workspace import beneath, changes, staging
from automation.workspace.beneath import Place, Root
from automation.workspace.trail import Trail

LARGEST: Final = 64 << 10  # bytes; what is larger takes long enough for the rest not to matter


class Draft:
    """To be discarded, whatever became of it. Used in the trio thread where nothing else is said."""

    def __init__(self, root: Root, path: str, data: bytes, mode: int | None, limiter: trio.CapacityLimiter) -> None:
        """Begin with it; WouldBlock if the limiter has no token left, of which it holds one until it is discarded."""
        limiter.acquire_on_behalf_of_nowait(self)
        self.path = ""  # once it has its name
        self._root: Final = root
        self._wanted: Final = path
        self._data: Final = data
        self._mode: Final = mode
        self._limiter: Final = limiter
        self._token: Final = trio.lowlevel.current_trio_token()
        self._fd = self._parent = -1
        self._synced = self._over = False
        self._holds = True
        self._then: Callable[[], None] | None = None
        trio.lowlevel.start_thread_soon(self._make, self._deliver, "draft")

    async def sync(self) -> bool:
        """Wait until the disk has it; False if there is none: the name is taken, a directory is missing, or whatever
        else the write itself has to deal with.
        """
        done = trio.Event()
        self._then = done.set
        if not self._over:  # the thread sets this first, and then looks for whom to tell
            await done.wait()
        return self._synced

    def name(self, trail: Trail) -> bool:
        """Give it its name, now that it is synced; whether that was (still) possible. In any thread."""
        with suppress(OSError), beneath.place(self._root, self._wanted, follow=True) as at:
            if beneath.same(at.parent, self._parent):
                staging.Staged(self._fd, at, None).take(os.fstat(self._fd).st_ino, trail)
                self.path = at.path
                trail.stale_entry(at.path)
                trail.note_file(at.path, os.fstat(self._fd), None)
        return bool(self.path)

    def settle(self) -> str:
        """Make the name durable; the path. Blocks."""
        beneath.sync_directory(self._parent)
        return self.path

    def discard(self) -> None:
        """Let go of it, at once or as soon as the thread has."""
        self._then = self._close
        if self._over:
            self._close()

    def _close(self) -> None:
        for fd in (self._fd, self._parent):
            if fd >= 0:
                os.close(fd)
        self._fd = self._parent = -1
        if self._holds:
            self._holds = False
            self._limiter.release_on_behalf_of(self)

    # In the thread

    def _make(self) -> None:
        with suppress(OSError), acting(self._root.identity):
            with beneath.place(self._root, self._wanted, follow=True) as at:
                if beneath.exists(at):
                    return
                self._fill(at)
            os.fsync(self._fd)
            self._synced = True

    def _fill(self, at: Place) -> None:
        self._parent = os.dup(at.parent)
        self._fd = staging.unnamed(at, changes.FILE_MODE if self._mode is None else self._mode)
        changes.fill(self._fd, self._data)
        if self._mode is not None:
            os.fchmod(self._fd, self._mode)

    def _deliver(self, outcome: object) -> None:
        """Nobody is woken who does not wait: mostly something else takes longer."""
        self._over = True
        if self._then is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._tell)

    def _tell(self) -> None:
        if self._then is not None:
            self._then()
