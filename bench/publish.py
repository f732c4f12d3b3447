"""What an event costs the operation that it tells of: `python -m bench.publish`.

The bar is 5 µs for an event that nobody reads, from the finished operation to the kernel's reply.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from automation.bus import Bus
from automation.events import SemanticEvent
from bench.samples import Cell, Sample
from vexfs_fuse.callers import Callers
from vexfs_fuse.observer import Observer

EVENTS: Final = 20_000


@dataclass(frozen=True, slots=True)
class _Who:
    pid: int
    uid: int = 0
    gid: int = 0


def measure() -> list[Sample]:
    """µs per event, once for each case."""
    return [
        _sample("make an event", _cost(_make)),
        _sample("publish, nobody reads", _publish(0)),
        _sample("publish, one reader", _publish(1)),
        _sample("publish, ten readers of other types", _publish(10, types=("workflow",))),
        _sample("operation → event, nobody reads", _observe(0)),
        _sample("operation → event, one reader", _observe(1)),
    ]


def _sample(name: str, microseconds: float) -> Sample:
    return Sample(Cell("engine", name, "µs", higher=False), "vexfs", microseconds)


def _make() -> None:
    SemanticEvent("file.closed", "inbox/report.pdf", inode=12, size=4096, pid=1, comm="cp", attrs={"written": 4096})


def _cost(action: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    for _ in range(EVENTS):
        action()
    return (time.perf_counter_ns() - start) / EVENTS / 1000


def _publish(readers: int, types: tuple[str, ...] = ("*",)) -> float:
    bus = Bus()
    for number in range(readers):
        bus.subscribe(f"reader {number}", types)
    publish = bus.publish
    return _cost(
        lambda: publish(SemanticEvent("file.closed", "inbox/report.pdf", inode=12, size=4096, pid=1, comm="cp"))
    )


def _observe(readers: int) -> float:
    bus, callers = Bus(), Callers(None)
    for number in range(readers):
        bus.subscribe(f"reader {number}")
    emit, who = Observer(bus, callers).emit, _Who(os.getpid())
    try:
        return _cost(lambda: emit("file.closed", "inbox/report.pdf", who, inode=12, size=4096))
    finally:
        callers.close()


if __name__ == "__main__":
    for sample in measure():
        print(f"{sample.value:8.2f} µs  {sample.cell.name}")
