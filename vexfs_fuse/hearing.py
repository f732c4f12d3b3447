"""What the native library must know of who listens: with many rules loaded that mean other names, an operation that no
rule can mean is still its own to carry out.
"""

from __future__ import annotations

import os
import time
from typing import Final

from automation.bus import Bus
from vexfs_fuse.errors import code_of
from vexfs_fuse.inodes import Inodes
from vexfs_fuse.interest import Interest
from vexfs_fuse.native import ANSWERED, Native

_NAMED: Final = ANSWERED.index("file.created")  # from here on, the path of an event is that of a name in a directory
PATIENCE: Final = 0.05  # seconds between two accounts, while definitions come one after the other


class Hearing:
    """Tells the library anew when the index of the rules has changed; until then all that is heard is Python's."""

    def __init__(self, bus: Bus, interest: Interest, inodes: Inodes, native: Native) -> None:
        self._bus: Final = bus
        self._interest: Final = interest
        self._inodes: Final = inodes
        self._native: Final = native
        self._stale = True
        self._told_at = 0.0
        native.on_directory(self._within)
        bus.on_reshape(self._reshaped)

    def refresh(self) -> None:
        """Tell what has changed, not too often; quick where nothing has."""
        if self._stale and time.monotonic() > self._told_at + PATIENCE:
            self._tell()
            self._told_at = time.monotonic()

    def _reshaped(self) -> None:
        if not self._stale:
            self._stale = True
            self._native.shape(0, {})

    def _tell(self) -> None:
        kinds, extensions = 0, dict[bytes, int]()
        for bit, name in self._heard():
            found = self._bus.extensions(name)
            if found is None:
                continue
            kinds |= 1 << bit
            for extension in map(os.fsencode, found):
                extensions[extension] = extensions.get(extension, 0) | 1 << bit
        self._native.shape(kinds, extensions)
        self._stale = False

    def _heard(self) -> list[tuple[int, str]]:
        heard, forced = self._bus.heard, self._interest.forced
        return [
            (bit, name) for bit, name in enumerate(ANSWERED) if bit >= _NAMED and name not in forced and heard(name)
        ]

    def _within(self, ino: int) -> int:
        """Of which events, as bits, of names in this directory somebody might want to hear, whatever the names."""
        try:
            path = self._inodes[ino].path()
            return sum(1 << bit for bit, name in self._heard() if self._bus.within(name, path))
        except Exception as error:
            code_of(error)
            return (1 << len(ANSWERED)) - 1
