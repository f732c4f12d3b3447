"""`/.vexfs/runs`: recent runs, newest first, and `/.vexfs/runs/ID/`: one run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from vexfs_fuse.control.handles import CommandLines, Snapshot
from vexfs_fuse.control.layout import clock, fit, paragraph, span, table
from vexfs_fuse.control.nodes import Description, Handle, Node, Opening
from vexfs_fuse.errors import ENOENT, fail

if TYPE_CHECKING:
    from automation.runner import Run, StepRecord
    from automation.service import Service


class Runs:
    """A directory for each run that the runner remembers."""

    def __init__(self, service: Service) -> None:
        self._service: Final = service

    def describe(self) -> Description:
        """Entries come and go."""
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """Newest first."""
        return reversed(list(self._service.runner.runs))

    def child(self, name: str) -> Node | None:
        """A run by its identity."""
        return RunDirectory(self._service, name) if name in self._service.runner.runs else None


class Subject:
    """A run by its identity."""

    def __init__(self, service: Service, id: str) -> None:
        self.service: Final = service
        self.id: Final = id

    @property
    def run(self) -> Run:
        """The run; ENOENT once the runner has forgotten it."""
        run = self.service.runner.runs.get(self.id)
        return fail(ENOENT) if run is None else run

    def describe(self, permissions: int) -> Description:
        """A run's files change when it starts and ends; while it goes on, they are of now."""
        return Description(permissions, 0, self.run.ended_ns)


class RunDirectory:
    """The files about one run."""

    def __init__(self, service: Service, id: str) -> None:
        self._subject: Final = Subject(service, id)

    def describe(self) -> Description:
        """Fixed entries."""
        return self._subject.describe(0o500)

    def names(self) -> Iterable[str]:
        """Each file."""
        return FILES

    def child(self, name: str) -> Node | None:
        """Each file."""
        make = FILES.get(name)
        return None if make is None else make(self._subject)


class RunStatus:
    """One screen: what started it, how far it is, what each step took."""

    def __init__(self, subject: Subject) -> None:
        self._subject: Final = subject

    def describe(self) -> Description:
        """Readable by the owner."""
        return self._subject.describe(0o400)

    def open(self, opening: Opening) -> Handle:
        """A snapshot."""
        return Snapshot(self._render)

    def _render(self) -> bytes:
        run = self._subject.run
        until_ns = run.ended_ns or time.time_ns()
        event = run.firing.event
        rows = [
            ("run", run.id),
            ("workflow", run.workflow),
            ("status", str(run.status)),
            ("trigger", run.trigger),
            ("event", f"{event.type} {event.path}"),
            ("by", f"{event.comm} (pid {event.pid}, uid {event.uid})" if event.pid else ""),
            ("started", clock(run.started_ns) if run.started_ns else ""),
            ("took" if run.ended_ns else "so far", span((until_ns - run.started_ns) / 1e9) if run.started_ns else ""),
        ]
        lines = [f"{name:<10}{fit(value, 69)}" for name, value in rows if value]
        lines += ["", *table([("STEP", "ACTION", "STATUS", "TRIES", "TOOK")], _COLUMNS)]
        for step in run.steps:
            tries = str(step.attempts or "")
            lines += table([(step.name, step.action, step.status, tries, _took(step))], _COLUMNS)
            lines += paragraph(step.error)
        if run.error:
            lines += ["", "Error:", *paragraph(run.error)]
        return "\n".join([*lines, ""]).encode(errors="backslashreplace")


class RunTrace:
    """The whole record as JSON."""

    def __init__(self, subject: Subject) -> None:
        self._subject: Final = subject

    def describe(self) -> Description:
        """Readable by the owner."""
        return self._subject.describe(0o400)

    def open(self, opening: Opening) -> Handle:
        """A snapshot."""
        return Snapshot(self._render)

    def _render(self) -> bytes:
        return f"{json.dumps(self._subject.run.as_dict(), indent=2, default=str)}\n".encode()


class RunCancel:
    """Anything written cancels the run."""

    def __init__(self, subject: Subject) -> None:
        self._subject: Final = subject

    def describe(self) -> Description:
        """Writable by the owner."""
        return self._subject.describe(0o200)

    def open(self, opening: Opening) -> Handle:
        """A line to write."""

        async def cancel(line: str) -> None:
            await self._subject.service.command(f"cancel {self._subject.run.id}", opening.uid)

        return CommandLines(bytes, cancel)


_COLUMNS: Final = (30, 16, 11, 5, 10)


def _took(step: StepRecord) -> str:
    return span((step.ended_ns - step.started_ns) / 1e9) if step.ended_ns else ""


FILES: Final[dict[str, Callable[[Subject], Node]]] = {"status": RunStatus, "trace": RunTrace, "cancel": RunCancel}
