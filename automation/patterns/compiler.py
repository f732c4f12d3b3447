"""Elements → automaton, from the last part to the first, so that each part knows where it leads.

The construction follows what Flink's users know. Three ideas carry it. A part that may be left out *proceeds* to its
successor, and has a second state for waiting on, from which it does not, so that each way out is taken once. A NOT
between two parts is no state but a way to the stop state from wherever the run waits for the second part; once an
optional part in between has matched, the NOT is behind it, which takes a copy of what follows without that way.
Greediness forbids the successor the events that the loop could still take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from automation.patterns.automaton import (
    ALWAYS,
    NEVER,
    Action,
    Automaton,
    Edge,
    Kind,
    State,
    Test,
    both,
    either,
    negation,
    settle,
)
from automation.patterns.elements import Contiguity, Element, Scope, Shape

MOST_STATES: Final = 20_000


def compile_elements(elements: Sequence[Element], labels: tuple[str, ...], within: int) -> Automaton:
    """The automaton of a sequence; ValueError when the sequence makes no sense or too many states."""
    if elements[0].shape is Shape.ABSENT:
        raise ValueError("a pattern cannot begin with an absence")
    builder = _Builder(within)
    start = builder.sequence(elements, builder.state("end", Kind.FINAL), Scope(), None)
    return settle(start, labels, within)


def within_gap(gap: int) -> Test:
    """True while the wait since the run's last event, if it has one, is shorter than `gap` ns; true without a gap."""
    return Test(lambda event, run: not run.order or event.ts - run.previous < gap) if gap else ALWAYS


