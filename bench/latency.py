"""How long after an event its detection is done, while events keep coming: `python -m bench.latency`.

Events arrive at a fixed rate whatever the engine does (an open loop), so that what waits in the queue counts as it does
for a user. The clock is the processor time of this thread: what other processes do on the machine stays out. An event's
latency lasts until the batch that it came in is done, which is a little more than its own.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from automation.bus import Bus, Subscription
from automation.events import SemanticEvent
from automation.rules.checks import Moment
from automation.rules.rule import Rule
from automation.rules.rule_set import RuleSet
from bench import patterns, rules

RATE: Final = 100_000  # events a second: what the seed asks for
BATCH: Final = 256
BARS_P99_US: Final = {"simple": 1000.0, "complex": 10_000.0}


def simple(events: int = 60_000) -> dict[str, float]:
    """Through 50,000 rules."""
    set_, _ = rules.loaded(50_000)
    traffic = rules.traffic(50_000, events)
    rules.through_the_bus(set_, traffic)  # compiles what it meets
    _settle()
    return _under_load(traffic, lambda bus: _rules(bus, set_))


def complicated(events: int = 60_000) -> dict[str, float]:
    """Through 1,000 patterns with 10,000 partial matches."""
    set_, traffic, _ = patterns.prepared(1000, 10_000, events)
    _settle()

    def subscribed(bus: Bus) -> tuple[Subscription, Callable[[Sequence[SemanticEvent]], None]]:
        def feed(batch: Sequence[SemanticEvent]) -> None:
            for event in batch:
                set_.advance(event.ts)
                set_.feed(event, event.ts)

        return bus.subscribe("patterns", capacity=1 << 20), feed

    return _under_load(traffic, subscribed)


def _rules(bus: Bus, set_: RuleSet) -> tuple[Subscription, Callable[[Sequence[SemanticEvent]], None]]:
    found: dict[int, list[Rule]] = {}

    def accept(event: SemanticEvent) -> bool:  # as RuleDesk does
        candidates = set_.index.find(event.type, event.path, event)
        if candidates:
            found[event.seq] = candidates
        return bool(candidates)

    def feed(batch: Sequence[SemanticEvent]) -> None:
        moment = Moment({}, 0.0)
        for event in batch:
            set_.feed(event, moment, 0.0, found.pop(event.seq))

    return bus.subscribe("rules", accept=accept, hears=set_.index.wants, capacity=1 << 20), feed


def _settle() -> None:
    gc.collect()
    gc.freeze()


def _under_load(
    events: Sequence[SemanticEvent],
    subscribe: Callable[[Bus], tuple[Subscription, Callable[[Sequence[SemanticEvent]], None]]],
) -> dict[str, float]:
    bus = Bus()
    subscription, feed = subscribe(bus)
    period, at, latencies = 1e9 / RATE, 0, []
    begin = time.thread_time_ns()
    while at < len(events) or subscription.ready:
        due = min(len(events), int((time.thread_time_ns() - begin) / period))
        for event in events[at:due]:
            bus.publish(event)
        at = due
        batch = subscription.receive_nowait(BATCH)
        if batch:
            feed(batch)
            now = time.thread_time_ns() - begin
            latencies += [now - event.seq * period for event in batch]
    found = statistics.quantiles(latencies, n=1000)
    shown = {"p50": found[499], "p99": found[989], "p99.9": found[998], "max": max(latencies)}
    return {name: round(value / 1000, 1) for name, value in shown.items()}


def measure() -> dict[str, Any]:
    """µs at 100,000 events a second, and the bars."""
    found = {"simple": simple(), "complex": complicated()}
    met = {name: found[name]["p99"] < bar for name, bar in BARS_P99_US.items()}
    return {"rate": RATE, "us": found, "bars_p99_us": BARS_P99_US, "met": met}


if __name__ == "__main__":
    result = measure()
    print(json.dumps(result, indent=2))
    sys.exit(0 if all(result["met"].values()) else 1)
