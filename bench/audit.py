"""What the audit trail costs: `python -m bench.audit [--records N,...] [--calls SECONDS] [--rate N] ...`.

* durable records a second, with full sync, when so many records are there already: events that rules would publish go
  through bus, auditor, chain and writer until all are committed. The bar is 20,000; 1 when it is missed.
* `vexfs verify` in records a second, and questions in milliseconds, at each size.
* create, close and unlink on a mount, a rule firing at each create, with the audit and without, in alternation.

Sizes are 10,000, 100,000 and 1,000,000 unless told; the state is on the disk that TMPDIR or --directory names. A
hundred events after one another are in the same of 1,000 directories; --scattered has each in another: the worst case.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from automation.bus import Bus
from automation.events import Cause, SemanticEvent
from automation.journal.chain import Head
from automation.journal.database import reading
from automation.journal.journal import NAME, Journal
from automation.journal.query import Question, ask
from automation.journal.verification import verify
from automation.state_directory import StateDirectory
from bench.live import live
from vexfs_fuse.session import GARBAGE, TURN

BAR: Final = 20_000  # durable records a second
BURST: Final = 50_000
ROUNDS: Final = 3
RULE: Final = "rules: {watch: {on: file.created, paths: ['**'], actions: [{log: {message: hi, level: debug}}]}}\n"
CALLS: Final = ("create", "close", "unlink")
Calls = dict[str, list[float]]


def fired(number: int, together: int = 100) -> SemanticEvent:
    """What a rule publishes when it fires."""
    attrs = {"rule": "watch", "type": "simple", "priority": 50, "event": number, "trigger": "file.closed"}
    cause = Cause(f"rule {number}", "book/watch", 1)
    path = f"dir{number // together % 1000}/sub/file-{number}.csv"
    return SemanticEvent("rule.fired", path, pid=7, uid=number % 5000, comm="python3", cause=cause, attrs=attrs)


async def burst(journal: Journal, bus: Bus, first: int, count: int, together: int) -> None:
    """Publish so many and wait until they are on the disk."""
    target = journal.writer.written + count
    for number in range(first, first + count):
        bus.publish(fired(number, together))
        if number % 256 == 255:
            await trio.lowlevel.checkpoint()
    while journal.writer.written < target:  # noqa: ASYNC110 - the journal is measured as it is
        await trio.sleep(0.002)


async def durable(directory: str, sizes: list[int], together: int) -> list[tuple[int, float, float]]:
    """At each size: records a second of a burst, and processor time in microseconds a record."""
    gc.set_threshold(GARBAGE)  # as the mount does
    sys.setswitchinterval(TURN)
    out, bus, kept = [], Bus(), StateDirectory(directory)
    journal = Journal(bus, kept)
    number = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        for size in sizes:
            while number < size:
                count = min(BURST, size - number)
                await burst(journal, bus, number, count, together)
                number += count
            rates, cpu = [], time.process_time()
            for _ in range(ROUNDS):
                began = time.perf_counter()
                await burst(journal, bus, number, BURST, together)
                rates.append(BURST / (time.perf_counter() - began))
                number += BURST
            out.append((size, statistics.median(rates), (time.process_time() - cpu) / ROUNDS / BURST * 1e6))
            asked(directory, fired(size // 2, together).path, size)
        nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await journal.aclose()
    kept.close()
    return out


def asked(directory: str, path: str, size: int) -> None:
    """Print how long the proof and each question take."""
    with reading(os.path.join(directory, NAME)) as connection:
        newest, digest, at = connection.execute("SELECT seq, hash, at FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
        questions = {
            "newest 1,000": Question(),
            "a path": Question(path=path),
            "a directory": Question(path="dir7"),
            "a user": Question(uid=4242),
            "a run": Question(run=f"rule {size // 2}"),
            "a minute": Question(since=at - 60 * 10**9, until=at),
            "a kind": Question(kind="control"),
        }
        told = []
        for name, question in questions.items():
            began = time.perf_counter()
            found = len(ask(connection, question))
            told.append(f"{name} {(time.perf_counter() - began) * 1e3:.1f} ms ({found:,})")
        print(f"{newest:>10,} records: {', '.join(told)}", flush=True)
        began = time.perf_counter()
        verdict = verify(connection, Head(newest, digest))
        assert not verdict.problems, verdict.problems
        print(
            f"{newest:>10,} records: verified at {verdict.records / (time.perf_counter() - began):,.0f}/s", flush=True
        )


@contextmanager
def mounted(directory: str, audits: bool) -> Iterator[str]:
    """A mount with one rule; the mountpoint."""
    source, point = os.path.join(directory, "root"), os.path.join(directory, "mnt")
    workflows, state = os.path.join(directory, "workflows"), os.path.join(directory, "state")
    for path in (source, point, workflows):
        os.makedirs(path)
    with open(f"{workflows}/book.yaml", "w", encoding="utf-8") as file:
        file.write(RULE)
    with open(f"{directory}/vexfs.toml", "w", encoding="utf-8") as file:
        file.write(f"[automation]\nenable_compliance_audit = {str(audits).lower()}\n")
    arguments = ("--workflows", workflows, "--state-dir", state, "--config", f"{directory}/vexfs.toml")
    with live(source, point, *arguments):
        yield point


def calls(point: str, seconds: float, rate: float) -> Calls:
    """Microseconds of each call, `rate` files a second."""
    times: Calls = {name: [] for name in CALLS}
    end, due = time.perf_counter() + seconds, time.perf_counter()
    while time.perf_counter() < end:
        path = f"{point}/file"
        began = time.perf_counter()
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL)
        created = time.perf_counter()
        os.close(fd)
        closed = time.perf_counter()
        os.unlink(path)
        for name, took in zip(CALLS, (created - began, closed - created, time.perf_counter() - closed), strict=True):
            times[name].append(took * 1e6)
        due += 1 / rate
        time.sleep(max(0.0, due - time.perf_counter()))
    return times


def compare(directory: str | None, seconds: float, rate: float) -> None:
    """Print both, three rounds in alternation."""
    found: dict[bool, Calls] = {audits: {name: [] for name in CALLS} for audits in (True, False)}
    for audits in (True, False) * ROUNDS:
        with tempfile.TemporaryDirectory(prefix="vexfs-audit-", dir=directory) as inside, mounted(inside, audits) as at:
            for name, times in calls(at, seconds, rate).items():
                found[audits][name] += times
    for name in CALLS:
        for audits, said in ((True, "audited"), (False, "not audited")):
            ordered = sorted(found[audits][name])
            p99 = ordered[len(ordered) * 99 // 100]
            print(
                f"{name:<8}{said:<12} median {statistics.median(ordered):.0f} µs, p99 {p99:.0f} µs of {len(ordered):,}"
            )


def main() -> int:
    """0 when the bar is reached at each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", default="10000,100000,1000000", metavar="N,...")
    parser.add_argument("--scattered", action="store_true", help="each event in another directory than the one before")
    parser.add_argument("--calls", type=float, default=5.0, metavar="SECONDS", help="of each of six rounds; 0 for none")
    parser.add_argument("--rate", type=float, default=200.0, metavar="N", help="files a second of these calls")
    parser.add_argument("--directory", metavar="DIR", help="where the state lies (default: TMPDIR)")
    given = parser.parse_args()
    slow = False
    with tempfile.TemporaryDirectory(prefix="vexfs-audit-", dir=given.directory) as inside:
        sizes, together = [int(size) for size in given.records.split(",")], 1 if given.scattered else 100
        for size, rate, cpu in trio.run(durable, inside, sizes, together):
            slow = slow or rate < BAR
            verdict = "MISSED" if rate < BAR else "met"
            print(f"{size:>10,} records there: {rate:,.0f}/s durable, {cpu:.1f} µs each (bar {BAR:,} {verdict})")
    if given.calls:
        compare(given.directory, given.calls, given.rate)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