class _Builder:
    def __init__(self, within: int) -> None:
        self._within: Final = within
        self._stops: Final[dict[int, State]] = {}
        self._originals: Final[dict[int, State]] = {}
        self._made: Final[set[int]] = set()
        self._states = 0

    def state(self, name: str, kind: Kind = Kind.NORMAL) -> State:
        self._states += 1
        if self._states > MOST_STATES:
            raise ValueError(f"the pattern needs more than {MOST_STATES} states; use smaller counts or fewer choices")
        return State(name, kind)

    def sequence(self, elements: Sequence[Element], sink: State, scope: Scope, following: Element | None) -> State:
        """The first state of parts that lead to `sink`; `following` is the part after them, if known."""
        for index in range(len(elements) - 1, 0, -1):
            element = elements[index]
            if element.shape is not Shape.ABSENT:
                sink = self._part(elements, index, sink, scope, following)
            elif element.link is Contiguity.STRICT:
                sink = self._not_next(element, sink, scope)
            elif sink.kind is Kind.FINAL:
                sink = self._absent_to_the_end(element, sink, scope)
            elif index == len(elements) - 1:
                raise ValueError(f"{element.name!r}: an absence cannot be the last part of a group that goes on")
            following = element
        return self._part(elements, 0, sink, scope, following)

    # --- absences ---

    def _not_next(self, element: Element, sink: State, scope: Scope) -> State:
        wait, test = self.state(element.name), self._take_test(element, scope)
        wait.gap = element.gap
        if sink.kind is Kind.FINAL:
            wait.ignore(sink, negation(test))  # proceeding would end the match before the next event is seen
        else:
            wait.proceed(sink, negation(test))
        wait.proceed(self._stop(element, test), test)
        return wait

    def _absent_to_the_end(self, element: Element, sink: State, scope: Scope) -> State:
        if not self._within and not element.gap:
            raise ValueError(f"{element.name!r}: an absence at the end needs a window (`within`)")
        wait, test = self.state(element.name, Kind.PENDING), self._take_test(element, scope)
        wait.gap = element.gap
        wait.proceed(self._stop(element, test), test)
        wait.ignore(wait, negation(test))
        return wait

    def _stop(self, element: Element, test: Test) -> State:
        stop = self._stops.get(id(element))
        if stop is None:
            stop = self._stops[id(element)] = self.state(element.name, Kind.STOP)
            stop.take(stop, test, -1)
        return stop

    @staticmethod
    def nots_before(elements: Sequence[Element], index: int, scope: Scope) -> tuple[Element, ...]:
        """Absences that still hold while the run waits for this part."""
        out = []
        while index > 0 and (elements[index - 1].optional or _forbids(elements[index - 1])):
            index -= 1
            if _forbids(elements[index]):
                out.append(elements[index])
        return (*out, *scope.nots) if index == 0 else tuple(out)

    def stop_before(self, state: State, elements: Sequence[Element], index: int, scope: Scope) -> None:
        """Give up in `state` when an event comes that an absence before the part forbids."""
        for element in self.nots_before(elements, index, scope):
            test = self._take_test(element, scope)
            state.proceed(self._stop(element, test), test)

    def stop_after(self, state: State, following: Element | None, scope: Scope) -> None:
        """Give up in `state`, which may repeat, when an event comes that the absence after the part forbids."""
        if following is not None and _forbids(following):
            test = self._take_test(following, scope)
            state.proceed(self._stop(following, test), test)

    def past_nots(self, sink: State, elements: Sequence[Element], index: int, scope: Scope) -> State:
        """What follows once this optional part has matched: `sink` without the absences before the part."""
        nots = self.nots_before(elements, index, scope)
        if not nots or not elements[index].optional:
            return sink
        stops = {id(self._stops[id(element)]) for element in nots if id(element) in self._stops}
        return self._copy_without(sink, stops, {})

    def _copy_without(self, state: State, stops: set[int], copies: dict[int, State]) -> State:
        if id(state) in copies:
            return copies[id(state)]
        copy = copies[id(state)] = self.state(state.name, state.kind)
        copy.gap = state.gap
        for edge in state.edges:
            target = copy if edge.target is state else edge.target
            if edge.action is Action.PROCEED and edge.target.kind is not Kind.STOP:
                target = self._copy_without(edge.target, stops, copies)
            if not (edge.action is Action.PROCEED and id(target) in stops):
                copy.edges.append(Edge(edge.action, target, edge.test, edge.label))
        return copy

    # --- parts that take events ---

    def _part(
        self, elements: Sequence[Element], index: int, sink: State, scope: Scope, following: Element | None
    ) -> State:
        element = elements[index]
        if element.shape in (Shape.ALL, Shape.BRANCH) and not (element.plain and not element.optional):
            body = (replace(element.once(), link=element.link),)  # repeat it as a group of one
            element = replace(element, shape=Shape.SEQUENCE, takes=(), bodies=(body,))
            elements = [*elements[:index], element, *elements[index + 1 :]]
        site = _Site(self, elements, index, scope, following)
        if element.looping:
            loop = site.loop(self.past_nots(sink, elements, index, scope))
            first = site.times(loop, sink, element.least, element.least)
        elif element.plain:
            first = site.once(sink, sink, element.optional)
        else:
            first = site.times(sink, sink, element.least, element.most or 1)
        self.stop_before(first, elements, index, scope)
        return first

    @staticmethod
    def _take_test(element: Element, scope: Scope) -> Test:
        return both(scope.going, element.test)

    def repeats_within(self, element: Element) -> int:
        """The window of `every` for the next state of a part: none for the first that is made, which is the last
        that is reached; so a loop, or the last of a fixed number of repetitions, may take its time. As in Flink.
        """
        first = id(element) not in self._made
        self._made.add(id(element))
        return 0 if first else element.every

    def copy(self, state: State) -> State:
        """The same state again, for a successor that greediness must not touch."""
        copy = self.state(state.name, state.kind)
        copy.gap = state.gap
        for edge in state.edges:
            copy.edges.append(Edge(edge.action, copy if edge.target is state else edge.target, edge.test, edge.label))
        self._originals[id(state)] = copy
        return copy

    def original(self, state: State) -> State:
        """The untouched copy of a state, or the state."""
        return self._originals.get(id(state), state)


