"""What a trigger hands to the dispatcher."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from automation.events import SemanticEvent
from automation.patterns.outcomes import Match

MOST_EVENTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Firing:
    """One reason to start a run: the events that made it (the last one speaks for all), and the key of the run.

    `events` holds at most `MOST_EVENTS`; `count` is how many there were. `depth` is the longest chain of automations
    behind them, 0 when people and programs did it all. `actions`, rendered, stand in for the workflow's steps.
    `match` is what a pattern found; then its identity is that of the firing. `waited` says that the trigger held it
    back for a while on purpose. `again` is the run that this one repeats, with the time of the request: `ID@NS`.
    """

    workflow: str
    trigger: int
    kind: str
    key: str
    events: tuple[SemanticEvent, ...]
    count: int = 1
    input: Mapping[str, Any] = field(default_factory=dict)
    actions: tuple[Mapping[str, Any], ...] = ()
    match: Match | None = None
    waited: bool = False
    again: str = ""
    made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was worked out from it: asked for by the event log, the runner and the run log."""

    @property
    def event(self) -> SemanticEvent:
        """The last event."""
        return self.events[-1]

    @property
    def depth(self) -> int:
        """Longest chain of automations behind the events."""
        return max((event.cause.depth for event in self.events if event.cause is not None), default=0)

    def run_id(self, mounted_ns: int) -> str:
        """The identity of the run: the same firing of the same mount is the same run. 16 hexadecimal digits."""
        key = f"id {mounted_ns}"
        known: str = self.made.get(key) or self.made.setdefault(key, self._identity(mounted_ns))
        return known

    def _identity(self, mounted_ns: int) -> str:
        parts = [self.workflow, str(self.trigger), *([self.again] if self.again else [])]
        if self.kind == "schedule":  # the time itself, whichever mount sees it
            parts.append(repr(self.event.attrs["scheduled"]))
        elif self.match is not None and self.kind == "pattern":
            parts += [str(mounted_ns), self.match.id]
        elif all(event.type == "external.received" for event in self.events):  # has an identity of its own
            parts += [f"{event.attrs['source']}\0{event.attrs['id']}" for event in self.events]
        else:  # a file that was there before the mount has no number; its name and time stand for it
            parts += [self.key, str(mounted_ns), str(self.count)]
            parts += [str(e.seq) if e.seq else f"{e.path}:{e.ts}" for e in self.events]
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
