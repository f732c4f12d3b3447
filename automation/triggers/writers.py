"""Who has which file open for writing: from the events alone, or by asking whoever knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from automation.events import SemanticEvent

TYPES: Final = frozenset({"file.opened", "file.closed"})


def writes(event: SemanticEvent) -> bool:
    """Whether an opened or closed file could be written to."""
    return "w" in event.attrs.get("mode", "")


class Writers:
    """Counts open descriptions that may write, by inode; bounded by the files that are open.

    `file.opened` and `file.closed` carry `mode` (`r`, `w` or `rw`) in their attributes. With somebody to ask, no event
    need be made for its sake: that costs the open and the close of a file some 5 µs each.
    """

    def __init__(self) -> None:
        self._open: Final[Counter[int]] = Counter()
        self._knows: Callable[[int], bool] | None = None

    def ask(self, knows: Callable[[int], bool]) -> None:
        """Ask `knows(inode)` from now on."""
        self._knows = knows

    def needs(self, type_name: str) -> bool:
        """Whether events of this type have to be noted."""
        return self._knows is None and type_name in TYPES

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
        return inode in self._open if self._knows is None else self._knows(inode)

    def forget(self) -> None:
        """Start anew, after events were lost."""
        self._open.clear()
