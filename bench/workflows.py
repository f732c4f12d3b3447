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
import contextlib
import gc
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import trio

from automation.events import SemanticEvent
from automation.service import Service
from bench.commands import compile_c
from bench.machine import facts
from bench.serving import prepare, serving

REPOSITORY: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUNS: Final = 10_000
MANY: Final = "concurrency: {policy: parallel, limit: 10000, queue: 100000}\n"
ONE: Final = "triggers: {types: user.go}\n" + MANY
WAITS: Final = ONE + "steps:\n  - {name: mark, emit_event: {event: user.mark}}\n  - {name: rest, wait: 1h}\n"
TWO: Final = ONE + "steps:\n  - {name: a, emit_event: {event: user.a}}\n  - {name: b, emit_event: {event: user.b}}\n"
COPIES: Final = (
    "triggers: {path: 'in/*'}\n"
    + MANY
    + "steps:\n  - {name: out, write: {path: 'out/{{ event.name }}', content: done}}\n"
)
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


# On a mount


@contextlib.contextmanager
def _mounted(directory: str, *options: str) -> Iterator[tuple[str, str]]:
    """A mount with the workflow `copies`: the mountpoint and its source."""
    prepare(directory, {"copies": COPIES})
    source, point = os.path.join(directory, "root"), os.path.join(directory, "mnt")
    for path in (point, f"{source}/in", f"{source}/out", f"{source}/load"):
        os.makedirs(path)
    command = [sys.executable, f"{REPOSITORY}/mount.py", "--foreground", source, point, "--log-level", "error"]
    command += ["--workflows", f"{directory}/workflows", "--state-dir", f"{directory}/state", *options]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not os.path.ismount(point) or not os.path.exists(f"{point}/.vexfs/README"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the mount did not come up")
            time.sleep(0.02)
        yield point, source
    finally:
        subprocess.run(["fusermount3", "-u", "-z", point], check=False)
        server.wait(30)


def latency(directory: str, rate: int = 5000, files: int = 1000) -> dict[str, float]:
    """From close(2) on the mount to the name in the source, while `rate` events a second happen elsewhere on it: files
    are opened, written over and closed, each write an event. (Names that come and go would have to be written to the
    disk whenever a run is synced, and it would be the disk that is measured.) `sync_ms` is what the disk takes to sync
    one block meanwhile: an action waits for it twice, for its run and for its file.
    """
    load = compile_c(f"{REPOSITORY}/bench/load.c", f"{directory}/load", [])
    with _mounted(directory, "--io", "traced") as (point, source):
        each = _events_each(load, point)
        feeder = subprocess.Popen([load, f"{point}/load", str(rate / each), "0"])
        try:
            time.sleep(2)
            events, clock = _events(point), time.monotonic()
            times = [_one(point, source, number) for number in range(files)]
            happened = (_events(point) - events) / (time.monotonic() - clock)
            sync = _sync(directory)
        finally:
            feeder.kill()
            feeder.wait()
    return {
        "events_per_second": happened,
        "p50_ms": _quantile(times, 0.5) * 1e3,
        "p99_ms": _quantile(times, 0.99) * 1e3,
        "max_ms": max(times) * 1e3,
        "sync_ms": sync * 1e3,
    }


def _sync(directory: str) -> float:
    """The median seconds of fdatasync(2) after a block was appended."""
    times = []
    with open(f"{directory}/sync", "wb", buffering=0) as file:
        for _ in range(50):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def _events_each(load: str, point: str, count: int = 500) -> float:
    """How many events one turn of the load is."""
    before = _events(point)
    subprocess.run([load, f"{point}/load", "2000", str(count)], check=True)
    time.sleep(0.2)  # the last close is told of a moment later
    return (_events(point) - before) / count


def _one(point: str, source: str, number: int) -> float:
    """Seconds until one file has been acted on. Looks every 0.2 ms, which the figure includes."""
    fd = os.open(f"{point}/in/f{number}", os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(fd, b"x")
    began = time.perf_counter()
    os.close(fd)
    wanted = f"{source}/out/f{number}"
    while not os.path.exists(wanted):
        if time.perf_counter() - began > 10:
            raise SystemExit("nothing was done within 10 s")
        time.sleep(0.0002)
    took = time.perf_counter() - began
    time.sleep(random.uniform(0.002, 0.008))
    return took


def _events(point: str) -> int:
    with open(f"{point}/.vexfs/status", encoding="utf-8") as file:
        line = next(line for line in file if line.startswith("events"))
    return int(line.split()[1].replace(",", ""))


def fio(directory: str, rounds: int = 7, seconds: float = 2.0) -> dict[str, float]:
    """fio's random reads and writes, with and without 1,000 runs a minute, in alternation."""
    with _mounted(directory) as (point, _):
        stop, go = threading.Event(), threading.Event()
        thread = threading.Thread(target=_trigger, args=(point, stop, go))
        thread.start()
        ratios: dict[str, list[float]] = {"randread": [], "randwrite": []}
        try:
            _fio(point, "randwrite", 1)
            for number in range(rounds):
                for kind, found in ratios.items():
                    speeds = {}
                    for busy in (False, True) if number % 2 else (True, False):
                        (go.set if busy else go.clear)()
                        speeds[busy] = _fio(point, kind, seconds)
                    found.append(1 - speeds[True] / speeds[False])
        finally:
            stop.set()
            go.set()
            thread.join()
    return {f"{kind}_loss_percent": statistics.median(found) * 100 for kind, found in ratios.items()}


def _trigger(point: str, stop: threading.Event, go: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        go.wait()
        with open(f"{point}/in/g{number}", "w", encoding="ascii") as file:
            file.write("x")
        number += 1
        time.sleep(60 / 1000)


def _fio(point: str, kind: str, seconds: float) -> float:
    command = ["fio", "--name=x", f"--filename={point}/load/data", "--size=64m", "--bs=4k", f"--rw={kind}"]
    command += ["--time_based", f"--runtime={seconds}", "--ioengine=psync", "--output-format=json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["jobs"][0][kind.removeprefix("rand")]["iops"])


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
