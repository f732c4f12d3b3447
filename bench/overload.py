"""Ten times what the automations keep up with, for a minute, on a real mount: `python -m bench.overload [SECONDS]`.

Over tmpfs: a mount without automations, and one with a low-priority workflow on every save, twenty analytics streams
and a critical workflow. First the rate of saves is looked for that the latter keeps up with, in the state Normal. Then
two writers save at this rate, and at ten times that rate, on both mounts; meanwhile a probe makes, writes and removes a
file of its own every 10 ms and takes the time. Said: the latency of the probe in all four, the mount's memory, which
states the system went through, whether it recovered, whether each critical save had its run, and whether every save is
accounted for: had its run, waits, or was given up and counted.

A last pair lets the writers save as fast as they can, which is not part of the promise.
"""

from __future__ import annotations

import contextlib
import json
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
TIMES: Final = 10
STEP_SECONDS: Final = 4.0
FIRST_RATE: Final = 40
MOST_RATE: Final = 5000
CALM_SECONDS: Final = 60.0
MOST_MEMORY: Final = 512  # MB
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
    """What was seen: latencies of the probe in ms, saves, the most memory in MB."""

    latencies: list[float]
    seconds: float
    saves: int
    memory: float

    @property
    def middle(self) -> float:
        """The median latency."""
        return statistics.median(self.latencies)

    def line(self, name: str) -> str:
        """For a person."""
        slow = sorted(self.latencies)[int(len(self.latencies) * 0.99)]
        rate = f"{self.saves / self.seconds:>7,.0f} saves/s"
        return f"{name:<34}{rate}   probe {self.middle:.2f} ms, 99 % {slow:.2f} ms   {self.memory:.0f} MB"


def analytics() -> str:
    """Twenty streams over every save."""
    lines = ["kind: analytics", "name: load", "streams:"]
    for i in range(20):
        lines += [f"  s{i}:", "    events: file", "    path: 'flood/**'", f"    window: {{tumbling: {1 + i}s}}"]
        lines += ["    anomalies: [{measure: count, type: volume_spike}]"]
    return "\n".join([*lines, ""])


