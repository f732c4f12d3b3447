"""The automaton that a pattern compiles to: states, edges with tests, and the flat table of moves that runs use.

An edge *takes* the event (it becomes part of the match), *ignores* it (the partial match stays, perhaps elsewhere), or
*proceeds* (goes on without looking at the event as one that was used). `settle` folds chains of proceeding edges into
the states that they start from, so that a step of a run is one loop over a tuple.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple

from automation.patterns.closures import Check

MOST_MOVES: Final = 100_000  # of an automaton
MOST_WAYS: Final = 20_000  # on from one state


class Kind(IntEnum):
    """What it means to be in a state."""

    NORMAL = 0
    FINAL = 1  # the match is complete
    STOP = 2  # something forbidden came: the partial match and what grew from it in this step are dropped
    PENDING = 3  # the match is complete when the window ends (absence at the end)


class Action(IntEnum):
    """What an edge does with the event."""

    TAKE = 0
    IGNORE = 1
    PROCEED = 2
    STOP = 3  # only in moves: a take into a stop state


@dataclass(frozen=True, slots=True, eq=False)
class Test:
    """A condition of an edge; `check` is None for the two constants. `negates` remembers what it is the opposite of."""

    check: Check | None
    constant: bool = False
    negates: Test | None = None


ALWAYS: Final = Test(None, constant=True)
NEVER: Final = Test(None, constant=False)


def negation(test: Test) -> Test:
    """True where `test` is false."""
    if test.check is None:
        return NEVER if test.constant else ALWAYS
    if test.negates is not None:
        return test.negates
    check = test.check
    return Test(lambda event, run: not check(event, run), negates=test)


def both(left: Test, right: Test) -> Test:
    """True where both are; `left` is asked first."""
    if left.check is None:
        return right if left.constant else NEVER
    if right.check is None:
        return left if right.constant else NEVER
    if left is right:
        return left
    if left.negates is right or right.negates is left:
        return NEVER
    first, second = left.check, right.check
    return Test(lambda event, run: first(event, run) and second(event, run))


def either(tests: Iterable[Test]) -> Test:
    """True where one of them is."""
    out = NEVER
    for test in tests:
        if test.check is None:
            out = ALWAYS if test.constant else out
        elif out.check is None:
            out = out if out.constant else test
        else:
            out = negation(both(negation(out), negation(test)))
    return out


class Move(NamedTuple):
    """One way on from a state: when `check` (None: always) is true, do `action`.

    `final` says whether taking the event completes a match beside moving on: True, False, or a check.
    """

    check: Check | None
    action: Action
    target: State
    label: int
    final: Check | bool


@dataclass(slots=True, eq=False)
class Edge:
    """A transition; `label` is the number of the step under which a taken event is filed."""

    action: Action
    target: State
    test: Test
    label: int = -1


@dataclass(slots=True, eq=False)
class State:
    """A place in the automaton. `gap` (ns) is the longest wait here since the run's last event, 0 without limit."""

    name: str
    kind: Kind = Kind.NORMAL
    gap: int = 0
    edges: list[Edge] = field(default_factory=list)
    moves: tuple[Move, ...] = ()
    waits_for: Move | None = None  # set where the only moves are "take if C" and "stay unless C"

    def take(self, target: State, test: Test, label: int) -> None:
        """Add an edge that files the event under `label`."""
        self.edges.append(Edge(Action.TAKE, target, test, label))

    def ignore(self, target: State, test: Test) -> None:
        """Add an edge that lets the event pass."""
        self.edges.append(Edge(Action.IGNORE, target, test))

    def proceed(self, target: State, test: Test = ALWAYS) -> None:
        """Add an edge that is followed without using the event."""
        self.edges.append(Edge(Action.PROCEED, target, test))


