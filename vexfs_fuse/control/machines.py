"""`/.vexfs/machines`: each statechart that reacts, and the state of the system as `system`.

Which instances are in which states, what moved them last, and events by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from automation.errors import CallerError
from vexfs_fuse.control.handles import CommandLines, Snapshot
from vexfs_fuse.control.nodes import Description, Handle, Node, Opening
from vexfs_fuse.errors import ENOENT, fail

if TYPE_CHECKING:
    from automation.machines.host import Machines
    from automation.machines.system_state import SystemState
    from automation.service import Service

SYSTEM: Final = "system"
MOST_INSTANCES: Final = 10_000
"""How many instances `state` shows; the last that moved."""


class MachinesDirectory:
    """A directory for each machine, and one for the system state."""

    def __init__(self, service: Service) -> None:
        self._service: Final = service

    def describe(self) -> Description:
        """They come and go with their files."""
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """The system, then the machines."""
        return (SYSTEM, *(name for name in self._service.machines.names if name != SYSTEM))

    def child(self, name: str) -> Node | None:
        """By name."""
        if name == SYSTEM:
            return SystemDirectory(self._service)
        return MachineDirectory(self._service.machines, name) if name in self._service.machines.names else None


class MachineDirectory:
    """The files about one machine."""

    def __init__(self, machines: Machines, name: str) -> None:
        self._machines: Final = machines
        self._name: Final = name

    def describe(self) -> Description:
        """Fixed entries."""
        if self._name not in self._machines.names:
            fail(ENOENT)
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """Each file."""
        return FILES

    def child(self, name: str) -> Node | None:
        """Each file."""
        make = FILES.get(name)
        return None if make is None else make(self._machines, self._name)


class Lines:
    """Values as JSON, one a line."""

    def __init__(self, read: Callable[[], Iterable[Any]]) -> None:
        self._read: Final = read

    def describe(self) -> Description:
        """Readable by the owner."""
        return Description(0o400)

    def open(self, opening: Opening) -> Handle:
        """A snapshot."""
        return Snapshot(self._render)

    def _render(self) -> bytes:
        return _lines(self._read())


class Written:
    """Something to read as JSON lines, that takes lines to do."""

    def __init__(self, read: Callable[[], Iterable[Any]], take: Callable[[str], None]) -> None:
        self._read: Final = read
        self._take: Final = take

    def describe(self) -> Description:
        """Readable and writable by the owner."""
        return Description(0o600)

    def open(self, opening: Opening) -> Handle:
        """A snapshot to read, lines to write."""

        async def take(line: str) -> None:
            self._take(line)

        return CommandLines(lambda: _lines(self._read()), take)


class SystemDirectory:
    """The state of the system: read and set as `state`, its `history`."""

    def __init__(self, service: Service) -> None:
        self._system: Final = service.system

    def describe(self) -> Description:
        """Fixed entries."""
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """Each file."""
        return ("state", "history")

    def child(self, name: str) -> Node | None:
        """Each file."""
        if name == "state":
            return Written(lambda: [self._system.as_dict()], lambda line: _set_system(self._system, line))
        return Lines(lambda: _transitions(self._system)) if name == "history" else None


def _set_system(system: SystemState, line: str) -> None:
    """`Maintenance`, `auto`, or `{"state": …, "reason": …, "for": …}`."""
    if line.lstrip().startswith("{"):
        try:
            system.set(json.loads(line), "hand")
        except (json.JSONDecodeError, RecursionError) as error:
            raise CallerError(f"this is no JSON object: {error}") from None
    else:
        system.set(line.strip(), "hand")


def _transitions(system: SystemState) -> Iterable[Any]:
    return [asdict(one) for one in system.history]


def _lines(values: Iterable[Any]) -> bytes:
    text = "".join(f"{json.dumps(value, ensure_ascii=False, default=str)}\n" for value in values)
    return text.encode(errors="backslashreplace")


def _instances(machines: Machines, name: str) -> Iterable[Any]:
    """A line of numbers, then one for each instance, the one that moved last at the end."""
    detector = _known(machines, name).detector
    yield machines.status(name)
    for instance in detector.instances()[-MOST_INSTANCES:]:
        shown = {"key": instance.key, "states": detector.states(instance.key), "since": instance.since}
        more = {"vars": instance.vars, "timers": [[timer.name, timer.due] for timer in instance.timers]}
        yield shown | {what: value for what, value in more.items() if value}


def _history(machines: Machines, name: str) -> Iterable[Any]:
    return list(_known(machines, name).history)


def _known(machines: Machines, name: str) -> Any:
    return machines.hosted(name) if name in machines.names else fail(ENOENT)


FILES: Final[dict[str, Callable[[Machines, str], Node]]] = {
    "state": lambda machines, name: Lines(lambda: _instances(machines, name)),
    "event": lambda machines, name: Written(
        lambda: [{"events": _known(machines, name).detector.machine.chart.events}],
        lambda line: machines.event(name, line),
    ),
    "history": lambda machines, name: Lines(lambda: _history(machines, name)),
}
