"""A validated pattern → elements with compiled tests → automaton."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from automation.events import SemanticEvent, covers
from automation.globs import compile_globs
from automation.patterns.automaton import ALWAYS, NEVER, Automaton, Test, both
from automation.patterns.closures import Check, Names, compile_where
from automation.patterns.compiler import compile_elements
from automation.patterns.elements import Element, Shape
from automation.patterns.model import Pattern, Step
from automation.patterns.runs import Run

_MOST_TYPES: Final = 10_000  # users may invent types without end


def assemble(pattern: Pattern) -> Automaton:
    """Compile a pattern; ValueError, with the step's name, for a condition, glob or structure that is wrong."""
    steps = list(pattern.walk())
    labels = tuple(step.step for step in steps)
    numbers = {name: at for at, step in enumerate(steps) for name in (step.step, step.alias) if name}
    return compile_elements(_Assembly(numbers, labels).sequence(pattern.steps), labels, pattern.within or 0)


def type_check(types: Sequence[str]) -> Check | None:
    """Whether an event's type is covered by one of `types`; None if that says nothing."""
    if not types or "*" in types:
        return None
    names = tuple(name.removesuffix(".*") for name in types)
    known: dict[str, bool] = {}

    def check(event: SemanticEvent, run: Run) -> bool:
        found = known.get(event.type)
        if found is None:
            if len(known) > _MOST_TYPES:
                known.clear()
            found = known[event.type] = any(covers(name, event.type) for name in names)
        return found

    return check


class _Assembly:
    def __init__(self, numbers: dict[str, int], labels: tuple[str, ...]) -> None:
        self._numbers: Final = numbers
        self._labels: Final = labels

    def sequence(self, steps: Sequence[Step]) -> tuple[Element, ...]:
        return tuple(self._element(step) for step in steps)

    def _element(self, step: Step) -> Element:
        shape, takes, bodies = self._content(step)
        repeat = step.repeat
        return Element(
            shape=shape,
            name=step.step or shape.value,
            link=step.follows,
            takes=takes,
            bodies=bodies,
            least=repeat.min if repeat else 1,
            most=repeat.max if repeat else 1,
            inner=step.inner,
            optional=step.optional,
            greedy=step.greedy,
            until=self._condition(step.until, step) if step.until else NEVER,
            gap=step.gap or 0,
            every=step.every or 0,
        )

    def _content(self, step: Step) -> tuple[Shape, tuple[tuple[Test, int], ...], tuple[tuple[Element, ...], ...]]:
        if step.group:
            return Shape.SEQUENCE, (), (self.sequence(step.group),)
        if step.all_of:
            return Shape.ALL, self._takes(step.all_of), ()
        if step.any_of:
            if all(len(steps) == 1 and _is_plain(steps[0]) for steps in step.any_of):
                return Shape.EVENT, self._takes([steps[0] for steps in step.any_of]), ()
            return Shape.BRANCH, (), tuple(self.sequence(steps) for steps in step.any_of)
        return (Shape.ABSENT if step.absent else Shape.EVENT), self._takes([step]), ()

    def _takes(self, steps: Sequence[Step]) -> tuple[tuple[Test, int], ...]:
        return tuple((self._test(step), self._numbers[step.step]) for step in steps)

    def _test(self, step: Step) -> Test:
        test = ALWAYS
        of_type = type_check(step.event)
        if of_type is not None:
            test = both(test, Test(of_type))
        if step.path:
            try:
                matcher = compile_globs(tuple(step.path))
            except ValueError as error:
                raise ValueError(f"{step.step!r}: {error}") from None
            test = both(test, Test(lambda event, run: matcher(event.path)))
        if step.where:
            test = both(test, self._condition(step.where, step))
        return test

    def _condition(self, source: str, step: Step) -> Test:
        own = frozenset({inner.step for inner in step.walk()} | {inner.alias for inner in step.walk()} - {""})
        if step.parts:
            own = frozenset()  # inside a group's `until` a step's name means what it has matched so far
        try:
            return Test(compile_where(source, Names(self._numbers, own, self._labels)))
        except ValueError as error:
            raise ValueError(f"{step.step or 'a group'!r}: {error}") from None


def _is_plain(step: Step) -> bool:
    return not (step.parts or step.absent or step.optional or step.repeat)
