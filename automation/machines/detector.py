"""One machine over a stream of events: finds the instance, moves it, minds its timers. No clock, no task, no file."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Final

from automation.events import SemanticEvent, covers
from automation.expressions import EvaluationError, compile_condition
from automation.facts import event_facts, target_of
from automation.globs import compile_globs
from automation.machines.engine import Engine
from automation.machines.instance import Instance, Trigger
from automation.machines.machine import RENAMES, Machine, key_of
from automation.machines.outcomes import Broken, Evicted, Moved, Outcome
from automation.machines.snapshots import copied, restore_instance, snapshot_instance

_NOTHING: Final[list[Outcome]] = []


class Detector:
    """At most `machine.limit` instances: when one more begins, the one that has been idle the longest is given up,
    counted in `evicted` and told of. An instance begins with the first event that moves it, and is forgotten when it
    ends. A machine without a key begins by `start`. Times are ns since the epoch; `now` never needs to be exact, but a
    timer fires at the first `feed` or `advance` whose `now` has reached it, before the event itself.
    """

    def __init__(self, machine: Machine, state: Callable[[], Mapping[str, Any]] = dict) -> None:
        self.machine: Final = machine
        self.engine: Final = Engine(machine.name, machine.chart, state)
        self.moved = self.evicted = self.broken = self.finished = self.faulty = 0
        self.last_fault = ""
        self._state: Final = state
        self._key: Final = key_of(machine.key)
        self._follows: Final = machine.key == "path"
        self._path: Final = compile_globs(machine.paths) if machine.paths else None
        self._where: Final = compile_condition(machine.where) if machine.where else None
        self._types: Final[dict[str, bool]] = {}
        self._instances: Final[OrderedDict[Hashable, Instance]] = OrderedDict()
        self._heap: Final[list[tuple[int, int, Instance]]] = []
        self._tie: Final = itertools.count()
        self._names: Final[dict[int, tuple[str, ...]]] = {}

    def __len__(self) -> int:
        return len(self._instances)

    # Reading

    def states(self, key: Hashable = "") -> tuple[str, ...]:
        """The active states of the instance for `key`, outermost first; empty when there is none."""
        instance = self._instances.get(key)
        return () if instance is None else self._named(instance.config)

    def is_in(self, state: str, key: Hashable = "") -> bool:
        """Whether the instance for `key` exists and is in `state`: a dictionary and a bit, for guards."""
        instance, found = self._instances.get(key), self.machine.chart.by_name.get(state)
        return instance is not None and found is not None and bool(instance.config & found.bit)

    def holds(self, state: str, event: SemanticEvent) -> bool:
        """`is_in` for the instance that an event belongs to; of a rename, that of the old name or of the new."""
        try:
            if self.is_in(state, self._key(event)):
                return True
        except EvaluationError:
            return False
        return event.dest is not None and self._follows and self.is_in(state, event.path)

    def instances(self) -> list[Instance]:
        """The instances, that which moved or heard last at the end; not to be changed."""
        return list(self._instances.values())

    def status(self) -> dict[str, Any]:
        """Counters as plain values."""
        counts = {"instances": len(self._instances), "timers": sum(len(i.timers) for i in self._instances.values())}
        return (
            counts
            | self.counts()
            | {"faults": self.faulty}
            | ({"last_fault": self.last_fault} if self.last_fault else {})
        )

    # The protocol of detectors

    def start(self, now: int) -> list[Outcome]:
        """Begin the one instance of a machine without a key."""
        if self.machine.key is not None or self._instances:
            return _NOTHING
        return self._begin("", None, now)

    def feed(self, event: SemanticEvent, now: int | None = None) -> list[Outcome]:
        """Use one event; `now` is the event's own time when it is not given."""
        if now is None:
            now = event.ts
        out = self.advance(now) if self._heap and self._heap[0][0] <= now else _NOTHING
        if self._follows and event.dest is not None and event.type in RENAMES and event.errno is None:
            self._rename(event.path, event.dest, whole=event.type == "dir.renamed")
        if not self._concerns(event):
            return out
        try:
            key = self._key(event)
        except EvaluationError as error:
            self._note(f"the key: {error}")
            return out
        instance = self._instances.get(key)
        trigger = Trigger(event.type, event, event.attrs)
        if instance is None:
            return [*out, *self._begin(key, trigger, now)]
        self._instances.move_to_end(key)
        if not self.engine.could_take(instance, event.type):
            return out
        return [*out, *self._handle(instance, trigger, now)]

    def inject(self, key: Hashable, name: str, data: Any, event: SemanticEvent | None, now: int) -> list[Outcome]:
        """Give an event by hand to the instance for `key`, past the tests of the stream; begins one if need be."""
        out = self.advance(now)
        trigger = Trigger(name, event, data, "external")
        instance = self._instances.get(key)
        found = self._begin(key, trigger, now) if instance is None else self._handle(instance, trigger, now)
        return [*out, *found]

    def advance(self, now: int) -> list[Outcome]:
        """Let time pass: fire the timers that are due, each at its own time, earliest first."""
        out: list[Outcome] = []
        while (due := self.deadline()) is not None and due <= now:
            _, _, instance = heapq.heappop(self._heap)
            instance.due = None
            timer = min(instance.timers, key=lambda timer: (timer.due, timer.order))
            instance.timers.remove(timer)
            trigger = Trigger(timer.name, instance.origin, timer.data, "external", timer.sender)
            out += self._handle(instance, trigger, timer.due)
        return out

    def deadline(self) -> int | None:
        """When `advance` should be called next; None if nothing waits."""
        heap = self._heap
        while heap and heap[0][2].due != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    # Keeping

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every instance as it is now, as plain values, which are made one by one as they are asked for."""
        chart = self.machine.chart
        copies = [copied(instance) for instance in self._instances.values()]
        return (snapshot_instance(chart, instance) for instance in copies)

    def counts(self) -> dict[str, int]:
        """What has been counted so far."""
        return {"moved": self.moved, "finished": self.finished, "evicted": self.evicted, "broken": self.broken}

    def count_on(self, counts: Mapping[str, int]) -> None:
        """Go on counting from there."""
        self.moved, self.finished = counts["moved"], counts["finished"]
        self.evicted, self.broken = counts["evicted"], counts["broken"]

    def restore(self, rows: Iterable[Mapping[str, Any]], now: int = 0) -> list[Outcome]:
        """Continue with such instances in place of those that are here. Timers that would have ended
        since are due at once. One that does not fit the chart, which may have changed, is given up and told of.
        """
        self._instances.clear()
        self._heap.clear()
        out: list[Outcome] = []
        for one in list(rows)[-self.machine.limit :]:
            try:
                instance = restore_instance(self.machine.chart, one)
            except (LookupError, TypeError, ValueError) as error:
                self.broken += 1
                out.append(Broken(self.machine.name, str(one.get("key")), f"cannot go on: {error}", now))
                continue
            self._instances[instance.key] = instance
            self._schedule(instance)
        return out

    # One event

    def _concerns(self, event: SemanticEvent) -> bool:
        wanted = self._types.get(event.type)
        if wanted is None:
            if len(self._types) > 1000:
                self._types.clear()
            wanted = any(covers(name, event.type) for name in self.machine.chart.events)
            self._types[event.type] = wanted
        machine = self.machine
        if not wanted or (event.errno is not None and not machine.failed):
            return False
        if event.cause is not None and event.cause.workflow == machine.name and not machine.own:
            return False
        if self._path is not None and not self._path(target_of(event)):
            left = event.dest is not None and self._path(event.path)  # renamed to where we do not look
            if not left:
                return False
        return self._where is None or self._holds(event)

    def _holds(self, event: SemanticEvent) -> bool:
        assert self._where is not None
        try:
            facts = event_facts(event, self._where.event_fields)
            return self._where({"event": facts, "state": dict(self._state())}) is True
        except EvaluationError as error:
            self._note(f"where: {error}")
            return False

    def _rename(self, old: str, new: str, *, whole: bool) -> None:
        """The file that an instance is for has another name now, or with `whole` everything below a directory."""
        moved = [old] if old in self._instances else []
        if whole:
            moved += [key for key in self._instances if isinstance(key, str) and key.startswith(f"{old}/")]
        for key in moved:
            instance = self._instances.pop(key)
            instance.key = f"{new}{key[len(old) :]}"
            replaced = self._instances.pop(instance.key, None)
            if replaced is not None:
                replaced.due = None
            self._instances[instance.key] = instance

    def _begin(self, key: Hashable, trigger: Trigger | None, now: int) -> list[Outcome]:
        """A new instance, if the event moves it; without an event in any case."""
        instance = Instance(key, now)
        self.engine.begin(instance, trigger, now)
        first = self._collect(instance, trigger, (), now)
        if isinstance(first, Broken):
            return [first]
        out: list[Outcome] = [first]
        if trigger is not None and instance.running:
            before = instance.config
            taken = self.engine.handle(instance, trigger, now)
            if not taken:
                self._take_back(first)
                return _NOTHING
            out.append(self._collect(instance, trigger, self._named(before), now))
        return self._settled(instance, trigger, out, now)

    def _handle(self, instance: Instance, trigger: Trigger, now: int) -> list[Outcome]:
        before = instance.config
        if not self.engine.handle(instance, trigger, now) and not self.engine.scope.faults:
            if instance.timers:
                self._schedule(instance)
            return _NOTHING
        out: list[Outcome] = [self._collect(instance, trigger, self._named(before), now)]
        return self._settled(instance, trigger, out, now)

    def _settled(self, instance: Instance, trigger: Trigger | None, out: list[Outcome], now: int) -> list[Outcome]:
        """Keep a moved instance, or forget one that has ended."""
        if not instance.running or isinstance(out[-1], Broken):
            self._instances.pop(instance.key, None)
            instance.due = None
            self.finished += not isinstance(out[-1], Broken)
            return out
        if trigger is not None and trigger.event is not None:
            instance.origin = trigger.event
        instance.since = now
        if instance.key not in self._instances:
            if len(self._instances) >= self.machine.limit:
                out.append(self._evict(now))
            self._instances[instance.key] = instance
        self._schedule(instance)
        return out

    def _collect(
        self, instance: Instance, trigger: Trigger | None, before: tuple[str, ...], now: int
    ) -> Moved | Broken:
        """What the engine left, as an outcome."""
        scope = self.engine.scope
        actions, logs, faults = scope.actions, scope.logs, scope.faults
        if actions:
            scope.actions = []
        if logs:
            scope.logs = []
        if faults:
            scope.faults = []
            for fault in faults:
                self._note(fault)
        name = trigger.name if trigger is not None else "start"
        if self.engine.endless:
            self.broken += 1
            return Broken(self.machine.name, instance.key, f"{name!r} made it move without end", now)
        self.moved += 1
        instance.moves += 1
        result = None
        if not instance.running:
            result, scope.result = scope.result, None
        return Moved(
            self.machine.name,
            instance.key,
            name,
            trigger.event if trigger is not None else None,
            before,
            self._named(instance.config),
            tuple(actions),
            tuple(logs),
            tuple(faults),
            not instance.running,
            result,
            instance.moves,
            now,
        )

    def _take_back(self, first: Moved) -> None:
        """An instance that did not move never was."""
        scope = self.engine.scope
        scope.actions, scope.logs, scope.faults = [], [], []
        self.moved -= 1

    def _evict(self, now: int) -> Evicted:
        key, instance = self._instances.popitem(last=False)
        instance.due = None
        self.evicted += 1
        return Evicted(self.machine.name, key, self.machine.limit, self.evicted, now)

    def _schedule(self, instance: Instance) -> None:
        timers = instance.timers
        due = (timers[0].due if len(timers) == 1 else min(timer.due for timer in timers)) if timers else None
        if due == instance.due:
            return
        instance.due = due
        if due is None:
            return
        heap = self._heap
        heapq.heappush(heap, (due, next(self._tie), instance))
        if len(heap) > 2 * len(self._instances) + 1000:  # mostly of timers that were cancelled since
            heap[:] = [(i.due, next(self._tie), i) for i in self._instances.values() if i.due is not None]
            heapq.heapify(heap)

    def _named(self, config: int) -> tuple[str, ...]:
        names = self._names.get(config)
        if names is None:
            if len(self._names) > 10_000:
                self._names.clear()
            names = tuple(state.name for state in self.machine.chart.members(config & ~1))
            self._names[config] = names
        return names

    def _note(self, fault: str) -> None:
        self.faulty += 1
        self.last_fault = fault
