"""The parts of a pattern in the form that the compiler reads: tests instead of text, numbers instead of units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from automation.patterns.automaton import ALWAYS, NEVER, Test, either


class Contiguity(StrEnum):
    """How a part follows what came before it: what may lie between."""

    STRICT = "strict"  # nothing: the very next event of the stream
    RELAXED = "relaxed"  # events that do not fit
    ANY = "any"  # any events, also ones that would fit: every choice is a match of its own


class Shape(StrEnum):
    """What a part is made of."""

    EVENT = "event"  # one event that passes one of the tests
    ABSENT = "absent"  # no such event
    SEQUENCE = "sequence"  # parts one after the other
    ALL = "all"  # one event for each test, in any order
    BRANCH = "branch"  # one of several sequences


@dataclass(frozen=True, slots=True, eq=False)
class Element:
    """One part. It occurs `least` to `most` times (None: without end), or not at all if `optional`.

    `takes` are the tests with the numbers of their steps, `bodies` the inner sequences; `gap` and `every` (ns, 0 for
    none) bound the wait for each event of the part, and for its repetitions with the reach that Flink gives it.
    """

    shape: Shape
    name: str
    link: Contiguity = Contiguity.RELAXED
    takes: tuple[tuple[Test, int], ...] = ()
    bodies: tuple[tuple[Element, ...], ...] = ()
    least: int = 1
    most: int | None = 1
    inner: Contiguity = Contiguity.RELAXED
    optional: bool = False
    greedy: bool = False
    until: Test = NEVER
    gap: int = 0
    every: int = 0

    @property
    def test(self) -> Test:
        """Whether an event fits at all."""
        return either(test for test, _ in self.takes)

    @property
    def looping(self) -> bool:
        """Whether it may repeat without end."""
        return self.most is None

    @property
    def plain(self) -> bool:
        """Whether it occurs exactly once."""
        return self.least == 1 and self.most == 1

    def once(self) -> Element:
        """The same part without its quantifier."""
        return replace(self, least=1, most=1, optional=False, until=NEVER, gap=0, every=0)


@dataclass(frozen=True, slots=True)
class Scope:
    """What the enclosing group means for the parts in it.

    Its head follows by `link` (in later repetitions by the group's inner contiguity) within `gap`; repetitions of the
    head itself follow each other by `inner`, which is the group's, as in Flink; `leaves` says that the way may go on
    past the head without an event; `optional` that this is so at the first repetition.
    """

    inside: bool = False
    link: Contiguity = Contiguity.STRICT
    inner: Contiguity = Contiguity.RELAXED
    gap: int = 0
    leaves: bool = False
    optional: bool = False
    going: Test = ALWAYS  # true until the group's `until` comes
    nots: tuple[Element, ...] = ()  # absences before the group, which hold until its head has matched
