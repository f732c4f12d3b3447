"""What expressions and contents of a chart see and do while the engine works on one instance."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from automation.expressions import EVENT_FIELDS
from automation.machines.instance import Instance, Timer, Trigger

if TYPE_CHECKING:
    from automation.machines.chart import Chart

MOST_QUEUED: Final = 1000
MOST_TIMERS: Final = 100


class ExecutionError(Exception):
    """An expression or content could not be evaluated; the machine gets `error.execution`. `sender` is the name of the
    event that could not be sent.
    """

    sender = ""


class UnreachableError(ExecutionError):
    """The target of an event does not exist; the machine gets `error.communication`."""


class Scope:
    """One for each engine; `instance`, `trigger` and `now` (ns) change with what it works on.

    `internal` and `external` are the queues of the events that the machine raised or sent to itself: both empty when
    the engine rests, each of at most 1,000 (more is an ExecutionError). An instance has at most 100 timers.
    """

    __slots__ = (
        "_number",
        "actions",
        "chart",
        "external",
        "faults",
        "instance",
        "internal",
        "logs",
        "name",
        "now",
        "result",
        "state",
        "trigger",
    )

    def __init__(self, name: str, chart: Chart, state: Callable[[], Mapping[str, Any]]) -> None:
        self.name: Final = name
        self.chart: Final = chart
        self.state: Final = state
        self.instance: Instance = Instance("", 0)
        self.trigger: Trigger | None = None
        self.now = 0
        self.result: Any = None
        self.internal: Final[deque[Trigger]] = deque()
        self.external: Final[deque[Trigger]] = deque()
        self.actions: list[dict[str, Any]] = []
        self.logs: list[str] = []
        self.faults: list[str] = []
        self._number = 0

    @property
    def vars(self) -> dict[str, Any]:
        """The instance's variables."""
        return self.instance.vars

    def active(self, state: str) -> bool:
        """Whether the instance is in a state: `In()`."""
        found = self.chart.by_name.get(state)
        return found is not None and bool(self.instance.config & found.bit)

    def states(self) -> list[str]:
        """The names of the active states, outermost first, without the machine's own."""
        return [state.name for state in self.chart.members(self.instance.config & ~1)]

    def event(self, fields: Collection[str] = EVENT_FIELDS) -> dict[str, Any]:
        """What expressions see as `event`: the one that is being handled, at the beginning the one that led to it."""
        trigger = self.trigger
        return (trigger if trigger is not None else Trigger("", self.instance.origin)).facts(fields)

    def facts(self) -> dict[str, Any]:
        """What expressions see as `machine`."""
        instance = self.instance
        return {"name": self.name, "key": instance.key, "states": self.states(), "began": instance.began}

    def act(self, action: dict[str, Any]) -> None:
        """Have an action carried out; plain values, nothing in it is a template any more."""
        self.actions.append(action)

    def log(self, text: str) -> None:
        """Note a line for people."""
        if len(self.logs) < MOST_QUEUED:
            self.logs.append(text)

    def fault(self, reason: str, sender: str = "") -> None:
        """Note what went wrong and tell the machine by `error.execution`."""
        if len(self.faults) < MOST_QUEUED:
            self.faults.append(reason)
        self._put(self.internal, Trigger("error.execution", self._event(), {"reason": reason}, "platform", sender))

    def tell(self, name: str, data: Any = None, sender: str = "") -> None:
        """Put an event of the interpreter itself (`done.state.*`, `error.*`) into the internal queue."""
        self._put(self.internal, Trigger(name, self._event(), data, "platform", sender))

    def raise_(self, name: str, data: Any = None, sender: str = "") -> None:
        """Put an event into the internal queue."""
        self._put(self.internal, Trigger(name, self._event(), data, "internal", sender))

    def send(self, name: str, data: Any = None, delay: int = 0, sender: str = "") -> None:
        """Put an event into the queue of the outside, now or after `delay` (ns)."""
        if delay <= 0:
            self._put(self.external, Trigger(name, self._event(), data, "external", sender))
            return
        timers = self.instance.timers
        if len(timers) >= MOST_TIMERS:
            raise ExecutionError(f"an instance has at most {MOST_TIMERS} timers")
        order = timers[-1].order + 1 if timers else 0
        timers.append(Timer(self.now + delay, order, name, data, sender))

    def cancel(self, sender: str) -> None:
        """Forget the timers called so."""
        self.instance.timers[:] = [timer for timer in self.instance.timers if timer.sender != sender]

    def unique(self) -> str:
        """A name for a sender that has none, unique in this engine's lifetime."""
        self._number += 1
        return f"send.{self.now}.{self._number}"

    def _event(self) -> Any:
        return self.trigger.event if self.trigger is not None else self.instance.origin

    @staticmethod
    def _put(queue: deque[Trigger], trigger: Trigger) -> None:
        if len(queue) >= MOST_QUEUED:
            raise ExecutionError(f"more than {MOST_QUEUED} events wait")
        queue.append(trigger)
