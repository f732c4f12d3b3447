"""Which events of the bus a pattern may need, whatever it has seen: what the mount has to trace for it.

Where matches are kept apart by path and every first step names paths, no other path can ever matter, whatever the
later steps are about.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from automation.events import covers
from automation.globs import Anchor, compile_globs
from automation.maker_conditions import makers_of
from automation.makers import Maker, Makers
from automation.patterns.correlation import CorrelationDetector
from automation.patterns.detector import Detector
from automation.patterns.interests import Interest, anchors_of, sees_all, starters, stream_types
from automation.patterns.loading import Definition
from automation.patterns.model import Pattern


@dataclass(frozen=True, slots=True, eq=False)
class Appetite:
    """The wants of one pattern; `failures` says whether failed operations are among them."""

    name: str
    interests: tuple[Interest, ...]
    failures: bool
    makers: Makers | None

    def wants(self, type_name: str, path: str, maker: Maker) -> bool:
        """Whether an event of this type at this path, made so, could be part of a match, or prevent one."""
        return (self.makers is None or self.makers(maker)) and any(
            (not types or any(covers(name, type_name) for name in types)) and (not globs or compile_globs(globs)(path))
            for types, globs in self.interests
        )

    def places(self) -> list[tuple[tuple[str, ...], tuple[Anchor, ...]]]:
        """Types and anchors to be filed under in a routing index."""
        return [
            (tuple(name if name == "*" else name.removesuffix(".*") for name in types or ("*",)), anchors_of(globs))
            for types, globs in self.interests
        ]


def appetite_of(definition: Definition, detector: Detector | CorrelationDetector) -> Appetite:
    """What `detector`, made of `definition`, may need to see."""
    failures = "errno" in json.dumps(definition.as_dict(), default=str)
    makers = _makers(definition) if isinstance(definition, Pattern) else None
    if isinstance(definition, Pattern) and "path" in definition.by:
        first = list(starters(definition.steps))
        if first and all(step.path for step in first):
            types = _plain(stream_types(definition))
            return Appetite(definition.name, tuple((types, tuple(step.path)) for step in first), failures, makers)
    concern = detector.concern()
    later = ((concern.types, ()),) if concern.by else ()
    interests = tuple((_plain(types), globs) for types, globs in (*concern.always, *later))
    return Appetite(definition.name, tuple(dict.fromkeys(interests)), failures, makers)


def _makers(pattern: Pattern) -> Makers | None:
    """Whose events could be of any step, where those that are of none change nothing."""
    if pattern.time == "event" or sees_all(pattern):
        return None
    steps = list(pattern.walk())
    names = frozenset(name for step in steps for name in (step.step, step.alias) if name)
    found = []
    for step in steps:
        own = frozenset((step.step, step.alias)) - {""}
        one = makers_of(step.where, names - own, own) if step.where else None
        if one is None:
            return None
        found.append(one)
    return lambda maker: any(one(maker) for one in found)


def _plain(types: Iterable[str]) -> tuple[str, ...]:
    return tuple(name if name == "*" else name.removesuffix(".*") for name in types)
