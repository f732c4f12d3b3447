"""What runs cost: `python -m bench.workflows [--only NAME,...] [--out FILE]`; 0 when the bars hold.

| part | what | bar |
|---|---|---|
| `waiting` | 10,000 runs that wait at the same time | < 300 MB more, the loop never later than 10 ms |
| `durable` | two-step runs, each step's start and result on the disk | >= 2,000 a second |
| `recovery` | from a kill with 10,000 runs under way until all go on | < 5 s |
| `latency` | close(2) on a mount to the action's file, under 5,000 events/s | p50 < 5 ms, p99 < 50 ms |
| `fio` | what 1,000 runs a minute take from fio on the same mount | < 5 % |

Each part is a process of its own. The state is on the disk that TMPDIR or --directory names, with full sync.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, Final

import trio

from automation.events import SemanticEvent
from automation.service import Service
from bench.machine import facts
from bench.serving import prepare, serving
from bench.workflows_mounted import fio, latency

REPOSITORY: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUNS: Final = 10_000
MANY: Final = "concurrency: {policy: parallel, limit: 10000, queue: 100000}\n"
ONE: Final = "triggers: {types: user.go}\n" + MANY
WAITS: Final = ONE + "steps:\n  - {name: mark, emit_event: {event: user.mark}}\n  - {name: rest, wait: 1h}\n"
TWO: Final = ONE + "steps:\n  - {name: a, emit_event: {event: user.a}}\n  - {name: b, emit_event: {event: user.b}}\n"
Bars = dict[str, tuple[float, bool]]  # what a figure must reach; whether more is better


# Without a mount


def waiting(directory: str) -> dict[str, float]:
    """Memory and lateness of the loop while 10,000 runs begin, and while they wait."""
    prepare(directory, {"waits": WAITS})

    async def main() -> dict[str, float]:
        async with serving(directory) as service:
            gc.collect()
            before = _resident()
            lags: list[float] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_beat, lags)
                await trio.sleep(2)
                idle = lags.copy()
                lags.clear()
                began = time.perf_counter()
                for _ in range(RUNS):
                    service.bus.publish(SemanticEvent("user.go"))
                    await trio.sleep(0.0005)
                await _until(lambda: _resting(service) == RUNS)
                begun = time.perf_counter() - began
                beginning = lags.copy()
                lags.clear()
                await trio.sleep(5)
                nursery.cancel_scope.cancel()
            gc.collect()
            found = {
                "runs": RUNS,
                "growth_mb": (_resident() - before) / 1e6,
                "lag_ms_max": max(lags) * 1e3,
                "lag_ms_p99": _quantile(lags, 0.99) * 1e3,
                "idle_lag_ms_max": max(idle) * 1e3,
                "beginning_s": begun,
                "beginning_lag_ms_p99": _quantile(beginning, 0.99) * 1e3,
                "beginning_lag_ms_max": max(beginning) * 1e3,
            }
            _report(found)  # what follows only tidies up
            os._exit(0)
        raise AssertionError

    return trio.run(main)


def durable(directory: str) -> dict[str, float]:
    """How many two-step runs a second end durably when more wait than can be done."""
    prepare(directory, {"two": TWO})

    async def main() -> dict[str, float]:
        async with serving(directory) as service:
            assert service.journal is not None
            writer, counts = service.journal.writer, service.runner.counts
            rates, cpu = [], time.process_time()
            for _ in range(3):
                target, commits = counts["two", "succeeded"] + RUNS // 2, writer.commits
                began = time.perf_counter()
                for number in range(RUNS // 2):
                    service.bus.publish(SemanticEvent("user.go"))
                    if number % 256 == 255:
                        await trio.lowlevel.checkpoint()
                while counts["two", "succeeded"] < target:  # noqa: ASYNC110 - the service is measured as it is
                    await trio.sleep(0.02)
                rates.append((RUNS // 2) / (time.perf_counter() - began))
            return {
                "runs_per_second": statistics.median(rates),
                "runs_per_commit": RUNS // 2 / (writer.commits - commits),
                "cpu_us_per_run": (time.process_time() - cpu) / (RUNS // 2 * 3) * 1e6,
            }

    return trio.run(main)


def recovery(directory: str) -> dict[str, float]:
    """A process is killed while 10,000 runs wait; the next one has them all again."""
    prepare(directory, {"waits": WAITS})
    child = os.fork()
    if not child:

        async def begin() -> None:
            async with serving(directory) as service:
                for _ in range(RUNS):
                    service.bus.publish(SemanticEvent("user.go"))
                    await trio.sleep(0.0002)
                await _until(lambda: _resting(service) == RUNS)
                os.kill(os.getpid(), signal.SIGKILL)

        trio.run(begin)
    os.waitpid(child, 0)

    async def main() -> dict[str, float]:
        began, cpu = time.perf_counter(), time.process_time()
        async with serving(directory) as service:
            started = time.perf_counter() - began
            await _until(lambda: _resting(service) == RUNS)
            took, cpu = time.perf_counter() - began, time.process_time() - cpu
            _report({"runs": RUNS, "started_s": started, "recovered_s": took, "cpu_s": cpu})
            os._exit(0)
        raise AssertionError

    return trio.run(main)


def _resting(service: Service) -> int:
    return sum(run.status == "waiting" for run in service.runner.active.values())


async def _beat(lags: list[float]) -> None:
    while True:
        expected = trio.current_time() + 0.005
        await trio.sleep_until(expected)
        lags.append(trio.current_time() - expected)


async def _until(done: Callable[[], bool]) -> None:
    with trio.fail_after(120):
        while not done():  # noqa: ASYNC110 - the service is measured as it is
            await trio.sleep(0.02)


# All of it

PARTS: Final[dict[str, Callable[[str], dict[str, float]]]] = {
    "waiting": waiting,
    "durable": durable,
    "recovery": recovery,
    "latency": latency,
    "fio": fio,
}
BARS: Final[dict[str, Bars]] = {
    "waiting": {"growth_mb": (300, False), "lag_ms_max": (10, False)},
    "durable": {"runs_per_second": (2000, True)},
    "recovery": {"recovered_s": (5, False)},
    "latency": {"events_per_second": (5000, True), "p50_ms": (5, False), "p99_ms": (50, False)},
    "fio": {"randread_loss_percent": (5, False), "randwrite_loss_percent": (5, False)},
}


def _measure(part: str, directory: str | None) -> dict[str, float]:
    """One part, in a process and a directory of its own."""
    inside = tempfile.mkdtemp(prefix=f"vexfs-{part}-", dir=directory)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.workflows", "--part", part, inside],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
        return found
    finally:
        shutil.rmtree(inside, ignore_errors=True)


def _report(found: dict[str, float]) -> None:
    print(json.dumps({name: round(value, 3) for name, value in found.items()}), flush=True)


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main() -> int:
    """0 when all bars hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), metavar="NAME,...")
    parser.add_argument("--directory", metavar="DIR", help="where state and data lie (default: TMPDIR)")
    parser.add_argument("--out", metavar="FILE", help="write the figures there as JSON")
    parser.add_argument("--part", nargs=2, metavar=("NAME", "DIR"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        _report(PARTS[given.part[0]](given.part[1]))
        return 0
    missed = 0
    results: dict[str, Any] = {}
    for part in given.only.split(","):
        found = results[part] = _measure(part, given.directory)
        for name, value in found.items():
            bar, more = BARS[part].get(name, (None, False))
            verdict = "" if bar is None else "met" if (value >= bar if more else value < bar) else "MISSED"
            missed += verdict == "MISSED"
            print(f"{part:<10}{name:<26}{value:>12,.2f}  {'' if bar is None else f'bar {bar:g} {verdict}'}")
        missed += not found
    if given.out:
        with open(given.out, "w", encoding="utf-8") as file:
            json.dump({"machine": facts(given.directory or tempfile.gettempdir()), "results": results}, file, indent=2)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