def _forbids(element: Element) -> bool:
    return element.shape is Shape.ABSENT and element.link is not Contiguity.STRICT


class _Site:
    """One part at its place in the pattern: how its states are made, whatever follows."""

    def __init__(
        self, builder: _Builder, elements: Sequence[Element], index: int, scope: Scope, following: Element | None
    ) -> None:
        self._builder: Final = builder
        self._elements: Final = elements
        self._index: Final = index
        self._element: Final = elements[index]
        self._scope: Final = scope
        self._following: Final = following
        self._head: Final = scope.inside and index == 0
        self._going: Final = both(negation(self._element.until), scope.going)

    @property
    def _link(self) -> Contiguity:
        return self._scope.link if self._index == 0 else self._element.link

    @property
    def _inner(self) -> Contiguity:
        return self._scope.inner if self._head else self._element.inner

    @property
    def _gap(self) -> int:
        return self._scope.gap if self._index == 0 else self._element.gap

    @property
    def _unwatched(self) -> bool:
        """Whether a run may get here from a state that does not end with this part's gap, so that taking must ask."""
        if self._index == 0:
            return self._scope.inside
        before = self._elements[self._index - 1]
        return before.shape is not Shape.EVENT or before.optional or not before.plain

    def once(self, sink: State, proceed: State, optional: bool) -> State:
        """The part without a quantifier."""
        return self._one(sink, proceed, self._link, self._gap, optional, first=True)

    def times(self, sink: State, proceed: State, least: int, most: int) -> State:
        """The part `least` to `most` times; after the least it may proceed, before it if it is optional."""
        element = self._element
        if element.greedy and least != most:
            if element.until is not NEVER:
                self._builder.copy(sink)
            _refuse(sink, both(self._going, element.test))
        plain = element.shape is Shape.EVENT
        gap, inner = (element.gap, self._inner) if plain else (element.every, element.inner)
        for _ in range(least, most):
            sink = self._one(sink, proceed, inner, gap, True, first=False)
            self._builder.stop_after(sink, self._following, self._scope)
        for _ in range(least - 1):
            sink = self._one(sink, proceed, inner, gap, False, first=False)
            self._builder.stop_after(sink, self._following, self._scope)
        return self._one(sink, proceed, self._link, self._gap, element.optional, first=True)

    def loop(self, sink: State) -> State:
        """The part again and again, leaving for `sink` at any time."""
        element, build = self._element, self._builder
        if element.shape is not Shape.EVENT:
            again = build.state(element.name)
            head = self._composite(again, element.inner, element.every, leaves=True, optional=False, first=False)
            head.proceed(sink, self._scope.going)
            again.proceed(head, self._scope.going)
            return head
        loop = build.state(element.name)
        build.repeats_within(element)
        self._leave(loop, sink, copy=True)
        if element.greedy:
            _refuse(sink, both(self._scope.going, element.test))
        self._take(loop, loop, within_gap(element.gap))
        loop.gap = _wait(element.gap, sink)
        build.stop_after(loop, self._following, self._scope)
        ignore = self._ignore_test(self._inner, self._going)
        if ignore is not None:
            wait = build.state(element.name)
            wait.gap = element.gap
            self._take(wait, loop, ALWAYS)
            wait.ignore(wait, ignore)
            loop.ignore(wait, ignore)
            build.stop_after(wait, self._following, self._scope)
        return loop

    def _one(self, sink: State, proceed: State, link: Contiguity, gap: int, optional: bool, *, first: bool) -> State:
        element, build = self._element, self._builder
        sink = build.past_nots(sink, self._elements, self._index, self._scope)
        if element.shape is not Shape.EVENT:
            head = self._composite(sink, link, gap, leaves=optional, optional=optional and first, first=first)
            if optional:
                head.proceed(proceed, self._scope.going)
            return head
        leaves = optional or (self._head and self._scope.leaves)
        state = build.state(element.name)
        self._take(state, sink, within_gap(gap) if leaves or self._unwatched else ALWAYS)
        every = build.repeats_within(element)
        state.gap = (every or _wait(gap, proceed)) if leaves else min(gap, every) or gap or every
        if optional:
            self._leave(state, proceed, copy=False)
        ignore = self._ignore_test(link, self._scope.going if first else self._going)
        if ignore is not None:
            wait = state
            if optional or (self._head and self._scope.optional):
                wait = build.state(element.name)
                wait.gap = gap
                self._take(wait, sink, ALWAYS)
                wait.ignore(wait, ignore)
                build.stop_before(wait, self._elements, self._index, self._scope)
            state.ignore(wait, ignore)
        return state

    def _take(self, state: State, sink: State, guard: Test) -> None:
        """An edge for each alternative; an event that fits several belongs to the first."""
        earlier = NEVER
        for test, label in self._element.takes:
            state.take(sink, both(guard, both(self._going, both(negation(earlier), test))), label)
            earlier = either((earlier, test))

    def _leave(self, state: State, sink: State, *, copy: bool) -> None:
        """Proceed past the part; a greedy one with `until` is free to go on once that has come."""
        element, going = self._element, self._scope.going
        if not element.greedy or element.until is NEVER:
            state.proceed(sink, going)
            return
        free = self._builder.copy(sink) if copy else self._builder.original(sink)
        state.proceed(free, both(going, element.until))
        state.proceed(sink, both(going, negation(element.until)))

    def _ignore_test(self, link: Contiguity, going: Test) -> Test | None:
        if link is Contiguity.STRICT:
            return None
        return going if link is Contiguity.ANY else both(going, negation(self._element.test))

    def _composite(
        self, sink: State, link: Contiguity, gap: int, *, leaves: bool, optional: bool, first: bool
    ) -> State:
        """One pass through a group, a choice of sequences, or events in any order."""
        element = self._element
        leaves = leaves or (self._head and self._scope.leaves)
        optional = optional or (self._head and self._scope.optional)
        nots = self._builder.nots_before(self._elements, self._index, self._scope) if first else ()
        scope = Scope(True, link, element.inner, gap, leaves, optional, self._going, nots)
        if element.shape is Shape.ALL:
            return self._any_order(sink, scope)
        heads = [self._builder.sequence(body, sink, scope, self._following) for body in element.bodies]
        if len(heads) == 1:
            return heads[0]
        fork = self._builder.state(element.name)
        for head in heads:
            fork.proceed(head)
        return fork

    def _any_order(self, sink: State, scope: Scope) -> State:
        """A state for each set of events still to come."""
        takes, build = self._element.takes, self._builder
        states: dict[int, State] = {0: sink}
        for missing in sorted(range(1, 1 << len(takes)), key=int.bit_count):
            whole = missing == (1 << len(takes)) - 1
            state = states[missing] = build.state(self._element.name)
            guard = within_gap(scope.gap) if whole else ALWAYS
            state.gap = scope.gap if whole and not scope.leaves else 0
            earlier = NEVER
            for bit, (test, label) in enumerate(takes):
                if missing >> bit & 1:
                    exact = both(scope.going, both(negation(earlier), test))
                    state.take(states[missing ^ (1 << bit)], both(guard, exact), label)
                    earlier = either((earlier, test))
            link = scope.link if whole else self._element.inner
            if link is not Contiguity.STRICT:
                state.ignore(state, scope.going if link is Contiguity.ANY else both(scope.going, negation(earlier)))
        return states[(1 << len(takes)) - 1]


def _wait(gap: int, onward: State) -> int:
    """How long a run can be in a state that takes within `gap` and also goes on to `onward`; 0 without limit."""
    return gap if onward.kind is Kind.FINAL else max(gap, onward.gap) if gap and onward.gap else 0


def _refuse(state: State, test: Test) -> None:
    """Greediness: the successor does not use events that the loop could take."""
    for edge in state.edges:
        edge.test = both(edge.test, negation(test))
