"""What tenants cost, and what one at all its limits costs another: `python -m bench.tenants [SECONDS]`.

First, in this process: what an event costs more for there being tenants, with 1 to 1,000 of them. Then on a real mount
over tmpfs: how long it takes from the save of a file of the tenant ben to the file that his workflow writes for it,
first while the tenant ann does nothing, then while her processes save files and her automations are paused, then while
those are at every limit at once: events, rules, partial matches, runs, share of the loop, CPU seconds and memory of
scripts, HTTP calls, bytes of the journal; until their CPU time is used up, and thereafter. SECONDS is how long each of
the phases is, but for that while they compute; there are two rounds of all, each on a new mount. Needs root.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
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
from automation.metering import CURRENT, Metering
from automation.permissions import PUBLIC
from automation.tenants.forms import LimitsForm
from automation.tenants.forwarding import Forwarding
from automation.tenants.owners import Owners
from automation.tenants.share import Share
from automation.tenants.tenant import Tenant
from bench.live import live

COUNTS: Final = (1, 10, 100, 1000)
EVENTS: Final = 5_000
TURNS: Final = 15
ANN: Final = 1  # daemon
BEN: Final = 2  # bin
PAUSE: Final = 0.05  # seconds between two of ben's saves
SAVES: Final = 240  # a second, of ann, who may have 200 events
CPU: Final = 0.3  # seconds that her scripts and commands get for each of a phase
PATIENCE: Final = 60.0  # seconds until those must be used up
NEAR: Final = 0.9  # of a limit is at it

CONFIGURATION: Final = """
[tenants.ann]
uids = ["daemon"]
paths = ["ann"]
allow-hosts = ["127.0.0.1"]
[tenants.ann.limits]
events-per-second = 200
loop-share = 0.1
rules = 1000
partial-matches = 100
concurrent-runs = 16
cpu-seconds = SECONDS
memory = "256MiB"
http-calls = 20
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
PAIRS: Final = 20  # patterns, each of which begins a partial match with every event: few events fill what she may have
PAIR: Final = """
  pair{i}:
    steps: [{{step: a, event: file.closed, path: "ann/**"}}, {{step: b, event: file.deleted, path: "ann/never"}}]
    within: 1h
"""
FOR_EACH: Final = """
name: {name}
triggers: {{path: "ann/in/*", types: file.closed, key: event.path}}
concurrency: {{policy: parallel, limit: {limit}, queue: 1000}}
steps: [{{{step}, on_error: continue}}]
"""
HOLDERS: Final = 3  # scripts that only hold their memory; beside them one computes, and all four fill it
STEPS: Final = {
    "spin": """lua: {script: "local t = string.rep('x', 4e7) for i = 1, 2e7 do t = t end return #t"}""",
    "hold": """lua: {script: "local t = string.rep('x', 4e7) wait(3) return #t"}""",
    "shell": """command: {argv: "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done", shell: true}""",
    "sleep": """command: {argv: [sleep, "0.5"]}""",
    "call": """http: {url: "http://127.0.0.1:PORT/"}""",
    "copy": """write: {path: "ann/out/{{ event.name }}", content: x}""",
}


def rules(count: int) -> str:
    """A book that asks every event of ann's something, which no index answers."""
    lines = ["rules:"]
    for i in range(count):
        condition = f"event.path.endsWith('never{i}')"
        lines.append(f"""  - {{name: r{i}, on: file.closed, paths: 'ann/**', conditions: "{condition}"}}""")
    return "\n".join(lines) + "\n"


def definitions(port: int) -> dict[str, str]:
    """All of ann's, as many as she may have, by file."""
    found = {
        name: FOR_EACH.format(name=name, step=step.replace("PORT", str(port)), limit=HOLDERS if name == "hold" else 64)
        for name, step in STEPS.items()
    }
    pairs = "patterns:" + "".join(PAIR.format(i=i) for i in range(PAIRS))
    return {**found, "pairs": pairs, "rules": rules(1000 - len(found) - 1)}


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
def mount(root: Path, port: int, cpu_seconds: float) -> Iterator[Path]:
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
    for file, text in definitions(port).items():
        (own / f"{file}.yaml").write_text(text)
    (state / "tenants/ben/workflows/answer.yaml").write_text(ANSWER)
    (root / "vexfs.toml").write_text(CONFIGURATION.replace("SECONDS", str(cpu_seconds)))
    options = ("--config", f"{root}/vexfs.toml", "--workflows", str(flows), "--state-dir", str(state))
    with live(str(source), str(point), "-o", "allow_other", *options):
        yield point


def become(uid: int) -> None:
    """Be a user for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def flood(folder: Path) -> None:
    """Ann's process, in a session of its own as of any login: saves at an even rate, until killed."""
    os.setsid()
    become(ANN)
    files = [str(folder / "in" / str(number)) for number in range(500)]
    began, made = time.monotonic(), 0
    while True:
        fd = os.open(files[made % len(files)], os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"x" * 100)
        os.close(fd)
        made += 1
        time.sleep(max(0.0, began + made / SAVES - time.monotonic()))


