"""What provenance costs, an event, in memory and on disk, and how long whole answers take; all of processor time.
Answers are to "what was it made from", "what was made from it" and "which runs made it"; JSON is the text of the first.

python -m bench.provenance [EVENTS]      1,000,000 unless said otherwise
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from automation.events import Cause, SemanticEvent
from automation.provenance.forms import ProvenanceForm
from automation.provenance.rendering import as_json
from automation.provenance.store import Store
from automation.provenance.tracker import Tracker

BATCH: Final = 2048
FILES: Final = 100_000
EACH: Final = 20  # events of a process
RUNS: Final = 10  # one of so many is a run
ASKED: Final = 200  # files


def work(count: int) -> Iterator[SemanticEvent]:
    """Processes that read a few files and write one: three opens and a close each time."""
    dice, ts, processes = random.Random(1), 10**18, count // EACH
    while count > 0:
        pid = dice.randrange(processes)
        target = dice.randrange(FILES)
        for _ in range(3):
            source = dice.randrange(FILES)
            ts += 1000
            yield _event("file.opened", source, pid, ts, {"mode": "r"})
        ts += 1000
        yield _event("file.closed", target, pid, ts, {"written": True, "size_before": 0, "mode": "w"})
        count -= 4


def _event(kind: str, file: int, pid: int, ts: int, attrs: dict[str, object]) -> SemanticEvent:
    path = f"d{file % 100}/f{file}"
    cause = None if pid % RUNS else Cause(f"{pid:016x}", f"flow{pid % 70}", 1)
    who: dict[str, Any] = {"pid": pid + 1, "uid": pid % 7, "comm": f"p{pid % 9}", "cause": cause}
    return SemanticEvent(kind, path, inode=file + 1, ts=ts, attrs=attrs, **who)


def main(count: int) -> None:
    """Print the figures."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "graph.sqlite3")
        store, tracker = Store(path, 20_000_000), Tracker(ProvenanceForm(kind="provenance", name="bench"))
        tracking = writing = 0.0
        batch: list[SemanticEvent] = []
        for event in work(count):
            batch.append(event)
            if len(batch) == BATCH:
                began = time.process_time()
                facts = [fact for one in batch for fact in tracker.feed(one)]
                middle = time.process_time()
                store.add(facts)
                tracking, writing = tracking + middle - began, writing + time.process_time() - middle
                batch.clear()
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        some = [(f"d{i % 100}/f{i}") for i in range(0, FILES, FILES // ASKED)]
        questions: dict[str, Callable[[str], Any]] = {
            "lineage": lambda path: store.related(path, back=True),
            "impact": lambda path: store.related(path, back=False),
            "runs": store.runs,
        }
        times = {name: [_taken(ask, path) for path in some] for name, ask in questions.items()}
        times["JSON"] = [_taken(as_json, store.related(path, back=True)) for path in some]
        size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)) / 1e6
        each = f"{tracking / count * 1e6:.1f} µs to track and {writing / count * 1e6:.1f} µs to write"
        print(f"{count:,} events, each {each}")
        print(f"memory grew by {grown:.0f} MB, {size:.0f} MB on disk; {store.counts()}")
        for name, found in times.items():
            most = f"95 % within {statistics.quantiles(found, n=20)[-1]:.1f}, worst {max(found):.1f} of {len(found)}"
            print(f"{name}: median {statistics.median(found):.1f} ms, {most}")
        store.close()


def _taken(act: Callable[[Any], Any], about: Any) -> float:
    began = time.process_time()
    act(about)
    return (time.process_time() - began) * 1000


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
