"""Ten times what the automations can do, for a minute, on a real mount: `python -m bench.overload [SECONDS]`.

Two mounts over tmpfs, one without automations, one with a low-priority workflow on every save, twenty analytics streams
and a critical workflow. Writers save files as fast as they can in both, one mount after the other; meanwhile a probe
makes, writes and removes a file of its own every 10 ms and takes the time. Said: the latency of the probe on both,
the mount's memory, whether each critical save had its run, and what was given up.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.live import live

WRITERS: Final = 2
LOW: Final = """
name: low
priority: low
triggers: {path: "flood/**", types: file.closed, key: event.path}
concurrency: {policy: parallel, limit: 4, queue: 1000}
steps: [{write: {path: "low/{{ event.name }}", content: "{{ event.size }}"}}]
"""
CRITICAL: Final = """
name: critical
priority: critical
triggers: {path: "critical/**", types: file.closed}
concurrency: {policy: parallel, limit: 16}
steps: [{write: {path: "answers/{{ event.name }}", content: "{{ event.path }}"}}]
"""


@dataclass(frozen=True, slots=True)
class Played:
    """What was seen on one mount: latencies of the probe in ms, saves, critical saves and answers, memory in MB."""

    latencies: list[float]
    saves: int
    critical: int
    answers: int
    memory: float
    status: str
    metrics: str


def analytics() -> str:
    """Twenty streams over every save."""
    lines = ["kind: analytics", "name: load", "streams:"]
    for i in range(20):
        lines += [f"  s{i}:", "    events: file", "    path: 'flood/**'", f"    window: {{tumbling: {1 + i}s}}"]
        lines += ["    anomalies: [{measure: count, type: volume_spike}]"]
    return "\n".join([*lines, ""])


@contextlib.contextmanager
def mount(root: Path, definitions: dict[str, str]) -> Iterator[tuple[Path, int]]:
    """A mount of its own, and its process."""
    source, point, flows = root / "source", root / "mount", root / "workflows"
    for path in (source, point, flows):
        path.mkdir(parents=True)
    for name, text in definitions.items():
        (flows / name).write_text(text)
    options = ("--workflows", str(flows), "--state-dir", str(root / "state"))
    with live(str(source), str(point), *options) as process:
        yield point, process


def write(folder: Path, until: float, count: Any) -> None:
    """Save files until then."""
    folder.mkdir(parents=True, exist_ok=True)
    made = 0
    while time.monotonic() < until:
        (folder / f"{os.getpid()}-{made % 5000}").write_text("x" * 100)
        made += 1
    count.put(made)


def play(point: Path, pid: int, seconds: float) -> Played:
    """The flood, the probe, and a critical save each 100 ms."""
    until = time.monotonic() + seconds
    count: Any = multiprocessing.Queue()
    for name in ("critical", "probe"):
        (point / name).mkdir()
    writers = [multiprocessing.Process(target=write, args=(point / f"flood/{i}", until, count)) for i in range(WRITERS)]
    for writer in writers:
        writer.start()
    latencies: list[float] = []
    critical, memory, turn = 0, 0.0, 0
    while time.monotonic() < until:
        began = time.perf_counter()
        probe = point / "probe" / "file"
        probe.write_text("probe")
        probe.unlink()
        latencies.append((time.perf_counter() - began) * 1000)
        if turn % 10 == 0:
            (point / "critical" / str(critical)).write_text("x")
            critical += 1
            statm = Path(f"/proc/{pid}/statm").read_text().split()
            memory = max(memory, int(statm[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)
        turn += 1
        time.sleep(0.01)
    for writer in writers:
        writer.join()
    saves = sum(count.get() for _ in writers)
    answers = point / "answers"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and answers.exists() and len(os.listdir(answers)) < critical:
        time.sleep(0.2)
    answered = len(os.listdir(answers)) if answers.exists() else 0
    control = point / ".vexfs"
    return Played(
        latencies,
        saves,
        critical,
        answered,
        memory,
        (control / "status").read_text(),
        (control / "metrics").read_text(),
    )


def main(seconds: float) -> int:
    """Print what was seen; 1 when a promise was not kept."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="vexfs-overload-") as folder:
        with mount(Path(folder, "bare"), {}) as (point, pid):
            bare = play(point, pid, seconds)
        definitions = {"low.yaml": LOW, "critical.yaml": CRITICAL, "load.yaml": analytics()}
        with mount(Path(folder, "full"), definitions) as (point, pid):
            full = play(point, pid, seconds)
    for name, one in (("no automations", bare), ("overloaded", full)):
        ordered = sorted(one.latencies)
        middle, slow = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
        rate = f"{one.saves / seconds:>10,.0f} saves/s"
        print(f"{name:<16}{rate}   probe {middle:.2f} ms, 99 % {slow:.2f} ms   {one.memory:.0f} MB")
    ratio = statistics.median(full.latencies) / statistics.median(bare.latencies)
    print(f"the probe's latency under overload: {ratio:.2f} times that without automations (bar: 2)")
    print(f"critical saves {full.critical}, answered {full.answers} (bar: all)")
    shown = [line for line in full.status.splitlines() if re.match(r"state|shedding|dropped|waiting|runs", line)]
    print("\n".join(shown))
    kept = ratio <= 2 and full.critical == full.answers
    print("kept" if kept else "NOT KEPT")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
