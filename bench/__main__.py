"""`python -m bench`, which is what `make bench` runs: every benchmark, in alternation, one report."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from bench import documents, interest, metadata, publish, report, route, throughput, workloads
from bench.commands import REPOSITORY, UnavailableError
from bench.machine import facts
from bench.samples import Failure, Results, Sample
from bench.systems import SYSTEMS, Running, scratch, serving

GROUPS: Final = ("metadata", "io", "traced", "workloads", "disk", "engine")


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and what: `seconds` for each cell, times `rounds`; what takes longer has rounds of its own.

    Many rounds, since where the scheduler puts client and server decides a factor of two (docs/benchmarks.md).
    """

    rounds: int
    io_rounds: int
    work_rounds: int
    seconds: float
    io_seconds: float
    files: int
    only: tuple[str, ...]
    systems: tuple[str, ...]
    backing: str
    one_cpu: bool
    seed: int


QUICK: Final = (3, 1, 1, 0.5, 0.3, workloads.QUICK_FILES)  # about 3 minutes
FULL: Final = (4, 2, 2, 1.0, 0.4, workloads.FILES)  # about 17, of which the 20,000 files are 6
COPIES: Final = 5  # of the tree's names, which peers hold a descriptor each for: where few are allowed, it is smaller

Task = tuple[str, Callable[[Running], list[Sample]]]
Prepare = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 when it was measured, 1 when nothing could be."""
    chosen, out, write = _settings(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that everything is unmounted
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (hard_limit(), hard_limit())
    )  # some servers hold a descriptor for each name they know
    if chosen.one_cpu:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    results = Results([system.name for system in SYSTEMS])
    started = facts(chosen.backing) | {"tree": chosen.files}
    begin = time.monotonic()
    try:
        _measure(results, chosen)
    except KeyboardInterrupt:
        results.failures.append(Failure("the rest", "all systems", "interrupted"))
    settings = {**asdict(chosen), "took_seconds": round(time.monotonic() - begin)}
    os.makedirs(out, exist_ok=True)
    for suffix, content in (
        ("md", report.markdown(results, started)),
        ("txt", report.text(results, started)),
        ("json", report.as_json(results, started, settings)),
    ):
        with open(os.path.join(out, f"latest.{suffix}"), "w", encoding="utf-8") as file:
            file.write(content)
    if write:
        documents.write(results, started)
    _say(f"took {settings['took_seconds']} s; {out}/latest.md, .txt and .json have the results")
    print(report.text(results, started))
    return 0 if results.groups else 1


def _measure(results: Results, chosen: Settings) -> None:
    if "engine" in chosen.only:
        for number in range(chosen.rounds):
            _say(f"engine, round {number + 1} of {chosen.rounds}")
            results.add(publish.measure(), number)
        results.add(route.measure(), 0)
        results.add(interest.measure(), 0)
    dice = random.Random(chosen.seed)
    groups = [group for group in ("metadata", "io", "traced", "workloads") if group in chosen.only]
    if groups:
        with _tasks(chosen, groups) as (prepare, rounds), _serving(results, chosen, chosen.backing, groups) as running:
            _prepare(prepare, running)
            _alternate(results, rounds, running, dice)
    if "disk" in chosen.only:
        rounds = [[_io(load, chosen.io_seconds, "disk") for load in throughput.LOADS]] * chosen.io_rounds
        with _serving(results, chosen, "ext4", ["disk"]) as running:
            _prepare([throughput.prepare], running)
            _alternate(results, rounds, running, dice)


@contextlib.contextmanager
def _serving(results: Results, chosen: Settings, backing: str, groups: Sequence[str]) -> Iterator[list[Running]]:
    def missing(name: str, reason: str) -> None:
        results.failures.append(Failure("everything", name, reason))
        _say(f"without {name}: {reason}")

    names = [one.name for one in SYSTEMS if one.name in chosen.systems and set(groups) & set(one.groups)]
    with serving(names, backing, missing) as running:
        _say(f"measuring {', '.join(one.name for one in running)}")
        yield running


@contextlib.contextmanager
def _tasks(chosen: Settings, groups: Sequence[str]) -> Iterator[tuple[list[Prepare], list[list[Task]]]]:
    """What makes a backing directory ready, and the rounds, each a list of what every system does in turn."""
    rounds: list[list[Task]] = [[] for _ in range(max(chosen.rounds, chosen.io_rounds, chosen.work_rounds))]
    prepare: list[Prepare] = []
    with scratch(tempfile.gettempdir()) as aside:
        if "metadata" in groups:
            client = metadata.build(aside)
            for tasks in rounds[: chosen.rounds]:
                tasks += [_metadata(client, count, chosen.seconds) for count in metadata.CLIENTS]
        if {"io", "traced"} & set(groups):
            prepare.append(throughput.prepare)
        for group, loads in (("io", throughput.LOADS), ("traced", throughput.DIRECT)):
            for tasks in rounds[: chosen.io_rounds] if group in groups else ():
                tasks += [_io(load, chosen.io_seconds, group) for load in loads]
        if "workloads" in groups:
            work = workloads.Workloads(aside, chosen.files)
            prepare.append(work.prepare)
            for tasks in rounds[: chosen.work_rounds]:
                tasks.append(("workloads", work.measure))
        yield prepare, rounds


def _prepare(prepare: list[Prepare], running: list[Running]) -> None:
    """Nobody has looked there yet, so what appears behind a system's back is not missed."""
    for one in running:
        for ready in prepare:
            ready(one.source)


