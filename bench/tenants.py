"""What tenants cost, and what one at all its limits costs another: `python -m bench.tenants [SECONDS]`.

First, in this process: what an event costs more for there being tenants, with 1 to 1,000 of them. Then on a real mount
over tmpfs: how long it takes from the save of a file of the tenant ben to the file that his workflow writes for it,
first while the tenant ann does nothing, then while her processes keep her at every limit at once: events, rules,
partial matches, runs, share of the loop, CPU seconds and memory of scripts, HTTP calls, bytes of the journal. SECONDS
is how long each of the phases is; there are two rounds of both, each on a new mount. Needs root.
"""

from __future__ import annotations

import contextlib
import http.server
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import trio

from automation.bus import Bus
from automation.events import SemanticEvent
from automation.identity import Identity
from automation.permissions import PUBLIC
from automation.tenants.forms import LimitsForm
from automation.tenants.forwarding import Forwarding
from automation.tenants.owners import Owners
from automation.tenants.share import CURRENT, Metering, Share
from automation.tenants.tenant import Tenant
from bench.live import live

COUNTS: Final = (1, 10, 100, 1000)
EVENTS: Final = 5_000
TURNS: Final = 15
ANN: Final = 1  # daemon
BEN: Final = 2  # bin
PAUSE: Final = 0.05  # seconds between two of ben's saves
SAVES: Final = 300  # a second, of ann, who may have 200 events

CONFIGURATION: Final = """
[tenants.ann]
uids = ["daemon"]
paths = ["ann"]
allow-hosts = ["127.0.0.1"]
[tenants.ann.limits]
events-per-second = 200
concurrent-runs = 16
cpu-seconds = 5
http-calls = 50
partial-matches = 1000
journal = "256KiB"
[tenants.ben]
uids = ["bin"]
paths = ["ben"]
"""
ANSWER: Final = """
name: answer
triggers: {path: "ben/in/*", types: file.closed}
concurrency: {policy: parallel, limit: 16}
steps: [{write: {path: "ben/out/{{ event.name }}", content: x}}]
"""
GREEDY: Final = """
patterns:
  pair:
    steps: [{step: a, event: file.closed, path: "ann/**"}, {step: b, event: file.deleted, path: "ann/never"}]
    within: 1h
"""
SPIN: Final = """
name: spin
triggers: {path: "ann/**", types: file.closed, key: event.path}
concurrency: {policy: parallel, limit: 64, queue: 1000}
steps:
  - {lua: {script: "local t = {} for i = 1, 1e6 do t[i % 1000] = i end"}, on_error: continue}
  - {http: {url: "http://127.0.0.1:PORT/"}, on_error: continue}
  - {command: {argv: [sleep, "0.5"]}, on_error: continue}
"""
COPY: Final = """
name: copy
triggers: {path: "ann/in/*", types: file.closed, key: event.path}
concurrency: {policy: parallel, limit: 64, queue: 1000}
steps: [{write: {path: "ann/out/{{ event.name }}", content: x}}]
"""


def rules(count: int) -> str:
    """A book that asks every event of ann's something."""
    lines = ["rules:"]
    for i in range(count):
        lines.append(f"  - {{name: r{i}, on: file.closed, paths: 'ann/**', conditions: 'event.size > {i + 1000}'}}")
    return "\n".join(lines) + "\n"


# What an event costs


