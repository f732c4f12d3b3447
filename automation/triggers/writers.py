"""Who has which file open for writing, from the events alone."""

from __future__ import annotations

from collections import Counter
from typing import Final

from automation.events import SemanticEvent

TYPES: Final = frozenset({"file.opened", "file.closed"})


def writes(event: SemanticEvent) -> bool:
    """Whether an opened or closed file could be written to."""
    return "w" in event.attrs.get("mode", "")


class Writers:
    """Counts open descriptions that may write, by inode; bounded by the files that are open.

    `file.opened` and `file.closed` carry `mode` (`r`, `w` or `rw`) in their attributes.
    """

    def __init__(self) -> None:
        self._open: Final[Counter[int]] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def note(self, event: SemanticEvent) -> None:
        """Take an event of one of `TYPES` into account; anything else changes nothing."""
        if event.inode == 0 or event.errno is not None or not writes(event):
            return
        if event.type != "file.closed":
            self._open[event.inode] += 1
        elif self._open[event.inode] > 1:
            self._open[event.inode] -= 1
        else:
            del self._open[event.inode]

    def busy(self, inode: int) -> bool:
        """Whether somebody has the file open for writing."""
        return inode in self._open

    def forget(self) -> None:
        """Start anew, after events were lost."""
        self._open.clear()
