"""`/.vexfs/machines`: each statechart that reacts, and the state of the system as `system`.

Which instances are in which states, what moved them last, and events by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from automation.errors import CallerError
from vexfs_fuse.control.folders import Collection, Folder
from vexfs_fuse.control.nodes import Description, Node
from vexfs_fuse.control.texts import Commands, Text
from vexfs_fuse.errors import ENOENT, fail

if TYPE_CHECKING:
    from automation.machines.host import Machines
    from automation.machines.system_state import SystemState
    from automation.service import Service

SYSTEM: Final = "system"
MOST_INSTANCES: Final = 10_000
"""How many instances `state` shows; the last that moved."""


def machines(service: Service) -> Collection:
    """A directory for the system state, and one for each machine."""
    system, hosted = service.system, service.machines

    def find(name: str) -> Node | None:
        if name == SYSTEM:
            return Folder(_SYSTEM_FILES, system)
        return Folder(_FILES, Subject(hosted, name), lambda: describe(name)) if name in hosted.names else None

    def describe(name: str) -> Description:
        return Description(0o500) if name in hosted.names else fail(ENOENT)

    return Collection(lambda: (SYSTEM, *(name for name in hosted.names if name != SYSTEM)), find)


class Subject:
    """A machine by name."""

    def __init__(self, machines: Machines, name: str) -> None:
        self._machines: Final = machines
        self._name: Final = name

    def instances(self) -> Iterable[Any]:
        """A line of numbers, then one for each instance, the one that moved last at the end."""
        detector = self._hosted.detector
        yield self._machines.status(self._name)
        for instance in detector.instances()[-MOST_INSTANCES:]:
            shown = {"key": instance.key, "states": detector.states(instance.key), "since": instance.since}
            more = {"vars": instance.vars, "timers": [[timer.name, timer.due] for timer in instance.timers]}
            yield shown | {what: value for what, value in more.items() if value}

    def history(self) -> Iterable[Any]:
        """Its last moves."""
        return list(self._hosted.history)

    def events(self) -> Iterable[Any]:
        """Those that it waits for."""
        return [{"events": self._hosted.detector.machine.chart.events}]

    async def send(self, line: str, uid: int) -> None:
        """An event by hand."""
        self._machines.event(self._name, line)

    @property
    def _hosted(self) -> Any:
        return self._machines.hosted(self._name) if self._name in self._machines.names else fail(ENOENT)


async def _set_system(system: SystemState, line: str) -> None:
    """`Maintenance`, `auto`, or `{"state": …, "reason": …, "for": …}`."""
    if line.lstrip().startswith("{"):
        try:
            system.set(json.loads(line), "hand")
        except (json.JSONDecodeError, RecursionError) as error:
            raise CallerError(f"this is no JSON object: {error}") from None
    else:
        system.set(line.strip(), "hand")


def _lines(values: Iterable[Any]) -> str:
    """As JSON, one a line."""
    return "".join(f"{json.dumps(value, ensure_ascii=False, default=str)}\n" for value in values)


_SYSTEM_FILES: Final[dict[str, Callable[[SystemState], Node]]] = {
    "state": lambda system: Commands(lambda: _lines([system.as_dict()]), lambda line, uid: _set_system(system, line)),
    "history": lambda system: Text(lambda: _lines(asdict(one) for one in system.history)),
}
_FILES: Final[dict[str, Callable[[Subject], Node]]] = {
    "state": lambda subject: Text(lambda: _lines(subject.instances())),
    "event": lambda subject: Commands(lambda: _lines(subject.events()), subject.send),
    "history": lambda subject: Text(lambda: _lines(subject.history())),
}
