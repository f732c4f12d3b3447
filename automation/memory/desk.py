"""What the memory needs of those who detect."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from automation.bus import Subscription
from automation.events import SemanticEvent

Rows = Callable[[], Iterator[Any]]
"""Rows of plain values that say all that one detector remembers. What is there at the first `next` counts, whatever
happens between two rows; making one takes well under a millisecond.
"""


@dataclass(frozen=True, slots=True)
class Step:
    """The circumstances under which a desk took events: the steady clock, the wall's, and what it noted (by `note`)."""

    now: float
    wall: float
    notes: Sequence[Any] = ()


class Desk(Protocol):
    """Takes events from its queue in steps (`Recorder.step`), and its detectors remember."""

    @property
    def subscription(self) -> Subscription:
        """Its queue."""

    def parts(self) -> Iterator[tuple[str, Rows] | None]:
        """By detector, what it remembers now; None now and then where the search is long."""

    def recall(self, parts: Mapping[str, Sequence[Any]]) -> None:
        """Before any definition is loaded: give these to the detectors of these names when they come."""

    def replay(self, events: Sequence[SemanticEvent], step: Step, without: Collection[str]) -> None:
        """Take events as in an earlier life, but not for the detectors `without`. Nobody hears of what comes of it."""

    def recovered(self) -> None:
        """Everything is as it was; from here on it is this life."""
