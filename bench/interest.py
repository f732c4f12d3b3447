"""What it costs an open to ask who listens to its reads and writes: `python -m bench.interest`. The bar is 5 µs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

import trio

from automation.definitions import Workflow
from automation.makers import Maker
from bench.definitions import rule
from bench.route import service
from bench.samples import Cell, Sample
from vexfs_fuse.interest import Interest

COUNTS: Final = (0, 1_000, 50_000)
QUESTIONS: Final = 5_000
ROUNDS: Final = 9
USER: Final = 1000  # whose writes the rules mean
CASES: Final = {
    "nobody": ("music/a/song.flac", USER),
    "near miss": ("projects/p4/deep/report.txt", USER),
    "another's": ("projects/p4/deep/report.csv", USER + 1),
    "somebody": ("projects/p4/deep/report.csv", USER),
}


def listener(number: int) -> Workflow:
    """Like those of `bench.definitions`, but about the writes themselves."""
    about = rule(number)
    path = f"projects/p{number}/**/*.{('csv', 'json')[number % 2]}"
    trigger = {"types": ["file.written"], "path": path, "uid": [USER]}
    return Workflow.model_validate({**about, "triggers": [trigger]})


def measure() -> list[Sample]:
    """µs per question for each number of rules, every one of which listens to writes somewhere."""
    return trio.run(_measure)


async def _measure() -> list[Sample]:
    samples, loaded = [], 0
    with service() as (bus, dispatcher):
        asked = Interest(bus).in_data
        for count in COUNTS:
            for number in range(loaded, count):
                dispatcher.install(listener(number))
            loaded = count
            for name, (path, uid) in CASES.items():
                cost = statistics.median(_cost(asked, path, uid) for _ in range(ROUNDS))
                cell = Cell("engine", f"who listens, {count:,} rules, {name}", "µs", higher=False)
                samples.append(Sample(cell, "vexfs", cost))
    return samples


def _cost(asked: Callable[[str, str, Maker], bool], path: str, uid: int) -> float:
    """µs of processor time."""
    start = time.process_time_ns()
    for _ in range(QUESTIONS):
        asked(path, "", Maker(uid, uid))
    return (time.process_time_ns() - start) / QUESTIONS / 1000


if __name__ == "__main__":
    for sample in measure():
        print(f"{sample.value:8.2f} µs  {sample.cell.name}")