@dataclass(frozen=True, slots=True)
class Automaton:
    """A compiled pattern. `labels` are the steps' names by number, `within` (ns) bounds the whole match, 0 without."""

    start: State
    labels: tuple[str, ...]
    within: int
    has_gaps: bool
    states: tuple[State, ...]  # in an order that depends on the pattern alone


def settle(start: State, labels: tuple[str, ...], within: int) -> Automaton:
    """Work out the moves of every state that can be reached."""
    states: dict[int, State] = {}
    stack: list[State] = [start]
    gaps, total = False, 0
    while stack:
        state = stack.pop()
        if id(state) in states:
            continue
        states[id(state)] = state
        gaps = gaps or state.gap > 0
        state.moves = tuple(_moves(state))
        total += len(state.moves)
        if total > MOST_MOVES:
            raise ValueError("the pattern is too large; use smaller counts, or fewer optional and repeated parts")
        state.waits_for = _plain_wait(state)
        stack.extend(edge.target for edge in state.edges)
    return Automaton(start, labels, within, gaps, tuple(states.values()))


def _moves(state: State) -> list[Move]:
    """Taking and ignoring edges of the state and of those that it proceeds to, nearest first."""
    out: list[Move] = []
    stack: list[tuple[State, Test, frozenset[int]]] = [(state, ALWAYS, frozenset((id(state),)))]
    while stack:
        at, guard, passed = stack.pop()
        for edge in at.edges:
            test = both(guard, edge.test)
            if test is NEVER:
                continue
            if edge.action is Action.PROCEED:
                if id(edge.target) not in passed:
                    stack.append((edge.target, test, passed | {id(edge.target)}))
                continue
            if len(out) + len(stack) > MOST_WAYS:
                raise ValueError(f"{state.name!r}: there are too many ways on from here; use fewer optional parts")
            action = Action.STOP if edge.target.kind is Kind.STOP else edge.action
            final = _finishes(edge.target) if action is Action.TAKE else False
            out.append(Move(test.check, action, edge.target, edge.label, final))
    return out


def _finishes(state: State) -> Check | bool:
    """Whether a proceeding path leads from `state` to the end."""
    ways: list[Test] = []
    stack: list[tuple[State, Test, frozenset[int]]] = [(state, ALWAYS, frozenset((id(state),)))]
    while stack:
        at, guard, passed = stack.pop()
        for edge in at.edges:
            test = both(guard, edge.test)
            if edge.action is not Action.PROCEED or test is NEVER or id(edge.target) in passed:
                continue
            if edge.target.kind is Kind.FINAL:
                ways.append(test)
            else:
                stack.append((edge.target, test, passed | {id(edge.target)}))
            if len(ways) + len(stack) > MOST_WAYS:
                raise ValueError(f"{state.name!r}: there are too many ways on from here; use fewer optional parts")
    way = either(ways)
    return way.constant if way.check is None else way.check


def _plain_wait(state: State) -> Move | None:
    """The take of a state that does nothing but wait for one kind of event (most states of most patterns)."""
    if len(state.edges) != 2 or len(state.moves) != 2:
        return None
    take, ignore = state.edges
    plain = take.action is Action.TAKE and ignore.action is Action.IGNORE and ignore.target is state
    return state.moves[0] if plain and ignore.test.negates is take.test and take.test.check is not None else None


def describe(automaton: Automaton) -> dict[str, Any]:
    """States and moves as plain values, for `explain` and for people."""
    out: dict[str, Any] = {}
    stack, names = [automaton.start], {id(automaton.start): "0"}
    while stack:
        state = stack.pop()
        rows = []
        for move in state.moves:
            if id(move.target) not in names:
                names[id(move.target)] = str(len(names))
                stack.append(move.target)
            label = automaton.labels[move.label] if move.label >= 0 else ""
            rows.append(f"{move.action.name.lower()} {label} → {names[id(move.target)]}".replace("  ", " "))
        out[f"{names[id(state)]} {state.name} ({state.kind.name.lower()})"] = rows
    return out
