"""Kills the automations without warning, again and again under load, and checks that every run came out right.

    python -m bench.crash --kills 500
    python -m bench.crash --kills 50 --mounted    on a real mount, see bench/crash_mounted.py

A child process serves a directory and is fed events; a random moment later it gets SIGKILL; the next child goes on with
the same state directory. In the end everything may settle, and effects, journal and audit trail are compared with what
was fed: no run lost, none doubled, none stuck, no step done again after its end was recorded, every undo in its order.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from automation.bus import Bus
from automation.journal.chain import parse_head
from automation.journal.database import reading
from automation.journal.verification import verify
from automation.service import Service
from bench.crash_mounted import Mounted
from bench.serving import closed, prepare, serving


def _step(name: str, more: str = "") -> str:
    return (
        f"  - {{name: {name}, write: {{path: 'effects/{{{{ run.id }}}}', content: '{name} ', append: true}}{more}}}\n"
    )


def _undone(name: str) -> str:
    undo = f"{{type: write, path: 'effects/{{{{ run.id }}}}', content: '-{name} ', append: true}}"
    return _step(name, f", compensate: [{undo}]")


# What is run, and what must have been done when it is over: effects in this order, and the status.
WORKFLOWS: Final[dict[str, tuple[str, str, str]]] = {
    "linear": (_step("a") + _step("b") + _step("c"), "a b c", "succeeded"),
    "timer": (_step("a") + "  - {name: pause, wait: 50ms}\n" + _step("b"), "a b", "succeeded"),
    "saga": (_undone("a") + _undone("b") + "  - {name: bad, read: {path: missing}}\n", "a b -b -a", "compensated"),
    "retried": (
        _step("a")
        + "  - {name: bad, read: {path: missing}, retry: {attempts: 3, backoff: 10ms}, on_error: continue}\n"
        + _step("b"),
        "a b",
        "succeeded",
    ),
    "each": (
        "  - name: each\n    loop:\n      for_each: [1, 2, 3]\n      do:\n        - name: x\n          write:"
        " {path: 'effects/{{ run.id }}', content: 'x{{ item }} ', append: true}\n",
        "x1 x2 x3",
        "succeeded",
    ),
    "single": (_step("a") + _step("b"), "a b", "succeeded"),
    "wide": (
        "  - name: branches\n    parallel:\n" + "".join(f"    {_step(name)}" for name in "abcde") + _step("f"),
        "a b c d e f",
        "succeeded",
    ),
}
UNORDERED: Final = ("wide",)  # their effects come in any order, those that are done again too
EVENTS_A_SECOND: Final = 200


@dataclass(slots=True)
class Outcome:
    """What was found in the end; `problems` is empty when all is well."""

    kills: int = 0
    fed: int = 0
    runs: int = 0
    again: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def definitions(event: str = "file.closed") -> dict[str, str]:
    """The workflows, ready to be loaded; each run is of one such event."""
    found = {}
    for name, (steps, _, _) in WORKFLOWS.items():
        policy, limit = ("queued", 2) if name == "single" else ("parallel", 100)
        concurrency = f"concurrency: {{policy: {policy}, limit: {limit}, queue: 100000}}"
        found[name] = f"triggers: {{types: {event}, path: 'in/{name}/*'}}\n{concurrency}\nsteps:\n{steps}"
    return found


def serve(directory: str, first: int, *, feeding: bool) -> None:
    """Serve until killed, feeding events from number `first` on; without `feeding` until all has settled."""
    fed = os.open(os.path.join(directory, "fed"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def main() -> None:
        async with serving(directory) as service:
            os.write(fed, b"up\n")
            if feeding:
                await _feed(service.bus, fed, first)
            await _settled(service)

    trio.run(main)


async def _feed(bus: Bus, fed: int, number: int) -> None:
    names = list(WORKFLOWS)
    while True:
        path = f"in/{names[number % len(names)]}/{number}"
        os.write(fed, f"+{number}\n".encode())
        bus.publish(closed(path, number))
        os.write(fed, f"={number}\n".encode())
        number += 1
        await trio.sleep(1 / EVENTS_A_SECOND)


async def _settled(service: Service) -> None:
    quiet = 0
    while quiet < 5:
        await trio.sleep(0.05)
        quiet = 0 if any(service.dispatcher.queues().values()) else quiet + 1


def torture(directory: str, kills: int, dice: random.Random, longest: float = 0.5) -> Outcome:
    """Serve and kill; the outcome."""
    began = time.monotonic()
    prepare(directory, definitions())
    offered = 0
    for _ in range(kills):
        child = _child(directory, offered, feeding=True)
        _await_up(directory, child)
        time.sleep(dice.uniform(0, longest) if dice.random() < 0.8 else dice.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        offered = _fed(directory)[0] + 1
    child = _child(directory, offered, feeding=False)
    deadline = time.monotonic() + 120
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.05)
    outcome = check(directory)
    outcome.kills, outcome.seconds = kills, time.monotonic() - began
    return outcome


def torture_mount(directory: str, kills: int, dice: random.Random, longest: float = 0.5) -> Outcome:
    """The same with real mounts."""
    began = time.monotonic()
    prepare(directory, definitions("file.renamed"))
    mounted = Mounted(directory, list(WORKFLOWS), EVENTS_A_SECOND)
    offered = 0
    for _ in range(kills):
        mounted.serve_and_kill(offered, dice, longest)
        offered = _fed(directory)[0] + 1
    ending = mounted.settle()
    outcome = check(directory)
    outcome.problems += [ending] if ending else []
    outcome.kills, outcome.seconds = kills, time.monotonic() - began
    return outcome


def _child(directory: str, first: int, *, feeding: bool) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        serve(directory, first, feeding=feeding)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _await_up(directory: str, child: int) -> None:
    """Sometimes the kill comes while it starts."""
    path = os.path.join(directory, "fed")
    before = os.path.getsize(path) if os.path.exists(path) else 0
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if os.path.exists(path) and os.path.getsize(path) > before:
            return
        if os.waitpid(child, os.WNOHANG)[0]:
            raise SystemExit("the child ended by itself")
        time.sleep(0.002)
    raise SystemExit("the child did not start")


def _fed(directory: str) -> tuple[int, set[int], set[int]]:
    """The last number offered, the offered ones, and those whose publishing returned."""
    offered, accepted = set(), set()
    with open(os.path.join(directory, "fed"), "a+", encoding="ascii") as file:
        file.seek(0)
        for line in file:
            if line.startswith("+"):
                offered.add(int(line[1:]))
            elif line.startswith("="):
                accepted.add(int(line[1:]))
    return max(offered, default=-1), offered, accepted


def check(directory: str) -> Outcome:
    """Compare what was fed with what was done and what is recorded."""
    outcome = Outcome()
    _, offered, accepted = _fed(directory)
    outcome.fed = len(accepted)
    with reading(os.path.join(directory, "state", "journal.db")) as connection:
        with open(os.path.join(directory, "state", "journal.head"), "rb") as file:
            outcome.problems += verify(connection, parse_head(file.read())).problems
        runs = connection.execute("SELECT id, workflow, status, facts FROM runs").fetchall()
        records: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
        for run, kind, place, data in connection.execute("SELECT run, kind, place, data FROM records ORDER BY number"):
            records.setdefault(run, []).append((kind, place, json.loads(data)))
    outcome.runs = len(runs)
    seen: Counter[int] = Counter()
    for run, workflow, status, facts in runs:
        event = json.loads(facts)["firing"]["events"][-1]
        number = int(event["path"].rpartition("/")[2])
        seen[number] += 1
        if number not in offered:
            outcome.problems.append(f"run {run} is of event {number}, which was never offered")
        _check_run(outcome, directory, run, workflow, status, records.get(run, []))
    outcome.problems += [f"event {number} has {count} runs" for number, count in seen.items() if count > 1]
    outcome.problems += [f"event {number} was accepted and has no run" for number in sorted(accepted - set(seen))]
    return outcome


def _check_run(
    outcome: Outcome,
    directory: str,
    run: str,
    workflow: str,
    status: str,
    records: list[tuple[str, str, dict[str, Any]]],
) -> None:
    _, expected, ending = WORKFLOWS[workflow]
    if status != ending:
        outcome.problems.append(f"run {run} of {workflow} ended as {status or 'nothing: it is stuck'}, not {ending}")
        return
    try:
        with open(os.path.join(directory, "root", "effects", run), encoding="ascii") as file:
            done = file.read().split()
    except FileNotFoundError:
        done = []
    if workflow in UNORDERED:
        done.sort()
    once = list(dict.fromkeys(done))
    if once != expected.split():
        outcome.problems.append(f"run {run} of {workflow} did {' '.join(done)}, not {expected}")
    if done != [word for word in once for _ in range(done.count(word))]:
        outcome.problems.append(f"run {run} of {workflow} went back: {' '.join(done)}")
    starts = Counter(place for kind, place, _ in records if kind == "started" and not place.endswith("bad"))
    outcome.again += len(done) - len(once)
    if len(done) > sum(starts.values()):
        outcome.problems.append(
            f"run {run} of {workflow} did {len(done)} effects, {sum(starts.values())} were announced"
        )
    ends = Counter(place for kind, place, _ in records if kind == "ended")
    outcome.problems += [f"run {run}: {place} ended {count} times" for place, count in ends.items() if count > 1]
    if sum(kind == "finished" for kind, _, _ in records) != 1:
        outcome.problems.append(f"run {run} did not finish exactly once")


def main(argv: list[str] | None = None) -> int:
    """0 when all is well."""
    parser = argparse.ArgumentParser(prog="python -m bench.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--mounted", action="store_true", help="kill a real mount")
    parser.add_argument("--keep", action="store_true", help="leave the directory for a look")
    given = parser.parse_args(argv)
    seed = random.randrange(1 << 32) if given.seed is None else given.seed
    directory = tempfile.mkdtemp(prefix="vexfs-crash-")
    tortured = torture_mount if given.mounted else torture
    outcome = tortured(directory, given.kills, random.Random(seed))
    print(
        f"seed {seed}: {outcome.kills} kills, {outcome.fed} events accepted, {outcome.runs} runs,"
        f" {outcome.again} steps done again after a kill, {outcome.seconds:.0f} s"
    )
    for problem in outcome.problems[:50]:
        print(f"  {problem}")
    print("all runs came out right" if not outcome.problems else f"{len(outcome.problems)} problems in {directory}")
    if not given.keep and not outcome.problems:
        shutil.rmtree(directory)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
