"""One instance of a machine: plain data, moved by the engine only."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Any, Final, Literal

from automation.events import SemanticEvent
from automation.expressions import EVENT_FIELDS
from automation.facts import event_facts


@dataclass(frozen=True, slots=True)
class Timer:
    """An event that the machine sent to itself for later. `due` in ns; `sender` names it for `cancel`."""

    due: int
    order: int
    name: str
    data: Any
    sender: str


class Trigger:
    """The event that is being handled: one from outside, or one of the machine's own.

    `event` is what happened on the mount last; an event of the machine's own takes path, process … from it.
    """

    __slots__ = ("data", "event", "kind", "name", "sender")

    def __init__(
        self,
        name: str,
        event: SemanticEvent | None,
        data: Any = None,
        kind: Literal["external", "internal", "platform", "stream"] = "stream",
        sender: str = "",
    ) -> None:
        self.name: Final = name
        self.event: Final = event
        self.data: Final = data
        self.kind: Final = kind
        self.sender: Final = sender

    def facts(self, fields: Collection[str] = EVENT_FIELDS) -> dict[str, Any]:
        """What expressions see as `event`: the fields asked for; `type` and `attrs` are those of this event."""
        facts = event_facts(self.event if self.event is not None else _NOTHING, fields)
        if self.kind != "stream":
            attrs = self.data if isinstance(self.data, dict) else {} if self.data is None else {"value": self.data}
            facts |= {"type": self.name, "attrs": attrs}
        return facts


_NOTHING: Final = SemanticEvent("user", ts=0)


class Instance:
    """A machine's state for one key.

    `config` is the set of active states, `history` what each history state remembers, by number. `origin` is the event
    that moved it last, `began` and `since` are when it began and last moved (ns). `due` is when its first timer ends.
    """

    __slots__ = (
        "began",
        "config",
        "due",
        "entered",
        "history",
        "key",
        "moves",
        "origin",
        "running",
        "since",
        "timers",
        "vars",
    )

    def __init__(self, key: Hashable, now: int) -> None:
        self.key = key
        self.config = 0
        self.entered = 0
        self.history: dict[int, int] = {}
        self.vars: dict[str, Any] = {}
        self.timers: list[Timer] = []
        self.origin: SemanticEvent | None = None
        self.running = True
        self.began = self.since = now
        self.due: int | None = None
        self.moves = 0
