"""Who would make the events that somebody may listen to: asked at a file's open about the reads and writes to come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final


class Maker:
    """A caller to be; None is for what is not known, or may be another by then. `name` gives `comm` where that is asked
    for, once.
    """

    __slots__ = ("_comm", "_name", "gid", "uid")

    def __init__(
        self,
        uid: int | None = None,
        gid: int | None = None,
        comm: str | None = None,
        name: Callable[[], str | None] | None = None,
    ) -> None:
        self.uid: Final = uid
        self.gid: Final = gid
        self._comm = comm
        self._name = name

    @property
    def comm(self) -> str | None:
        """The name of its program."""
        if self._name is not None:
            self._comm, self._name = self._name(), None
        return self._comm


ANYBODY: Final = Maker()
Makers = Callable[[Maker], bool]
"""Whether events of this maker may be meant."""