def _metadata(client: str, clients: int, seconds: float) -> Task:
    return f"metadata x{clients}", lambda one: metadata.measure(client, one, clients, seconds)


def _io(load: throughput.Load, seconds: float, group: str) -> Task:
    return f"{group} {load.name}", lambda one: throughput.measure(load, one, seconds, group)


def _alternate(results: Results, rounds: list[list[Task]], running: list[Running], dice: random.Random) -> None:
    """Every system does a task before the next one begins, in an order that chance gives anew each time."""
    for number, tasks in enumerate(rounds, 1):
        for at, (name, measure) in enumerate(tasks, 1):
            group = name.split()[0]
            able = [one for one in running if group in one.system.groups]
            _say(f"round {number} of {len(rounds)}, {at} of {len(tasks)}: {name}")
            for one in dice.sample(able, len(able)):
                try:
                    results.add(measure(one), number)
                except (UnavailableError, OSError) as error:
                    results.failures.append(Failure(name, one.name, str(error)))
                    _say(f"{name} on {one.name}: {error}")


def _settings(arguments: Sequence[str] | None) -> tuple[Settings, str, bool]:
    parser = argparse.ArgumentParser(prog="python -m bench", description=sys.modules["bench"].__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = [system.name for system in SYSTEMS]
    parser.add_argument("--quick", action="store_true", help="about 3 minutes instead of 15, and rougher")
    parser.add_argument("--only", type=_some(GROUPS), default=GROUPS, metavar="GROUP,…", help=", ".join(GROUPS))
    parser.add_argument("--systems", type=_some(names), default=tuple(names), metavar="NAME,…", help=", ".join(names))
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--seconds", type=float, help="for each measurement")
    parser.add_argument(
        "--backing", default="tmpfs", help="where the files lie: tmpfs, ext4 or a directory (%(default)s)"
    )
    parser.add_argument(
        "--one-cpu",
        action="store_true",
        help="clients and servers on one CPU: pure cost, free of the chance of placement",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the order in which systems take turns")
    parser.add_argument("--out", default=os.path.join(REPOSITORY, "bench", "results"), help="directory of the report")
    parser.add_argument("--write", action="store_true", help="write the figures into README.md and docs/")
    chosen = parser.parse_args(arguments)
    rounds, io_rounds, work_rounds, seconds, io_seconds, files = QUICK if chosen.quick else FULL
    if chosen.rounds is not None and chosen.rounds < 1:
        parser.error("--rounds must be at least 1")
    if chosen.seconds is not None and not 0 < chosen.seconds <= 60:
        parser.error("--seconds must be above 0 and at most 60")
    settings = Settings(
        rounds=chosen.rounds or rounds,
        io_rounds=chosen.rounds or io_rounds,
        work_rounds=chosen.rounds or work_rounds,
        seconds=chosen.seconds or seconds,
        io_seconds=chosen.seconds or io_seconds,
        files=min(files, hard_limit() // COPIES),
        only=chosen.only,
        systems=chosen.systems,
        backing=chosen.backing,
        one_cpu=chosen.one_cpu,
        seed=chosen.seed,
    )
    return settings, chosen.out, chosen.write


def hard_limit() -> int:
    """How many descriptors a process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _some(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(value: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in value.split(","))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {name!r}; choose from {', '.join(known)}")
        return names

    return parse


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