def per_call(works: dict[str, Callable[[int], object]]) -> dict[str, float]:
    """Microseconds of processor time of one call of each, the best of many short turns in alternation."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(TURNS):
        for name, work in works.items():
            began = time.process_time()
            for i in range(EVENTS):
                work(i)
            best[name] = min(best[name], (time.process_time() - began) / EVENTS * 1e6)
    return best


def tenants(count: int) -> list[Tenant]:
    """Each with a directory and a uid."""
    own = Identity(1, 1)
    return [
        Tenant(f"t{i}", frozenset((5000 + i,)), frozenset(), (f"tenants/t{i}",), own, LimitsForm(), PUBLIC)
        for i in range(count)
    ]


def publishing(count: int, path: str, uid: int) -> Callable[[int], None]:
    """Says whose an event is, makes and publishes it; the operator and each tenant have a reader who takes nothing."""
    bus = Bus()
    bus.subscribe("operator", ("file",), accept=lambda event: False)
    owner: Callable[[str, int, int], str] | None = None
    if count:
        forwarding = Forwarding(bus, Owners(tenants(count)))
        for one in tenants(count):
            lane = forwarding.join(one.name, 1e9, Share(1.0))
            lane.bus.subscribe("reader", ("file",), accept=lambda event: False)
        owner = forwarding.owner
    paths = [path.format(i % max(count, 1)) for i in range(1000)]

    def publish(i: int) -> None:
        at = paths[i % 1000]
        tenant = "" if owner is None else owner(at, uid, 0)
        bus.publish(SemanticEvent("file.closed", at, uid=uid, tenant=tenant))

    return publish


async def metering(share: Share | None) -> float:
    """Microseconds that measuring adds to each step of a task of a tenant, or of nobody's."""

    async def steps() -> float:
        began = time.process_time()
        for _ in range(EVENTS):
            await trio.lowlevel.cancel_shielded_checkpoint()
        return (time.process_time() - began) / EVENTS * 1e6

    CURRENT.set(share)
    instrument: Any = Metering()
    bare, measured = [], []
    for _ in range(TURNS):
        bare.append(await steps())
        trio.lowlevel.add_instrument(instrument)
        measured.append(await steps())
        trio.lowlevel.remove_instrument(instrument)
    return min(measured) - min(bare)


def check() -> float:
    """Print the cost of an event by the number of tenants; the greatest addition in µs."""
    works: dict[str, Callable[[int], object]] = {"none": publishing(0, "elsewhere/{}/file", 0)}
    for count in COUNTS:
        works[f"{count} nobody"] = publishing(count, "elsewhere/{}/file", 0)
        works[f"{count} path"] = publishing(count, "tenants/t{}/file", 0)
        works[f"{count} uid"] = publishing(count, "elsewhere/{}/file", 5000)
        of = Owners(tenants(count)).of
        works[f"{count} whose"] = lambda i, of=of: of("tenants/t0/a/file", 0, 0)  # type: ignore[misc]
    costs = per_call(works)
    print("µs an event, made and published     nobody's   a tenant's: by path   by uid   (whose it is, alone)")
    print(f"without tenants                   {costs['none']:10.2f}")
    for count in COUNTS:
        cells = [costs[f"{count} {what}"] for what in ("nobody", "path", "uid", "whose")]
        print(
            f"{count:>5} tenants                     {cells[0]:10.2f} {cells[1]:21.2f} {cells[2]:8.2f} {cells[3]:15.2f}"
        )
    most = max(costs[f"{count} nobody"] for count in COUNTS) - costs["none"]
    print(f"the check adds {most:.2f} µs (bar: 1); the rest is its tenant's limits, bus and reader")
    own, others = trio.run(metering, Share(1.0)), trio.run(metering, None)
    print(f"measuring the share of the loop: {own:.2f} µs for each step of a tenant's task, {others:.2f} µs of others")
    return most


# What one at its limits costs another


@contextlib.contextmanager
def mount(root: Path, port: int) -> Iterator[Path]:
    """A mount with both tenants and their definitions; the mountpoint."""
    source, point, flows, state = root / "source", root / "mount", root / "workflows", root / "state"
    for path in (source, point, flows):
        path.mkdir(parents=True)
    root.chmod(0o755)
    for name, uid in (("ann", ANN), ("ben", BEN)):
        for path in (source / name, source / name / "in", source / name / "out"):
            path.mkdir()
            os.chown(path, uid, uid)
        (state / "tenants" / name / "workflows").mkdir(parents=True)
    own = state / "tenants/ann/workflows"
    for file, text in (
        ("rules", rules(996)),
        ("pair", GREEDY),
        ("spin", SPIN.replace("PORT", str(port))),
        ("copy", COPY),
    ):
        (own / f"{file}.yaml").write_text(text)
    (state / "tenants/ben/workflows/answer.yaml").write_text(ANSWER)
    (root / "vexfs.toml").write_text(CONFIGURATION)
    options = ("--config", f"{root}/vexfs.toml", "--workflows", str(flows), "--state-dir", str(state))
    with live(str(source), str(point), "-o", "allow_other", *options):
        yield point


