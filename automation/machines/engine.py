"""Runs one chart: the algorithm of the W3C SCXML recommendation, for any number of instances, on any clock.

    macrostep: one event from outside → microsteps, until no eventless transition is enabled and no internal event waits

Nothing here knows the time but what it is told. What depends on the configuration alone, the transitions that could
take an event and the moves between configurations, is worked out once and remembered, at most `REMEMBERED` of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from automation.machines.chart import Chart, State, Transition
from automation.machines.instance import Instance, Trigger
from automation.machines.outline import Block, Kind
from automation.machines.scope import ExecutionError, Scope, UnreachableError
from automation.machines.steps import Move, first_move, move_of, without_conflicts

REMEMBERED: Final = 20_000
MOST_MICROSTEPS: Final = 1000
EVENTLESS: Final = ""

Groups = tuple[tuple[Transition, ...], ...]


class Engine:
    """One chart with its `scope`. `begin`, `handle` and `settle` work on the instance that they are given; what it
    wants done is left in `scope.actions`, `logs` and `faults` for the caller to take.
    """

    def __init__(self, name: str, chart: Chart, state: Callable[[], Mapping[str, Any]]) -> None:
        self.chart: Final = chart
        self.scope: Final = Scope(name, chart, state)
        self._groups: Final[dict[tuple[int, str], Groups]] = {}
        self._moves: Final[dict[tuple[int, tuple[int, ...]], Move]] = {}
        self._first: Final = first_move(chart)
        self._forever = False
        self._begins_with_history: Final = any(s.initial is not None and s.initial.has_history for s in chart.states)

    def begin(self, instance: Instance, trigger: Trigger | None, now: int) -> None:
        """Give the variables their values, enter the first states, settle. `trigger` is what brought it about."""
        self._turn_to(instance, None, now)
        origin = trigger.event if trigger is not None else None
        instance.config = 1
        instance.origin = origin
        self._run(self.chart.early)
        self._enter(self._first)
        self._settle()

    def could_take(self, instance: Instance, name: str) -> bool:
        """Whether an event of this name can change anything now, conditions aside."""
        config = instance.config
        return bool(self._group(config, name) or self._group(config, EVENTLESS))

    def handle(self, instance: Instance, trigger: Trigger, now: int) -> bool:
        """One event from outside: a macrostep. Whether any transition was taken."""
        self._turn_to(instance, trigger, now)
        enabled = self._enabled(trigger.name)
        if enabled:
            self._microstep(enabled)
        return self._settle() or bool(enabled)

    @property
    def endless(self) -> bool:
        """Whether the last macrostep was broken off because it would not end."""
        return self._forever

    def _turn_to(self, instance: Instance, trigger: Trigger | None, now: int) -> None:
        scope = self.scope
        scope.instance, scope.trigger, scope.now = instance, trigger, now
        self._forever = False

    def _settle(self) -> bool:
        """Take eventless transitions, then waiting events, until nothing is left to do; whether one was taken."""
        scope, taken = self.scope, 0
        internal, external = scope.internal, scope.external
        rounds = 0
        while scope.instance.running:
            enabled = self._enabled(EVENTLESS)
            if not enabled:
                if not internal and not external:
                    break
                scope.trigger = (internal or external).popleft()
                enabled = self._enabled(scope.trigger.name)
            if enabled:
                self._microstep(enabled)
                taken += 1
            rounds += 1
            if rounds > MOST_MICROSTEPS:
                self._forever = True
                break
        if internal or external:
            internal.clear()
            external.clear()
        return taken > 0

    def _enabled(self, name: str) -> list[Transition]:
        """The transitions to take for an event, or for none; of each active atomic state the innermost that may."""
        config = self.scope.instance.config
        groups = self._groups.get((config, name))
        if groups is None:
            groups = self._group(config, name)
        if not groups:
            return []
        enabled: list[Transition] = []
        for group in groups:
            for transition in group:
                if transition.condition is None or self._holds(transition):
                    if transition not in enabled:
                        enabled.append(transition)
                    break
        if len(enabled) > 1:
            return without_conflicts(enabled, config, self.scope.instance.history)
        return enabled

    def _group(self, config: int, name: str) -> Groups:
        """Of each active atomic state, in document order, the transitions that fit `name`, innermost first."""
        found = self._groups.get((config, name))
        if found is not None:
            return found
        groups = []
        for state in self.chart.members(config):
            if state.is_atomic:
                fitting = [
                    transition
                    for holder in (state, *state.ancestors())
                    for transition in holder.transitions
                    if (transition.takes(name) if name else not transition.events)
                ]
                if fitting:
                    groups.append(tuple(fitting))
        if len(self._groups) >= REMEMBERED:
            self._groups.clear()
        out = self._groups[config, name] = tuple(groups)
        return out

    def _holds(self, transition: Transition) -> bool:
        assert transition.condition is not None
        try:
            return transition.condition(self.scope)
        except ExecutionError as error:
            self._fault(f"the condition of a transition of {transition.source.name!r}: {error}")
            return False

    def _microstep(self, enabled: list[Transition]) -> None:
        instance = self.scope.instance
        key = (instance.config, (enabled[0].number,) if len(enabled) == 1 else tuple(t.number for t in enabled))
        move = self._moves.get(key)
        if move is None:
            move = move_of(self.chart, instance.config, enabled, instance.history)
            if len(self._moves) >= REMEMBERED:
                self._moves.clear()
            if not self._begins_with_history and not any(t.has_history for t in enabled):
                self._moves[key] = move
        for number, states in move.records:
            instance.history[number] = states
        if move.silent:
            instance.config = move.after
            return
        for state in move.exits:
            for block in state.exit:
                self._run(block)
            instance.config &= ~state.bit
        for content in move.contents:
            self._run(content)
        self._enter(move)

    def _enter(self, move: Move) -> None:
        instance = self.scope.instance
        for arrival in move.arrivals:
            state = arrival.state
            instance.config |= state.bit
            if state.data and not instance.entered & state.bit:
                self._run(state.data)
            for block in state.entry:
                self._run(block)
            for block in arrival.extra:
                self._run(block)
            if state.kind is Kind.FINAL:
                self._finish(state)
        if self.chart.late:
            instance.entered |= move.after

    def _finish(self, state: State) -> None:
        """A final state was entered: its parent is done, and a parallel grandparent if all its regions are."""
        parent = state.parent
        assert parent is not None
        result = self._result(state)
        if parent.parent is None:
            self._end(result)
            return
        self._tell(f"done.state.{parent.name}", result)
        above = parent.parent
        if above.kind is Kind.PARALLEL and all(self._is_final(child) for child in above.children):
            self._tell(f"done.state.{above.name}", None)

    def _end(self, result: Any) -> None:
        """The machine is done: leave every state, innermost first."""
        instance = self.scope.instance
        instance.running = False
        self.scope.result = result
        for state in reversed(self.chart.members(instance.config & ~1)):
            for block in state.exit:
                self._run(block)

    def _is_final(self, state: State) -> bool:
        config = self.scope.instance.config
        if state.kind is Kind.COMPOUND:
            return any(child.kind is Kind.FINAL and config & child.bit for child in state.children)
        return state.kind is Kind.PARALLEL and all(self._is_final(child) for child in state.children)

    def _result(self, state: State) -> Any:
        if state.result is None:
            return None
        try:
            return state.result(self.scope)
        except ExecutionError as error:
            self._fault(f"the data of {state.name!r}: {error}")
            return None

    def _run(self, block: Block) -> None:
        try:
            for content in block:
                content(self.scope)
        except UnreachableError as error:
            self.scope.faults.append(str(error))
            self._tell("error.communication", {"reason": str(error)}, error.sender)
        except ExecutionError as error:
            self._fault(str(error), error.sender)

    def _fault(self, reason: str, sender: str = "") -> None:
        try:
            self.scope.fault(reason, sender)
        except ExecutionError:
            self._forever = True

    def _tell(self, name: str, data: Any, sender: str = "") -> None:
        try:
            self.scope.tell(name, data, sender)
        except ExecutionError:
            self._forever = True
