"""What runs cost on a mount: parts `latency` and `fio` of `python -m bench.workflows`."""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from bench.commands import REPOSITORY, compile_c
from bench.live import live
from bench.serving import prepare

COPIES: Final = """
triggers: {path: 'in/*'}
concurrency: {policy: parallel, limit: 10000, queue: 100000}
steps:
  - {name: out, write: {path: 'out/{{ event.name }}', content: done}}
"""
RUNS_A_MINUTE: Final = 1000
WINDOW: Final = 0.1  # seconds over which fio averages
TURN: Final = 1.0  # seconds with runs, then as many without


@contextlib.contextmanager
def mounted(directory: str, *options: str) -> Iterator[tuple[str, str]]:
    """A mount with the workflow `copies`: the mountpoint and its source."""
    prepare(directory, {"copies": COPIES})
    source, point = os.path.join(directory, "root"), os.path.join(directory, "mnt")
    for path in (point, f"{source}/in", f"{source}/out", f"{source}/load"):
        os.makedirs(path)
    arguments = ("--workflows", f"{directory}/workflows", "--state-dir", f"{directory}/state", *options)
    with live(source, point, *arguments):
        yield point, source


def latency(directory: str, rate: int = 5000, files: int = 1000) -> dict[str, float]:
    """From close(2) on the mount to the name in the source, while `rate` events a second happen elsewhere on it: files
    are opened, written over and closed, each write an event. (Names that come and go would have to be written to the
    disk whenever a run is synced, and it would be the disk that is measured.) `sync_ms` is what the disk takes to sync
    one block meanwhile: an action waits for it twice, for its run and for its file.
    """
    load = compile_c(f"{REPOSITORY}/bench/load.c", f"{directory}/load", [])
    with mounted(directory, "--io", "traced") as (point, source):
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
        "p50_ms": statistics.median(times) * 1e3,
        "p99_ms": statistics.quantiles(times, n=100)[98] * 1e3,
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


def fio(directory: str, seconds: float = 40.0) -> dict[str, float]:
    """What 1,000 runs a minute take from fio's random reads and writes. While one fio goes on, seconds with runs and
    seconds without take turns; compared is each second with the mean of the two beside it, so that neither what else
    the machine does nor how the disk fares counts for long. The median is the figure; `p25` and `p75` tell how far it
    can be believed.
    """
    found = {}
    with mounted(directory) as (point, _):
        _fio(point, "write", 2)  # lays the file out
        for kind in ("randread", "randwrite"):
            losses = _losses(_fio_with_turns(point, kind, seconds))
            quarters = statistics.quantiles(losses, n=4)
            print(f"{kind}: {len(losses)} comparisons, {quarters[1]:.1%} lost", file=sys.stderr, flush=True)
            for name, value in zip(("_loss_p25", "_loss", "_loss_p75"), quarters, strict=True):
                found[f"{kind}{name}_percent"] = value * 100
    return found


def _fio_with_turns(point: str, kind: str, seconds: float) -> list[tuple[float, bool]]:
    """For each turn the mean of fio's operations a second, and whether there were runs."""
    stop, turns = threading.Event(), [time.time()]  # in the even ones there are runs
    thread = threading.Thread(target=_take_turns, args=(point, stop, turns))
    thread.start()
    try:
        log = _fio(point, kind, seconds)
    finally:
        stop.set()
        thread.join()
    windows: dict[int, list[float]] = defaultdict(list)
    for at, speed in log:
        turn = sum(begin <= at for begin in turns) - 1
        if turn >= 0 and turns[turn] + 2 * WINDOW <= at:  # what straddles two turns is of neither
            windows[turn].append(speed)
    return [(statistics.mean(windows[turn]), turn % 2 == 0) for turn in sorted(windows)[1:-1]]


def _losses(turns: list[tuple[float, bool]]) -> list[float]:
    """The share that each turn with runs lost against the two without beside it."""
    beside = zip(turns, turns[1:], turns[2:], strict=False)
    return [1 - with_runs * 2 / (before + after) for (before, _), (with_runs, busy), (after, _) in beside if busy]


def _take_turns(point: str, stop: threading.Event, turns: list[float]) -> None:
    number = 0
    while not stop.is_set():
        due = time.monotonic()
        end = due + TURN
        while due < end and len(turns) % 2:
            with open(f"{point}/in/g{number}", "w", encoding="ascii") as file:
                file.write("x")
            number += 1
            due += 60 / RUNS_A_MINUTE
            time.sleep(max(0.0, due - time.monotonic()))
        stop.wait(end - time.monotonic())
        turns.append(time.time())


def _fio(point: str, kind: str, seconds: float) -> list[tuple[float, float]]:
    """When, in seconds since 1970, and how many operations a second, window by window."""
    with tempfile.TemporaryDirectory() as logs:
        command = ["fio", "--name=x", f"--filename={point}/load/data", "--size=64m", "--bs=4k", f"--rw={kind}"]
        command += ["--time_based", f"--runtime={seconds}", "--ioengine=psync", f"--write_iops_log={logs}/x"]
        command += [f"--log_avg_msec={WINDOW * 1000:.0f}", "--log_unix_epoch=1"]
        subprocess.run(command, capture_output=True, check=True)
        with open(f"{logs}/x_iops.1.log", encoding="ascii") as file:
            rows = [line.split(",") for line in file]
    return [(int(row[0]) / 1000, float(row[1])) for row in rows]