def become(uid: int) -> None:
    """Be a user for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def flood(folder: Path) -> None:
    """Ann's process: saves at an even rate, until killed."""
    become(ANN)
    began, made = time.monotonic(), 0
    while True:
        (folder / "in" / str(made % 500)).write_text("x" * 100)
        made += 1
        time.sleep(max(0.0, began + made / SAVES - time.monotonic()))


def latencies(point: Path, source: Path, seconds: float, label: str) -> list[float]:
    """Milliseconds from the end of each of ben's saves to the answer."""
    found: list[float] = []
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        name = f"{label}-{number}"
        number += 1
        answer = source / "ben/out" / name
        (point / "ben/in" / name).write_text("x")
        began = time.perf_counter()
        while not answer.exists():
            if time.perf_counter() - began > 30:
                raise SystemExit("no answer came in 30 s")
            time.sleep(0.0002)
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(PAUSE)
    return found


@contextlib.contextmanager
def server() -> Iterator[int]:
    """A web server of this machine; its port."""

    class Quiet(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    one = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=one.serve_forever, daemon=True)
    thread.start()
    try:
        yield one.server_port
    finally:
        one.shutdown()
        one.server_close()
        thread.join()


def round_of(seconds: float, port: int) -> tuple[list[float], list[float], str]:
    """Ben alone, ben beside ann at her limits, and what the mount says of them then."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm", prefix="vexfs-tenants-")))
        point = stack.enter_context(mount(root, port))
        latencies(point, root / "source", 1.0, "warm")
        alone = latencies(point, root / "source", seconds, "alone")
        ann = multiprocessing.Process(target=flood, args=(point / "ann",), daemon=True)
        ann.start()
        try:
            latencies(point, root / "source", 3.0, "begin")
            beside = latencies(point, root / "source", seconds, "beside")
            metrics = (point / ".vexfs/metrics").read_text()
        finally:
            assert ann.pid is not None
            os.kill(ann.pid, signal.SIGKILL)
            ann.join()
    return alone, beside, metrics


def used(metrics: str) -> list[str]:
    """Ann's use beside her limits."""
    rows: dict[str, list[float]] = {}
    for line in metrics.splitlines():
        if line.startswith(("vexfs_tenant_use{", "vexfs_tenant_limit{")) and 'tenant="ann"' in line:
            what, value = line.partition('what="')[2].split('"} ')
            rows.setdefault(what, []).append(float(value))
        elif line.startswith("vexfs_tenant_events_dropped_total{") and 'tenant="ann"' in line:
            rows["events dropped"] = [float(line.rsplit(" ", 1)[1])]
    return [f"  {what:<20}" + " of ".join(f"{value:,.2f}" for value in values) for what, values in rows.items()]


def main(seconds: float) -> int:
    """Print what was seen; 1 when a bar was missed."""
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    most = check()
    alone: list[float] = []
    beside: list[float] = []
    metrics = ""
    with server() as port:
        for _ in range(2):
            first, second, metrics = round_of(seconds, port)
            alone += first
            beside += second
    for name, found in (("alone", alone), ("beside ann at limits", beside)):
        ordered = sorted(found)
        middle, slow = statistics.median(ordered), ordered[int(len(ordered) * 0.95)]
        mean = statistics.fmean(ordered)
        print(f"ben {name:<22} {middle:7.2f} ms   95 % {slow:7.2f} ms   mean {mean:7.2f} ms   of {len(ordered)}")
    ratio = statistics.median(beside) / statistics.median(alone)
    print("ann, at the end:", *used(metrics), sep="\n")
    print(f"ben's latency beside ann: {ratio:.2f} times that alone (bar: 1.5); load average {os.getloadavg()[0]:.1f}")
    return 0 if ratio <= 1.5 and most < 1 else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
