"""What a microstep does: which states are left and entered, in which order. The W3C algorithm on sets of states.

`python-statemachine` 3.2.2 takes 140 to 260 µs for an event (4,000 to 7,000 events/s over 10,000 instances, of 12 KB
each), has its clock built in and sleeps while it waits; this takes 7 to 15 µs (`bench/machines.py`), most of it saved
by remembering the moves between configurations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from automation.machines.chart import Chart, State, Transition, domain_of
from automation.machines.outline import Block, Kind


@dataclass(frozen=True, slots=True)
class Arrival:
    """A state to enter. `extra` are the contents of the initial or default transitions that lead on from it."""

    state: State
    extra: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """One microstep: leave `exits`, run `contents`, enter `arrivals`; then the configuration is `after`.

    `records` is what each history state (by number) remembers from now on. `silent` says that nothing is to be run.
    """

    exits: tuple[State, ...]
    contents: tuple[Block, ...]
    arrivals: tuple[Arrival, ...]
    after: int
    records: tuple[tuple[int, int], ...]
    silent: bool


def move_of(chart: Chart, config: int, transitions: Iterable[Transition], history: Mapping[int, int]) -> Move:
    """The microstep that takes `transitions` at once (they do not conflict)."""
    transitions = tuple(transitions)
    leaving = 0
    for transition in transitions:
        leaving |= exit_set(transition, config, history)
    exits = tuple(reversed(chart.members(leaving)))
    records = tuple((h.number, _remembered(h, config)) for state in exits for h in state.histories)
    remembered = {**history, **dict(records)}
    entry = _Entry(remembered)
    for transition in transitions:
        entry.take(transition)
    return _move(chart, config, exits, records, transitions, entry)


def first_move(chart: Chart) -> Move:
    """How an instance begins."""
    entry = _Entry({})
    entry.add_below(chart.root)
    assert chart.root.initial is not None
    return _move(chart, 0, (), (), (), entry)


def _move(
    chart: Chart,
    config: int,
    exits: tuple[State, ...],
    records: tuple[tuple[int, int], ...],
    transitions: tuple[Transition, ...],
    entry: _Entry,
) -> Move:
    after = config
    for state in exits:
        after ^= state.bit
    arrivals = tuple(Arrival(s, tuple(entry.extra.get(s.number, ()))) for s in chart.members(entry.states))
    contents = tuple(transition.content for transition in transitions if transition.content)
    silent = not contents and not any(state.exit for state in exits)
    for arrival in arrivals:
        state = arrival.state
        after |= state.bit
        if state.entry or state.data or arrival.extra or state.kind is Kind.FINAL:
            silent = False
    return Move(exits, contents, arrivals, after, records, silent)


def exit_set(transition: Transition, config: int, history: Mapping[int, int]) -> int:
    """The active states that a transition leaves."""
    if not transition.targets:
        return 0
    domain = transition.domain
    if domain is None:
        domain = domain_of(transition, tuple(effective_targets(transition, history)))
    return config & domain.below


def effective_targets(transition: Transition, history: Mapping[int, int]) -> list[State]:
    """The targets of a transition, each history state replaced by what it remembers, or by its default."""
    out: dict[int, State] = {}
    for target in transition.targets:
        for state in _resolved(target, history):
            out[state.number] = state
    return list(out.values())


def _resolved(target: State, history: Mapping[int, int]) -> Iterable[State]:
    if not target.is_history:
        return (target,)
    remembered = history.get(target.number)
    if remembered is not None:
        assert target.parent is not None
        return _members(target.parent, remembered)
    assert target.initial is not None
    return effective_targets(target.initial, history)


def _members(within: State, states: int) -> list[State]:
    """The states of a set that lie in `within`, in document order."""
    out = []
    for child in within.children:
        if states & child.bit:
            out.append(child)
        if states & child.below:
            out += _members(child, states)
    return out


def _remembered(history: State, config: int) -> int:
    """What a history state of an active parent is to remember."""
    assert history.parent is not None
    if history.kind is Kind.DEEP:
        return sum(s.bit for s in _members(history.parent, config) if s.is_atomic)
    return sum(child.bit for child in history.parent.children if config & child.bit)


@dataclass(slots=True)
class _Entry:
    """Collects the states to enter; the four procedures of the standard (addDescendantStatesToEnter …)."""

    history: Mapping[int, int]
    states: int = 0
    extra: dict[int, list[Block]] = field(default_factory=dict)

    def take(self, transition: Transition) -> None:
        if not transition.targets:
            return
        for target in transition.targets:
            self.add(target)
        targets = effective_targets(transition, self.history)
        domain = domain_of(transition, tuple(targets))
        for target in targets:
            self.add_above(target, domain)

    def add(self, state: State) -> None:
        if state.is_history:
            self._add_history(state)
            return
        self.states |= state.bit
        self.add_below(state)

    def add_below(self, state: State) -> None:
        if state.kind is Kind.COMPOUND:
            begin = state.initial
            assert begin is not None
            self._note(state, begin.content)
            for target in begin.targets:
                self.add(target)
            for target in effective_targets(begin, self.history):
                self.add_above(target, state)
        elif state.kind is Kind.PARALLEL:
            self._add_regions(state)

    def add_above(self, state: State, until: State | None) -> None:
        for ancestor in state.ancestors(until):
            if ancestor.parent is None:
                continue
            self.states |= ancestor.bit
            if ancestor.kind is Kind.PARALLEL:
                self._add_regions(ancestor)

    def _add_regions(self, state: State) -> None:
        for child in state.children:
            if not self.states & (child.below | child.bit):
                self.add(child)

    def _add_history(self, state: State) -> None:
        remembered = self.history.get(state.number)
        assert state.parent is not None
        if remembered is not None:
            inner = _members(state.parent, remembered)
        else:
            assert state.initial is not None
            self._note(state.parent, state.initial.content)
            inner = list(state.initial.targets)
        for one in inner:
            self.add(one)
        for one in inner:
            self.add_above(one, state.parent)

    def _note(self, state: State, content: Block) -> None:
        if content:
            blocks = self.extra.setdefault(state.number, [])
            if content not in blocks:
                blocks.append(content)


def without_conflicts(enabled: list[Transition], config: int, history: Mapping[int, int]) -> list[Transition]:
    """Of transitions that would leave the same states only one: that of the inner source, else the first."""
    kept: list[tuple[Transition, int]] = []
    for transition in enabled:
        leaving = exit_set(transition, config, history)
        beaten = []
        for other, others in kept:
            if leaving & others:
                if not transition.source.is_below(other.source):
                    break
                beaten.append(other)
        else:
            kept = [pair for pair in kept if pair[0] not in beaten]
            kept.append((transition, leaving))
    return [transition for transition, _ in kept]
