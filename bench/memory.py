"""What it costs that detection survives a kill: `python -m bench.memory`, as root with `--mount`.

The event log's share of publishing an accepted event (which is what the reply to an operation waits for), of a step of
detection, of operations on a mount; how long taking a snapshot holds the loop, and how long a recovery takes.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from typing import Final

import trio

from automation.actions import Commands
from automation.bus import Bus
from automation.events import SemanticEvent
from automation.service import Service
from automation.state_directory import StateDirectory
from automation.workspace import Workspace
from bench.route import Uncached
from bench.watch import compare, create_and_unlink, filesystem, mounted

EVENTS: Final = 20_000
PARTIALS: Final = 10_000
PAIR: Final = """
patterns: {pair: 'a(file.closed) -> b(user.b) within 1h by path'}
triggers: [{type: pattern, pattern: pair}]
steps: [{log: {message: x}}]
"""
WANTED: Final = """
patterns: {pair: 'a(file.created) -> b(user.b) within 1h by path'}
triggers: [{type: pattern, pattern: pair}]
steps: [{log: {message: x}}]
"""


class Bench:
    """One service over nothing, with a pattern that keeps each file that is closed; `state` is its directory."""

    def __init__(self, directory: str, state: str | None) -> None:
        root, workflows = os.path.join(directory, "root"), os.path.join(directory, "workflows")
        for path in (root, workflows):
            os.makedirs(path, exist_ok=True)
        with open(os.path.join(workflows, "pair.yaml"), "w", encoding="utf-8") as file:
            file.write(PAIR)
        self.bus: Final = Bus()
        self.kept: Final = StateDirectory(state) if state is not None else None
        self.service: Final = Service(
            self.bus,
            workspace=Workspace(os.open(root, os.O_RDONLY), self.bus.publish, Uncached()),
            commands=Commands(root),
            workflows=workflows,
            kept=self.kept,
        )

    def events(self, count: int) -> list[SemanticEvent]:
        """Each of a file of its own."""
        attrs = {"written": 4096, "mode": "w", "nlink": 1}
        return [
            SemanticEvent("file.closed", f"inbox/report-{n}.pdf", inode=n, size=4096, pid=1, comm="cp", attrs=attrs)
            for n in range(count)
        ]

    def publish(self, count: int) -> float:
        """µs of processor time for each event that is published and waits in the queue of the patterns."""
        events = self.events(count)
        start = time.process_time_ns()
        for event in events:
            self.bus.publish(event)
        return (time.process_time_ns() - start) / count / 1000

    def detect(self) -> float:
        """µs of processor time for each event of the queue that the patterns take, in steps of one event."""
        desk, count = self.service.patterns, len(self.service.patterns.subscription)
        start = time.process_time_ns()
        for event in desk.subscription.receive_nowait(count):
            with desk.records.step("patterns", [event], 1.0, 1.0):
                pass
        return (time.process_time_ns() - start) / count / 1000


async def costs(directory: str) -> None:
    """µs per event, without a log and with one, in alternation."""
    found: dict[str, list[float]] = {}
    benches = {"off": Bench(directory, None), "on": Bench(directory, os.path.join(directory, "state"))}
    async with trio.open_nursery() as nursery:
        for bench in benches.values():
            await nursery.start(bench.service.run)
        for _ in range(5):  # what is published waits: the loop does not turn meanwhile
            for name, bench in benches.items():
                found.setdefault(f"publish, log {name}", []).append(bench.publish(EVENTS // 5))
                found.setdefault(f"step of one event, log {name}", []).append(bench.detect())
        for name, values in found.items():
            print(f"{statistics.median(values):8.2f} µs  {name}", flush=True)
        log = benches["on"].service.memory.status()
        print(f"{log['written'] / EVENTS:8.0f} bytes of log for an event and its step")
        for bench in benches.values():
            await bench.service.shutdown(0)


async def snapshot(directory: str) -> None:
    """How long a snapshot of many partial matches takes, and holds the loop; how long it takes to read it back."""
    state = os.path.join(directory, "large")
    bench = Bench(directory, state)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.service.run)
        bench.publish(PARTIALS)
        while bench.service.patterns.set.live < PARTIALS:  # noqa: ASYNC110 - nothing tells of a partial match
            await trio.sleep(0.01)
        lags: list[float] = []
        watching = trio.CancelScope()
        nursery.start_soon(_watch, lags, watching)
        await bench.service.memory.snapshot()
        watching.cancel()
        last = bench.service.memory.last
        print(
            f"{last['seconds'] * 1e3:8.1f} ms  a snapshot of {PARTIALS:,} partials, {last['bytes'] >> 10:,} KiB; "
            f"it held the loop {last['longest_stop_ms']:.1f} ms at most, another task waited {max(lags) * 1e3:.1f} ms"
        )
        await bench.service.shutdown(0)
    if bench.kept is not None:
        bench.kept.close()
    bench = Bench(directory, state)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.service.run)
        recovery = bench.service.memory.recovery
        print(f"{recovery['seconds'] * 1e3:8.1f} ms  to have them back ({bench.service.patterns.set.live:,})")
        await bench.service.shutdown(0)


async def _watch(lags: list[float], scope: trio.CancelScope) -> None:
    with scope:
        while True:
            before = time.perf_counter()
            await trio.lowlevel.checkpoint()
            lags.append(time.perf_counter() - before)


def on_mounts() -> None:
    """Creating and removing files while a pattern keeps every creation: two mounts in turn, one logs."""
    with tempfile.TemporaryDirectory() as scratch, filesystem() as one, filesystem() as other:
        given: list[tuple[str, ...]] = []
        for name, option in (("off", "--no-event-log"), ("on", "--event-log")):
            directory = os.path.join(scratch, name)
            os.mkdir(directory)
            with open(os.path.join(directory, "pair.yaml"), "w", encoding="utf-8") as file:
                file.write(WANTED)
            given.append(("--workflows", directory, "--state-dir", f"{directory}-state", option))
        with mounted(one, *given[0]) as off, mounted(other, *given[1]) as on:
            print("create+unlink, each creation accepted:", compare(create_and_unlink, off, on, "with the log"))


def main() -> None:
    """Everything that needs no mount; `--mount` only what does."""
    if "--mount" in sys.argv:
        on_mounts()
        return
    with tempfile.TemporaryDirectory() as directory:
        trio.run(costs, directory)
        trio.run(snapshot, directory)


if __name__ == "__main__":
    main()