class Use:
    """The most that ann used of each of her limits, by what was seen every so many seconds; and the limits."""

    def __init__(self, point: Path, every: float = 1.0) -> None:
        self._metrics: Final = point / ".vexfs/metrics"
        self._every: Final = every
        self._next = 0.0
        self.most: Final[dict[str, float]] = {}
        self.limits: Final[dict[str, float]] = {}
        self.spent = False  # whether the CPU time of her scripts and commands is used up

    def look(self) -> None:
        """See, if it is time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        for line in self._metrics.read_text().splitlines():
            if line.startswith(("vexfs_tenant_use{", "vexfs_tenant_limit{")) and 'tenant="ann"' in line:
                what, value = line.partition('what="')[2].split('"} ')
                if line.startswith("vexfs_tenant_limit"):
                    self.limits[what] = float(value)
                else:
                    self.most[what] = max(self.most.get(what, 0.0), float(value))
        self.spent = self.most["cpu_seconds"] >= self.limits["cpu_seconds"]

    def missed(self) -> list[str]:
        """The limits that she did not come to."""
        return [what for what, limit in self.limits.items() if self.most[what] < NEAR * limit]


def latencies(point: Path, source: Path, label: str, goes_on: Callable[[float], bool], use: Use) -> list[float]:
    """Milliseconds from the end of each of ben's saves to the answer, while it goes on."""
    found: list[float] = []
    since, number = time.monotonic(), 0
    while goes_on(time.monotonic() - since):
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
        use.look()
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


@dataclasses.dataclass
class Found:
    """Ben's latencies by what ann does."""

    alone: list[float] = dataclasses.field(default_factory=list)
    paused: list[float] = dataclasses.field(default_factory=list)
    computing: list[float] = dataclasses.field(default_factory=list)
    spent: list[float] = dataclasses.field(default_factory=list)
    missed: list[str] = dataclasses.field(default_factory=list)

    def round(self, seconds: float, port: int) -> Use:
        """Ben alone; beside the files that ann saves, her automations paused; beside those too, while they compute and
        when they may no more. What she used.
        """
        with contextlib.ExitStack() as stack:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm", prefix="vexfs-tenants-")))
            point = stack.enter_context(mount(root, port, CPU * seconds))
            use = Use(point)
            measured = functools.partial(latencies, point, root / "source", use=use)
            measured("warm", lambda passed: passed < 1.0)
            self.alone += measured("alone", lambda passed: passed < seconds)
            control = point / ".vexfs/tenants/ann/ctl"
            control.write_text("pause\n")
            ann = multiprocessing.Process(target=flood, args=(point / "ann",), daemon=True)
            ann.start()
            try:
                self.paused += measured("paused", lambda passed: passed < seconds)
                control.write_text("resume\n")
                measured("begin", lambda passed: passed < 1.0)
                self.computing += measured("computing", lambda passed: not use.spent and passed < PATIENCE)
                self.spent += measured("spent", lambda passed: passed < seconds)
            finally:
                assert ann.pid is not None
                os.kill(ann.pid, signal.SIGKILL)
                ann.join()
        self.missed += use.missed()
        return use


def row(name: str, found: list[float]) -> None:
    """Print what a phase was like."""
    ordered = sorted(found)
    slow, mean = ordered[int(len(ordered) * 0.95)], statistics.fmean(ordered)
    middle = statistics.median(ordered)
    print(f"ben {name:<34} {middle:7.2f} ms   95 % {slow:7.2f} ms   mean {mean:7.2f} ms   of {len(ordered)}")


def main(seconds: float) -> int:
    """Print what was seen; 1 when a bar, or one of ann's limits, was missed."""
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    most = check()
    found = Found()
    with server() as port:
        for _ in range(2):
            use = found.round(seconds, port)
    beside = found.computing + found.spent
    row("alone", found.alone)
    row("beside ann's saves, all paused", found.paused)
    row("beside ann at her limits", beside)
    row("… while her scripts compute", found.computing)
    row("… once their CPU time is used up", found.spent)
    ratio, without = (statistics.median(beside) / statistics.median(one) for one in (found.alone, found.paused))
    print("ann, at most:")
    for what, limit in use.limits.items():
        print(f"  {what:<20}{use.most[what]:>16,.2f} of {limit:,.2f}")
    if found.missed:
        print(f"she did not come to her limits of {', '.join(found.missed)}: this says nothing")
    print(f"ben's latency beside ann is {without:.2f} times that beside what she saves, which no limit bounds, and")
    print(f"{ratio:.2f} times that alone (bar: 1.5); load average {os.getloadavg()[0]:.1f}")
    return 0 if ratio <= 1.5 and most < 1 and not found.missed else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
