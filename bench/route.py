"""What loaded rules cost an event that they do not want: `python -m bench.route`.

The dispatcher is asked inside `publish`, before the kernel's reply, whether a trigger could want the event; that
must not grow with the number of rules.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Final

import trio

from automation.actions import Commands
from automation.bus import Bus
from automation.definitions import Workflow
from automation.dispatcher import Dispatcher
from automation.events import SemanticEvent
from automation.service import Service
from automation.workspace import Workspace
from bench.definitions import rule
from bench.samples import Cell, Sample

COUNTS: Final = (0, 50, 1_000, 50_000)
EVENTS: Final = 20_000
CASES: Final = {
    "elsewhere": ("file.closed", "music/a/song.flac"),
    "near miss": ("file.closed", "projects/p4/deep/report.txt"),
    "other type": ("meta.lookup", "projects/p4/deep/report.csv"),
}


class Uncached:
    """No kernel remembers anything here."""

    def entry(self, parent: str, name: str) -> None:
        """Nothing to forget."""

    def content(self, path: str) -> None:
        """Nothing to forget."""


@contextlib.contextmanager
def service() -> Iterator[tuple[Bus, Dispatcher]]:
    """A bus with a dispatcher that takes definitions and runs nothing; to be made within trio."""
    with tempfile.TemporaryDirectory() as directory:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            bus = Bus()
            workspace = Workspace(fd, bus.publish, Uncached())
            made = Service(bus, workspace=workspace, commands=Commands(directory), workflows=directory)
            yield bus, made.dispatcher
        finally:
            os.close(fd)


async def _measure() -> list[Sample]:
    samples, loaded = [], 0
    with service() as (bus, dispatcher):
        for count in COUNTS:
            for number in range(loaded, count):
                dispatcher.install(Workflow.model_validate(rule(number)))
            loaded = count
            samples += [_case(bus, name, count) for name in CASES]
    return samples


def _case(bus: Bus, name: str, count: int) -> Sample:
    type_name, path = CASES[name]
    publish = bus.publish
    start = time.perf_counter_ns()
    for _ in range(EVENTS):
        publish(SemanticEvent(type_name, path, inode=12, size=4096, pid=1, comm="cp"))
    cost = (time.perf_counter_ns() - start) / EVENTS / 1000
    return Sample(Cell("engine", f"publish, {count:,} rules, {name}", "µs", higher=False), "vexfs", cost)


def measure() -> list[Sample]:
    """µs per event (making it included) for each number of rules and each way not to match."""
    return trio.run(_measure)


if __name__ == "__main__":
    for sample in measure():
        print(f"{sample.value:8.2f} µs  {sample.cell.name}")
