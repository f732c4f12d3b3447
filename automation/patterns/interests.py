"""Which events a pattern is about: the types of its stream, and the types and paths that can change its state."""

from __future__ import annotations

from collections.abc import Sequence

from automation.patterns.elements import Contiguity
from automation.patterns.model import Pattern, Step

Interest = tuple[tuple[str, ...], tuple[str, ...]]  # types (none: all) and path globs (none: all)


def stream_types(pattern: Pattern) -> tuple[str, ...]:
    """The types that make up the pattern's stream; empty for all."""
    if pattern.over:
        return () if "*" in pattern.over else tuple(pattern.over)
    steps = list(pattern.walk())
    if any(not step.event for step in steps):
        return ()
    return tuple(dict.fromkeys(name for step in steps for name in step.event))


def interests_of(pattern: Pattern) -> list[Interest]:
    """The kinds of events that can change the state of a pattern's partial matches."""
    stream = stream_types(pattern)
    if any(_sees_all(step, head=index == 0) for index, step in enumerate(pattern.steps)):
        return [(stream, ())]
    return list(dict.fromkeys((tuple(step.event) or stream, tuple(step.path)) for step in pattern.walk()))


def _sees_all(step: Step, *, head: bool) -> bool:
    """Whether events that fit no step matter: they break what is strict, and `until` may be about them."""
    strict = step.inner is Contiguity.STRICT or (step.follows is Contiguity.STRICT and not head)
    inner = [*_heads(step.group), *(pair for choice in step.any_of for pair in _heads(choice))]
    return strict or bool(step.until) or any(_sees_all(part, head=first) for part, first in inner)


def _heads(steps: Sequence[Step]) -> list[tuple[Step, bool]]:
    return [(step, index == 0) for index, step in enumerate(steps)]
