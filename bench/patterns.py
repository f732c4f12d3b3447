"""How fast patterns are: events through many of them with many partial matches, on one core.

`python -m bench.patterns [--patterns N] [--partials N] [--events N]` prints one JSON object. Patterns have two to four
steps in the mixture that users write: partitioned by path or pid, with globs, comparisons, absences, counts and
windows; events are published through the bus, as the mount does, and handed over in batches. Times are CPU time of the
one thread, so that a busy machine does not blur them; the rate by the clock stands beside.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from automation.bus import Bus
from automation.events import SemanticEvent
from automation.patterns.detector import Detector
from automation.patterns.routing import PatternSet
from automation.patterns.text import parse_pattern

BAR_EVENTS: Final = 100_000
TEMPLATES: Final = (
    'created(c: file.created, "{dir}/**") -> closed(d: file.closed where d.size > c.size) within 10m by path',
    'up(file.created, "{dir}/**") -> !gone(file.deleted) -> closed(file.closed where written > 0) within 9m by path',
    'a(file.opened, "{dir}/*.csv") -> b(file.written where length > 4KiB) => c(file.closed) within 1h by path',
    'a(file.renamed, "{dir}/**"){{3}} within 1m by pid skip past last',
    'up(file.created, "{dir}/*.tmp") -> gone(file.renamed|file.deleted, "{dir}/**") within 1h by path',
    "a(user.{dir}.start) -> b(user.{dir}.step where value > 10)+ -> c(user.{dir}.end where value < 5) within 5m by job",
    "a(user.{dir}.ask) -> b(user.{dir}.work) -> c(user.{dir}.check) -> d(user.{dir}.answer where ok) within 5m by job",
    'grew(file.written, "{dir}/*.log") ->[5m] !again(file.written, "{dir}/*.log") by path',
)


def patterns(count: int) -> PatternSet:
    """`count` patterns, each about a directory or a type of its own."""
    texts = (TEMPLATES[number % len(TEMPLATES)].format(dir=f"d{number}") for number in range(count))
    return PatternSet(Detector(parse_pattern(f"p{number}", text)) for number, text in enumerate(texts))


def openings(count: int, partials: int, now: int) -> list[SemanticEvent]:
    """Events that begin `partials` partial matches, spread over all patterns, and finish none."""
    out = []
    for number in range(partials):
        pattern, item = number % count, number // count
        directory = f"d{pattern}"
        kind = pattern % len(TEMPLATES)
        if kind in (5, 6):
            name = ("start", "ask")[kind - 5]
            out.append(SemanticEvent(f"user.{directory}.{name}", ts=now, attrs={"job": f"live{item}", "value": 1}))
            continue
        kind_of, suffix = {2: ("file.opened", ".csv"), 3: ("file.renamed", ""), 4: ("file.created", ".tmp")}.get(
            kind, ("file.written", ".log") if kind == 7 else ("file.created", "")
        )
        out.append(SemanticEvent(kind_of, f"{directory}/live{item}{suffix}", size=100, pid=100_000 + item, ts=now))
    return out


def traffic(count: int, events: int, now: int) -> list[SemanticEvent]:
    """Random traffic: most of it concerns no pattern or is of no consequence, the rest begins, goes on and matches."""
    rng = random.Random(1)
    types = ("file.created", "file.written", "file.closed", "file.opened", "file.renamed", "file.deleted")
    steps = ("start", "step", "end", "ask", "work", "check", "answer", "other")
    out = []
    for number in range(events):
        ts = now + number * 10_000
        directory = f"d{rng.randrange(count * 2)}"
        if rng.random() < 0.25:
            attrs = {"job": rng.randrange(20), "value": rng.randrange(20), "ok": rng.random() < 0.5}
            out.append(SemanticEvent(f"user.{directory}.{rng.choice(steps)}", ts=ts, attrs=attrs))
        else:
            path = f"{directory}/f{rng.randrange(10)}{rng.choice(('', '.csv', '.log', '.tmp'))}"
            size, attrs = rng.randrange(100_000), {"written": rng.randrange(2)}
            out.append(
                SemanticEvent(
                    rng.choice(types), path, size=size, length=size, pid=rng.randrange(50), ts=ts, attrs=attrs
                )
            )
    return out


def measure(set_: PatternSet, events: Sequence[SemanticEvent]) -> dict[str, Any]:
    """Events per second with the bus in between."""
    bus = Bus()
    subscription = bus.subscribe("bench", capacity=1 << 20)
    matches = 0
    begin, cpu = time.perf_counter(), time.thread_time()
    for at in range(0, len(events), 256):
        for event in events[at : at + 256]:
            bus.publish(event)
        for event in subscription.receive_nowait(256):
            matches += len(set_.feed(event, event.ts))
    wall, seconds = time.perf_counter() - begin, time.thread_time() - cpu
    return {
        "events_per_second": round(len(events) / seconds),
        "events_per_second_wall": round(len(events) / wall),
        "us_per_event": round(seconds / len(events) * 1e6, 2),
        "outcomes": matches,
        "live_after": set_.live,
    }


def prepared(count: int, partials: int, events: int) -> tuple[PatternSet, list[SemanticEvent], dict[str, Any]]:
    """A loaded set that holds `partials` partial matches, the traffic for it, and what loading took."""
    now = 1_700_000_000_000_000_000
    begin = time.perf_counter()
    set_ = patterns(count)
    loaded = time.perf_counter() - begin
    for event in openings(count, partials, now):
        set_.feed(event, now)
    facts = {"patterns": count, "load_seconds": round(loaded, 2), "live_before": set_.live}
    return set_, traffic(count, events, now), facts


def main() -> int:
    """0 when the bar is reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patterns", type=int, default=1000)
    parser.add_argument("--partials", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=400_000)
    arguments = parser.parse_args()
    set_, events, facts = prepared(arguments.patterns, arguments.partials, arguments.events)
    gc.collect()
    gc.freeze()
    result = measure(set_, events)
    print(json.dumps({**facts, **result}))
    return 0 if result["events_per_second"] >= BAR_EVENTS else 1


if __name__ == "__main__":
    sys.exit(main())
