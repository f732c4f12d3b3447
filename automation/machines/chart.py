"""A statechart made ready to run: states numbered in document order, sets of states as bits of an integer.

A configuration is an `int` with the bit of each active state; a set operation on it costs 0.05 µs whatever the chart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from automation.events import covers
from automation.expressions import nearest
from automation.machines.outline import (
    Block,
    ChartError,
    Condition,
    Kind,
    Outline,
    Place,
    StateOutline,
    TransitionOutline,
    Value,
)

MOST_STATES: Final = 1000
DEEPEST: Final = 50


@dataclass(slots=True, eq=False, repr=False)
class State:
    """One state. `bit` is its own, `below` are the bits of its descendants without itself, history states excluded."""

    number: int
    name: str
    kind: Kind
    parent: State | None
    depth: int
    entry: tuple[Block, ...]
    exit: tuple[Block, ...]
    data: Block
    result: Value | None
    children: list[State] = field(default_factory=list)
    histories: list[State] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    initial: Transition | None = None
    below: int = 0

    @property
    def bit(self) -> int:
        """The state as a set."""
        return 1 << self.number

    @property
    def is_history(self) -> bool:
        """Whether it stands for states that were active before."""
        return self.kind in (Kind.SHALLOW, Kind.DEEP)

    @property
    def is_atomic(self) -> bool:
        """Whether it has no states of its own."""
        return self.kind in (Kind.ATOMIC, Kind.FINAL)

    def ancestors(self, until: State | None = None) -> Iterator[State]:
        """Parent, grandparent … up to but without `until`."""
        at = self.parent
        while at is not None and at is not until:
            yield at
            at = at.parent

    def is_below(self, other: State) -> bool:
        """Whether `other` is a proper ancestor."""
        return any(ancestor is other for ancestor in self.ancestors())


@dataclass(slots=True, eq=False, repr=False)
class Transition:
    """One transition. `domain` is the state that it happens in, known beforehand where no history is involved."""

    number: int
    source: State
    events: tuple[str, ...]
    condition: Condition | None
    targets: tuple[State, ...]
    internal: bool
    content: Block
    domain: State | None = None

    @property
    def has_history(self) -> bool:
        """Whether a target depends on what was active before."""
        return any(target.is_history for target in self.targets)

    def takes(self, name: str) -> bool:
        """Whether an event of this name fits one of the descriptors."""
        return any(covers(event, name) for event in self.events)


@dataclass(slots=True, eq=False, repr=False)
class Chart:
    """All states by number and by name; `root` is the machine itself, number 0. `early` sets the variables."""

    states: list[State]
    early: Block
    by_name: dict[str, State]
    late: bool = False

    @property
    def root(self) -> State:
        """What all states are in."""
        return self.states[0]

    @property
    def transitions(self) -> Iterator[Transition]:
        """Every transition that events or conditions may enable."""
        return (transition for state in self.states for transition in state.transitions)

    @property
    def events(self) -> tuple[str, ...]:
        """The descriptors that some transition waits for."""
        return tuple(dict.fromkeys(event for transition in self.transitions for event in transition.events))

    def members(self, states: int) -> list[State]:
        """The states of a set, in document order."""
        out = []
        while states:
            low = states & -states
            out.append(self.states[low.bit_length() - 1])
            states ^= low
        return out

    def set_of(self, names: list[str]) -> int | None:
        """The set of states called so; None if one does not exist."""
        out = 0
        for name in names:
            state = self.by_name.get(name)
            if state is None or state.is_history:
                return None
            out |= state.bit
        return out

    def is_legal(self, states: int) -> bool:
        """Whether a set is a configuration: of each compound state one child, of each parallel one all, of others
        none; and every state's parent.
        """
        if not states & 1:
            return False
        for state in self.members(states):
            active = sum(1 for child in state.children if states & child.bit)
            wanted = len(state.children) if state.kind is Kind.PARALLEL else int(state.kind is Kind.COMPOUND)
            if active != wanted or (state.parent is not None and not states & state.parent.bit):
                return False
        return True


def common_ancestor(first: State, others: tuple[State, ...]) -> State:
    """The innermost compound state (or the machine) that all of them are properly in: the LCCA."""
    for ancestor in first.ancestors():
        if (ancestor.kind is Kind.COMPOUND or ancestor.parent is None) and all(o.is_below(ancestor) for o in others):
            return ancestor
    raise AssertionError("the machine itself is an ancestor of every state")


def compile_chart(outline: Outline) -> Chart:
    """Number the states and resolve the names; ChartError for what makes no sense."""
    return _Compiler(outline).chart


class _Compiler:
    def __init__(self, outline: Outline) -> None:
        self.chart: Final = Chart([], tuple(outline.early), {})
        self._outlines: Final[list[StateOutline]] = []
        self._transitions = 0
        self._state(outline.root, None, 0)
        for state, form in zip(self.chart.states, self._outlines, strict=True):
            self._connect(state, form)
        for state in reversed(self.chart.states):
            if state.parent is not None and not state.is_history:
                state.parent.below |= state.below | state.bit
        for state, form in zip(self.chart.states, self._outlines, strict=True):
            self._check(state, form)
        self.chart.late = any(state.data for state in self.chart.states)

    def _state(self, form: StateOutline, parent: State | None, depth: int) -> None:
        chart = self.chart
        if form.name in chart.by_name:
            raise ChartError(form.place, f"another state is already called {form.name!r}")
        if len(chart.states) >= MOST_STATES or depth > DEEPEST:
            raise ChartError(form.place, f"a machine has at most {MOST_STATES} states, {DEEPEST} deep")
        state = State(
            number=len(chart.states),
            name=form.name,
            kind=form.kind,
            parent=parent,
            depth=depth,
            entry=tuple(form.entry),
            exit=tuple(form.exit),
            data=tuple(form.data),
            result=form.result,
        )
        chart.states.append(state)
        chart.by_name[form.name] = state
        self._outlines.append(form)
        if parent is not None:
            (parent.histories if state.is_history else parent.children).append(state)
        for child in form.children:
            self._state(child, state, depth + 1)

    def _connect(self, state: State, form: StateOutline) -> None:
        state.transitions = [self._transition(state, one) for one in form.transitions]
        if form.initial is not None:
            state.initial = self._transition(state, form.initial)
        elif state.kind is Kind.COMPOUND:
            if not state.children:
                raise ChartError(form.place, f"{state.name!r} has no states to be in")
            first = TransitionOutline(form.place, targets=(state.children[0].name,))
            state.initial = self._transition(state, first)

    def _transition(self, source: State, form: TransitionOutline) -> Transition:
        targets = tuple(self._target(name, form.place) for name in form.targets)
        self._transitions += 1
        out = Transition(self._transitions, source, form.events, form.condition, targets, form.internal, form.content)
        if targets and source.parent is not None and not out.has_history:
            out.domain = domain_of(out, targets)
        elif targets and source.parent is None:
            out.domain = source
        return out

    def _target(self, name: str, place: Place) -> State:
        state = self.chart.by_name.get(name)
        if state is None or state.parent is None:
            raise ChartError(place, f"there is no state {name!r}{nearest(name, self.chart.by_name)}")
        return state

    def _check(self, state: State, form: StateOutline) -> None:
        if state.is_history and (state.initial is None or not state.initial.targets):
            first = state.parent.children[0].name if state.parent and state.parent.children else "STATE"
            raise ChartError(form.place, f"a history state needs a default, for instance 'target: {first}'")
        begin = state.initial
        if begin is not None and not begin.targets:
            raise ChartError(form.place, f"{state.name!r} does not say where it begins; name one of its states")
        if begin is not None and form.initial is not None:
            within = state.parent if state.is_history else state
            assert within is not None
            for target in begin.targets:
                if not target.is_below(within):
                    raise ChartError(form.initial.place, f"{target.name!r} does not lie in {within.name!r}")
                if state.kind is Kind.SHALLOW and target.parent is not within:
                    reason = f"{target.name!r} lies too deep in {within.name!r} for shallow history; name its child"
                    raise ChartError(form.initial.place, reason)
            self._compatible(begin, form.initial.place)
        for transition, source in zip(state.transitions, form.transitions, strict=True):
            self._compatible(transition, source.place)

    def _compatible(self, transition: Transition, place: Place) -> None:
        """Several targets must be states that can be active at once: in different regions of a parallel state."""
        for i, one in enumerate(transition.targets):
            for other in transition.targets[i + 1 :]:
                if one is other or one.is_below(other) or other.is_below(one) or not _apart(one, other):
                    raise ChartError(place, f"{one.name!r} and {other.name!r} cannot be active at once")


def _apart(one: State, other: State) -> bool:
    around = {ancestor.number for ancestor in one.ancestors()}
    meeting = next(ancestor for ancestor in other.ancestors() if ancestor.number in around)
    return meeting.kind is Kind.PARALLEL


def domain_of(transition: Transition, targets: tuple[State, ...]) -> State:
    """The state in which everything happens that a transition to `targets` (history resolved) does."""
    source = transition.source
    if transition.internal and source.kind is Kind.COMPOUND and all(t.is_below(source) for t in targets):
        return source
    return common_ancestor(source, targets)
