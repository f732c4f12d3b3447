"""`/.vexfs/runs`: runs, newest first, and `/.vexfs/runs/ID/`: one run.

Finished runs come from the journal, also those of earlier mounts; each is read when somebody looks at it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from vexfs_fuse.control.folders import Collection, Folder
from vexfs_fuse.control.layout import clock, fit, paragraph, span, table
from vexfs_fuse.control.nodes import Description, Node
from vexfs_fuse.control.texts import Commands, Text
from vexfs_fuse.errors import ENOENT, fail

if TYPE_CHECKING:
    from automation.runner import Run, StepRecord
    from automation.service import Service


def runs(service: Service) -> Collection:
    """A directory for each run that is remembered, newest first."""

    def find(name: str) -> Node | None:
        if name not in service.archive:
            return None
        subject = Subject(service, name)
        return Folder(FILES, subject, lambda: subject.describe(0o500))

    return Collection(service.archive.ids, find)


class Subject:
    """A run by its identity."""

    def __init__(self, service: Service, id: str) -> None:
        self.service: Final = service
        self.id: Final = id

    async def run(self) -> Run:
        """The run; CallerError once it is forgotten."""
        return await self.service.archive.run(self.id)

    def describe(self, permissions: int) -> Description:
        """A run's files change when it starts and ends; while it goes on, they are of now. ENOENT once forgotten."""
        summary = self.service.archive.summary(self.id)
        return fail(ENOENT) if summary is None else Description(permissions, 0, summary.ended)

    def text(self, render: Callable[[Subject], Awaitable[str]]) -> Text:
        """A text about the run."""
        return Text(lambda: render(self), lambda: self.describe(0o400))

    def button(self, command: str) -> Commands:
        """Anything written is the command for the run."""
        return Commands(
            str,
            lambda line, uid: self.service.command(f"{command} {self.id}", uid),
            lambda: self.describe(0o200),
            blank=True,
        )


async def _status(subject: Subject) -> str:
    """One screen: what started it, how far it is, what each step took."""
    run = await subject.run()
    until_ns = run.ended_ns or time.time_ns()
    event = run.firing.event
    rows = [
        ("run", run.id),
        ("workflow", run.workflow),
        ("status", str(run.status)),
        ("trigger", run.trigger),
        ("event", f"{event.type} {event.path}"),
        ("by", f"{event.comm} (pid {event.pid}, uid {event.uid})" if event.pid else ""),
        ("missed", f"{run.missed:,} events, its mailbox was full" if run.missed else ""),
        ("started", clock(run.started_ns) if run.started_ns else ""),
        ("took" if run.ended_ns else "so far", span((until_ns - run.started_ns) / 1e9) if run.started_ns else ""),
    ]
    lines = [f"{name:<10}{fit(value, 69)}" for name, value in rows if value]
    lines += ["", *table([("STEP", "ACTION", "STATUS", "TRIES", "TOOK")], _COLUMNS)]
    for depth, step in _every(run.steps):
        lines += table([(f"{'  ' * depth}{step.name}", step.action, _state(step), _tries(step), _took(step))], _COLUMNS)
        lines += paragraph(step.error)
    if run.error:
        lines += ["", "Error:", *paragraph(run.error)]
    if run.left:
        lines += ["", "Not undone, to be done by hand:"]
        lines += [line for left in run.left for line in paragraph(json.dumps(left, default=str))]
    return "\n".join([*lines, ""])


async def _trace(subject: Subject) -> str:
    """The whole record as JSON."""
    return _json(await subject.service.archive.trace(subject.id))


async def _input(subject: Subject) -> str:
    """What it was started with."""
    return _json((await subject.run()).input)


async def _output(subject: Subject) -> str:
    """What came of it; null as long as it goes on."""
    return _json((await subject.run()).output)


_COLUMNS: Final = (30, 16, 11, 5, 10)


def _every(steps: Iterable[StepRecord], depth: int = 0) -> Iterator[tuple[int, StepRecord]]:
    for step in steps:
        yield depth, step
        yield from _every(step.steps or (), depth + 1)


def _state(step: StepRecord) -> str:
    """Its status, or how far its work is."""
    if step.status != "running" or step.progress is None:
        return step.status
    done, total = step.progress
    return f"{done / total:.0%}" if total else f"{done:,}"


def _tries(step: StepRecord) -> str:
    return str(step.attempts or "")


def _took(step: StepRecord) -> str:
    return span((step.ended_ns - step.started_ns) / 1e9) if step.ended_ns and step.started_ns else ""


def _json(value: Any) -> str:
    return f"{json.dumps(value, indent=2, default=str)}\n"


FILES: Final[dict[str, Callable[[Subject], Node]]] = {
    "status": lambda subject: subject.text(_status),
    "trace": lambda subject: subject.text(_trace),
    "input": lambda subject: subject.text(_input),
    "output": lambda subject: subject.text(_output),
    "cancel": lambda subject: subject.button("cancel"),
    "retry": lambda subject: subject.button("retry"),
}
