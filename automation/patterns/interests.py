"""Which events a pattern is about: the types of its stream, and what an event must be to change its state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from automation.globs import Anchor, compile_globs
from automation.index import ANYWHERE
from automation.patterns.elements import Contiguity
from automation.patterns.model import Pattern, Step

Interest = tuple[tuple[str, ...], tuple[str, ...]]  # types (none: all) and path globs (none: all)


@dataclass(frozen=True, slots=True)
class Concern:
    """When an event concerns a detector: always if it is one of `always`; and if the detector has a partition for the
    event's values of `by`, whenever its type is one of `types` (none: all). Without `by` the former is all.
    """

    always: tuple[Interest, ...]
    by: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


def concern_of(pattern: Pattern) -> Concern:
    """What a pattern needs to see. A partition begins with a first step; before, nothing else matters there, so
    later steps that could be anywhere are looked for by partition, those with globs by their paths.
    """
    stream = stream_types(pattern)
    all_matters = sees_all(pattern)
    interests = ((stream, ()),) if all_matters else _interests(pattern.walk(), stream)
    begin = _interests(starters(pattern.steps), stream)
    later = [globs for types, globs in interests if (types, globs) not in begin]
    if pattern.by and pattern.time == "arrival" and (all_matters or not all(later)):
        return Concern(begin, tuple(pattern.by), stream)
    return Concern(interests)


def sees_all(pattern: Pattern) -> bool:
    """Whether events that fit no step matter."""
    return any(_sees_all(step, head=index == 0) for index, step in enumerate(pattern.steps))


def anchors_of(globs: tuple[str, ...]) -> tuple[Anchor, ...]:
    """Where the paths of an interest lie, for a routing index."""
    return compile_globs(globs).anchors if globs else ANYWHERE


def stream_types(pattern: Pattern) -> tuple[str, ...]:
    """The types that make up the pattern's stream; empty for all."""
    if pattern.over:
        return () if "*" in pattern.over else tuple(pattern.over)
    steps = list(pattern.walk())
    if any(not step.event or "*" in step.event for step in steps):
        return ()
    return tuple(dict.fromkeys(name for step in steps for name in step.event))


def starters(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps that can have the first event of a match."""
    for step in steps:
        if not step.parts:
            yield step
        for sequence in [step.group, *step.any_of, *([member] for member in step.all_of)]:
            yield from starters(sequence)
        if not step.optional:
            return


def _interests(steps: Iterable[Step], stream: tuple[str, ...]) -> tuple[Interest, ...]:
    pairs = [(tuple(step.event) or stream, tuple(step.path)) for step in steps]
    return tuple(dict.fromkeys(((() if "*" in types else types), globs) for types, globs in pairs))


def _sees_all(step: Step, *, head: bool) -> bool:
    """Whether events that fit no step matter: they break what is strict, and `until` may be about them."""
    strict = step.inner is Contiguity.STRICT or (step.follows is Contiguity.STRICT and not head)
    inner = [(part, index == 0) for sequence in [step.group, *step.any_of] for index, part in enumerate(sequence)]
    return strict or bool(step.until) or any(_sees_all(part, head=first) for part, first in inner)
