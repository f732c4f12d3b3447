"""What a detector tells its caller: matches, partial matches that timed out, late events, and what it had to drop."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from automation.events import SemanticEvent

Steps = Mapping[str, Sequence[SemanticEvent]]


@dataclass(frozen=True, slots=True)
class Match:
    """A pattern matched: its events by step, in the order of the steps' first events.

    `id` is the same whenever the same pattern matches the same event numbers; `on` says whether an event or the clock
    completed it, `ts` (ns) when that was. `values` holds numbers of a correlation, else it is empty.
    """

    pattern: str
    id: str
    steps: Steps
    confidence: float
    on: Literal["event", "time"]
    ts: int
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def events(self) -> list[SemanticEvent]:
        """All its events, by number."""
        return sorted((event for events in self.steps.values() for event in events), key=lambda event: event.seq)


@dataclass(frozen=True, slots=True)
class Expired:
    """A partial match ran out of time at `deadline` (ns); `steps` is what it held."""

    pattern: str
    id: str
    steps: Steps
    deadline: int


@dataclass(frozen=True, slots=True)
class Late:
    """An event came after the watermark had passed it and was not used; `total` counts them for this pattern."""

    pattern: str
    event: SemanticEvent
    total: int


@dataclass(frozen=True, slots=True)
class Overflow:
    """A bound was reached: `dropped` of the oldest were given up now; `what` is partials, bytes or buffered events."""

    pattern: str
    what: Literal["partials", "bytes", "buffered"]
    dropped: int
    total: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A detector raised and is disabled; `reason` is one sentence."""

    pattern: str
    reason: str


Outcome = Match | Expired | Late | Overflow | Failed


def identity(pattern: str, steps: Steps) -> str:
    """32 hex digits made of the pattern's name and the event numbers by step."""
    digest = hashlib.blake2b(pattern.encode("utf-8", "surrogateescape"), digest_size=16)
    for name, events in steps.items():
        digest.update(f"\0{name}:{','.join(str(event.seq) for event in events)}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def confidence(steps: Steps, *, positive: int, missing: int, span: int, within: int) -> float:
    """How sure a match is, in (0, 1]: completeness * promptness.

    Completeness is 1 - (optional steps without an event / steps that can have one) / 2; promptness is
    1 - (time from first to last event / window) / 2, and 1 without a window.
    """
    completeness = 1 - 0.5 * missing / positive if positive else 1.0
    promptness = 1 - 0.5 * min(1.0, max(0.0, span / within)) if within else 1.0
    return completeness * promptness


def as_plain(steps: Steps) -> dict[str, list[dict[str, Any]]]:
    """Events by step as plain values."""
    return {name: [event.as_dict() for event in events] for name, events in steps.items()}
