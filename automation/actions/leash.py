"""By what VexFS holds a tenant's command: a pipe to the keeper of all that comes from it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

_KEEPER: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "keeper.py")


class Leash:
    """Nothing of the command outlives it, nor the leash: see `keeper`. `cut` it when done."""

    def __init__(self) -> None:
        self._theirs, self._ours = os.pipe()

    def words(self, argv: Sequence[str]) -> list[str]:
        """Those that run a command so, whose first word is a path; it waits until it is `let`. Pass `fds` to it."""
        return [sys.executable, "-I", "-S", _KEEPER, str(self._theirs), *argv]

    @property
    def fds(self) -> tuple[int, ...]:
        """The keeper's."""
        return (self._theirs,)

    def let(self) -> None:
        """Let the command begin."""
        os.close(self._theirs)
        self._theirs = -1
        self._say(0)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command's process group."""
        self._say(number)

    def cut(self) -> None:
        """End all that is left."""
        for fd in (self._theirs, self._ours):
            if fd >= 0:
                os.close(fd)
        self._theirs = self._ours = -1

    def _say(self, byte: int) -> None:
        if self._ours >= 0:
            with suppress(BrokenPipeError):  # all has ended
                os.write(self._ours, bytes([byte]))