class Mounted:
    """A mount, and what its control tree says."""

    def __init__(self, point: Path, pid: int) -> None:
        self.point: Final = point
        self.critical = self.saves = 0
        self._statm: Final = Path(f"/proc/{pid}/statm")
        for name in ("critical", "probe", "flood"):
            (point / name).mkdir()

    def read(self, name: str) -> str:
        """A file of the control tree."""
        return (self.point / ".vexfs" / name).read_text()

    @property
    def memory(self) -> float:
        """MB that the process holds."""
        return int(self._statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def states(self) -> list[str]:
        """Those of the system so far, the present one last."""
        lines = self.read("machines/system/history").splitlines()
        return ["Normal", *(json.loads(line)["new"] for line in lines)]

    def low(self) -> tuple[int, dict[str, int]]:
        """How many firings of the workflow run or wait, and what has become of the others."""
        text = self.read("workflows/low/status")
        now = re.search(r"^now +(\d+) running, (\d+) waiting(?:, dropped \((.*)\))?", text, re.MULTILINE)
        events = re.search(r"^waiting +([\d,]+) events", self.read("status"), re.MULTILINE)
        assert now is not None and events is not None
        dropped = re.findall(r"(\d[\d,]*) (\w+)", now[3] or "")
        ended = re.findall(
            r'^vexfs_runs_total{status="(\w+)",workflow="low"} (\S+)', self.read("metrics"), re.MULTILINE
        )
        lost = re.search(r'^vexfs_events_dropped_total{subscription="dispatcher"} (\S+)', self.read("metrics"), re.M)
        gone = {name: _number(count) for count, name in dropped} | {name: int(float(count)) for name, count in ended}
        gone |= {"lost": int(float(lost[1]))} if lost is not None else {}
        return int(now[1]) + int(now[2]) + _number(events[1]), gone

    def calm(self, seconds: float) -> float:
        """Wait until nothing runs or waits and the state is Normal; how long that took."""
        began = time.monotonic()
        while (self.low()[0] or self.states[-1] != "Normal") and time.monotonic() < began + seconds:
            time.sleep(0.25)
        return time.monotonic() - began


def _number(text: str) -> int:
    return int(text.replace(",", ""))


@contextlib.contextmanager
def mount(root: Path, definitions: dict[str, str]) -> Iterator[Mounted]:
    """A mount of its own."""
    source, point, flows = root / "source", root / "mount", root / "workflows"
    for path in (source, point, flows):
        path.mkdir(parents=True)
    for name, text in definitions.items():
        (flows / name).write_text(text)
    options = ("--workflows", str(flows), "--state-dir", str(root / "state"))
    with live(str(source), str(point), *options) as process:
        yield Mounted(point, process)


def write(folder: Path, until: float, rate: float, count: Any) -> None:
    """Save files until then, so many a second; 0 is as many as can be."""
    folder.mkdir(exist_ok=True)
    made, began = 0, time.monotonic()
    while (now := time.monotonic()) < until:
        if rate and made > (now - began) * rate:
            time.sleep(max(0.0, began + made / rate - now))
            continue
        (folder / f"{os.getpid()}-{made % 5000}").write_text("x" * 100)
        made += 1
    count.put(made)


def play(mounted: Mounted, seconds: float, rate: float) -> Played:
    """The writers, the probe, and a critical save each 100 ms."""
    point, until = mounted.point, time.monotonic() + seconds
    count: Any = multiprocessing.Queue()
    folders = [point / f"flood/{i}" for i in range(WRITERS)]
    writers = [multiprocessing.Process(target=write, args=(one, until, rate / WRITERS, count)) for one in folders]
    for writer in writers:
        writer.start()
    latencies: list[float] = []
    memory, turn = 0.0, 0
    while time.monotonic() < until:
        began = time.perf_counter()
        probe = point / "probe" / "file"
        probe.write_text("probe")
        probe.unlink()
        latencies.append((time.perf_counter() - began) * 1000)
        if turn % 10 == 0:
            (point / "critical" / str(mounted.critical)).write_text("x")
            mounted.critical += 1
            memory = max(memory, mounted.memory)
        turn += 1
        time.sleep(0.01)
    saves = sum(count.get() for _ in writers)
    for writer in writers:
        writer.join()
    mounted.saves += saves
    return Played(latencies, seconds, saves, memory)


def sustainable(mounted: Mounted) -> float:
    """Saves a second that the automations keep up with: nothing is dropped, nothing waits a second after."""
    mounted.calm(CALM_SECONDS)
    rate, found = float(FIRST_RATE), FIRST_RATE / 2
    while rate < MOST_RATE:
        play(mounted, STEP_SECONDS, rate)
        time.sleep(1.0)
        waiting, gone = mounted.low()
        state, more = mounted.states[-1], {name for name, count in gone.items() if count and name != "succeeded"}
        kept = waiting == 0 and state == "Normal" and not more
        why = "kept up with" if kept else " ".join(["too many:", f"{waiting} wait,", state, *sorted(more)])
        print(f"  {rate:,.0f} saves/s: {why}", flush=True)
        if not kept:
            break
        rate, found = rate * 1.4, rate
    mounted.calm(CALM_SECONDS)
    return found


def main(seconds: float) -> int:
    """Print what was seen; 1 when a promise was not kept."""
    definitions = {"low.yaml": LOW, "critical.yaml": CRITICAL, "load.yaml": analytics()}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm", prefix="vexfs-overload-"))
        bare = stack.enter_context(mount(Path(folder, "bare"), {}))
        full = stack.enter_context(mount(Path(folder, "full"), definitions))
        print("what the automations keep up with", flush=True)
        rate = sustainable(full)
        much = rate * TIMES
        calm_bare, calm_full = play(bare, seconds / 4, rate), play(full, seconds / 4, rate)
        full.calm(CALM_SECONDS)
        before = len(full.states)
        bare_1, flood = play(bare, seconds / 2, much), play(full, seconds, much)
        recovery = full.calm(CALM_SECONDS)
        states = full.states[before - 1 :]
        bare_2 = play(bare, seconds / 2, much)
        answered = _answered(full)
        waiting, gone = full.low()
        shed = [line for line in full.read("status").splitlines() if line.startswith(("shedding", "dropped"))]
        fast_bare, fast_full = play(bare, seconds / 4, 0), play(full, seconds / 4, 0)
    flood_bare = Played([*bare_1.latencies, *bare_2.latencies], seconds, bare_1.saves + bare_2.saves, bare_2.memory)
    print(calm_bare.line("no automations, sustainable load"), calm_full.line("automations, sustainable load"), sep="\n")
    print(
        flood_bare.line(f"no automations, {TIMES} times that"), flood.line(f"automations, {TIMES} times that"), sep="\n"
    )
    print(
        fast_bare.line("no automations, as fast as can be"), fast_full.line("automations, as fast as can be"), sep="\n"
    )
    ratios = flood.middle / calm_full.middle, flood.middle / flood_bare.middle
    print(f"latency under overload: {ratios[0]:.2f} times that at the sustainable load (bar: 2)")
    print(f"                        {ratios[1]:.2f} times that without automations under the same load (bar: 2)")
    print(f"as fast as can be:      {fast_full.middle / fast_bare.middle:.2f} times that without automations")
    print(f"states: {' → '.join(states)}, {recovery:.1f} s after the end")
    print(f"critical saves {answered[0]}, answered {answered[1]} (bar: all)")
    saves = answered[2]
    told = ", ".join(f"{count:,} {name}" for name, count in gone.items() if count)
    print(
        f"saves {saves:,}: {told}, {waiting:,} wait; {saves - waiting - sum(gone.values()):,} unaccounted for (bar: 0)"
    )
    print("\n".join(shed))
    kept = max(ratios) <= 2 and answered[0] == answered[1] and saves == waiting + sum(gone.values())
    kept = kept and states[-1] == "Normal" and "Degraded" in states and flood.memory < MOST_MEMORY
    print("kept" if kept else "NOT KEPT")
    return 0 if kept else 1


def _answered(mounted: Mounted) -> tuple[int, int, int]:
    """Critical saves, how many were answered once there was time, and saves of the writers."""
    answers = mounted.point / "answers"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(os.listdir(answers)) < mounted.critical:
        time.sleep(0.2)
    return mounted.critical, len(os.listdir(answers)), mounted.saves


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
