"""A statechart as its two notations (YAML, SCXML) give it: names instead of states, expressions compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from automation.machines.scope import Scope

Condition = Callable[[Scope], bool]
"""May raise ExecutionError: then it counts as false, and the machine gets `error.execution`."""
Value = Callable[[Scope], Any]
Content = Callable[[Scope], None]
Block = tuple[Content, ...]
"""Contents that belong together: where one raises ExecutionError the rest of the block is left out."""
Place = tuple[str | int, ...]
"""Where in the source something stands, for messages; what it is made of is the notation's affair."""


class Kind(StrEnum):
    """What a state is."""

    ATOMIC = "atomic"
    COMPOUND = "compound"
    PARALLEL = "parallel"
    FINAL = "final"
    SHALLOW = "shallow"  # history: the children that were active
    DEEP = "deep"  # history: the atomic descendants that were active


class ChartError(ValueError):
    """The chart is wrong at `place`; `str()` says why."""

    def __init__(self, place: Place, reason: str) -> None:
        self.place = place
        super().__init__(reason)


@dataclass(slots=True)
class TransitionOutline:
    """`events` are descriptors, empty for an eventless transition; without `targets` nothing is left or entered."""

    place: Place
    events: tuple[str, ...] = ()
    condition: Condition | None = None
    targets: tuple[str, ...] = ()
    internal: bool = False
    content: Block = ()


@dataclass(slots=True)
class StateOutline:
    """One state. `initial` names where a compound state begins (its first child by default); of a history state it is
    the default. `data` are variables that late binding sets when the state is first entered.
    """

    place: Place
    name: str
    kind: Kind
    children: list[StateOutline] = field(default_factory=list)
    transitions: list[TransitionOutline] = field(default_factory=list)
    initial: TransitionOutline | None = None
    entry: list[Block] = field(default_factory=list)
    exit: list[Block] = field(default_factory=list)
    data: list[Content] = field(default_factory=list)
    result: Value | None = None


@dataclass(slots=True)
class Outline:
    """A whole chart: `root` is the machine itself. `early` gives the variables their first values."""

    root: StateOutline
    early: list[Content] = field(default_factory=list)
