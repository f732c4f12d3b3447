"""Events a second that statecharts take over 10,000 instances, one core: `python -m bench.machines [EVENTS]`.

The bar is 50,000; 65,000 to 150,000 were reached. Beside it, where `python-statemachine` 3 is installed, the same chart
in its engine: 10,000 objects of one class; 4,000 to 7,000. That engine takes its own monotonic clock and sleeps in the
caller's thread while a delayed event waits, so it cannot be driven by ours; it is measured only without delays.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import random
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from automation.events import SemanticEvent
from automation.machines.detector import Detector
from automation.machines.loading import load
from bench.samples import Cell, Sample

INSTANCES: Final = 10_000
EVENTS: Final = 100_000
BAR: Final = 50_000
PEER: Final = "python-statemachine"
PEER_SHARE: Final = 10  # it takes a tenth of the events: it would take a minute otherwise

CHART: Final = """
kind: machine
vars: {{closes: 0}}
states:
  work:
    on: {{file.deleted: gone}}
    states:
      idle: {{on: {{file.opened: busy}}}}
      busy:
        on: {{file.closed: {{target: idle, when: "{when}", do: [{do}]}}}}
        after: {{{after}}}
  gone: {{type: final}}
"""
PARALLEL: Final = """
kind: machine
states:
  both:
    type: parallel
    states:
      access: {states: {idle: {on: {file.opened: busy}}, busy: {on: {file.closed: idle}}}}
      parity: {states: {even: {on: {file.opened: odd}}, odd: {on: {file.opened: even}}}}
"""
ASSIGN: Final = 'assign: {closes: "{{ vars.closes + 1 }}"}'
CASES: Final = {
    "guard": CHART.format(when="event.size > 3", do="", after=""),
    "guard and assign": CHART.format(when="vars.closes < 1000000", do=f"{{{ASSIGN}}}", after=""),
    "guard that only CEL knows": CHART.format(when="event.path.matches('^f/[0-9]+$')", do="", after=""),
    "guard and timer": CHART.format(when="event.size > 3", do="", after="1h: idle"),
    "action on entry": CHART.format(
        when="event.size > 3", do='{copy: {source: "{{ event.path }}", target: "x/{{ event.name }}"}}', after=""
    ),
    "two regions": PARALLEL,
}


def measure(events: int = EVENTS) -> list[Sample]:
    """Events per second, once for each case; then µs to snapshot an instance, and the peer if it is there."""
    samples = [_sample(name, _ours(text, events)) for name, text in CASES.items()]
    peer = _peer(events // PEER_SHARE)
    return samples if peer is None else [*samples, Sample(samples[0].cell, PEER, peer)]


def _sample(name: str, value: float) -> Sample:
    return Sample(Cell("engine", f"machines: {name}", "events/s"), "vexfs", value)


def stream(events: int) -> list[SemanticEvent]:
    """Every file is opened, then every file closed, and so on, each time in another order."""
    dice = random.Random(1)
    out: list[SemanticEvent] = []
    while len(out) < events:
        order = list(range(INSTANCES))
        dice.shuffle(order)
        kind = "file.opened" if len(out) // INSTANCES % 2 == 0 else "file.closed"
        out += [SemanticEvent(kind, f"f/{number}", size=10, ts=len(out) + i) for i, number in enumerate(order)]
    return out[:events]


def _ours(text: str, events: int) -> float:
    detector = Detector(load("bench.yaml", text))
    for event in stream(2 * INSTANCES):  # all instances exist
        detector.feed(event)
    return _rate(detector.feed, stream(events))


def _rate(feed: Callable[[SemanticEvent], object], events: list[SemanticEvent]) -> float:
    """Per second of one core: time that other processes took is not counted."""
    start = time.process_time()
    for event in events:
        feed(event)
    return len(events) / (time.process_time() - start)


def _peer(events: int) -> float | None:
    """The same chart in `python-statemachine`, driven as far as it can be; None where it is not installed."""
    try:
        machines: Any = importlib.import_module("statemachine")
    except ImportError:
        return None
    if int(importlib.metadata.version(PEER).split(".")[0]) < 3:
        return None
    state, compound = machines.State, machines.State.Compound
    idle, busy = state(initial=True), state()
    work = type(compound)("work", (compound,), {"idle": idle, "busy": busy, "opened": idle.to(busy)})
    gone = state(final=True)
    body: dict[str, Any] = {
        "work": work,
        "gone": gone,
        "closed": busy.to(idle, cond="large"),
        "deleted": work.to(gone),
        "large": lambda self, size: size > 3,
    }
    chart = type(machines.StateChart)("Upload", (machines.StateChart,), body)
    instances = {f"f/{number}": chart() for number in range(INSTANCES)}

    def feed(event: SemanticEvent) -> None:
        instances[event.path].send(event.type.removeprefix("file."), size=event.size)

    return _rate(feed, stream(max(events, 2 * INSTANCES)))


def main() -> int:
    """Print every case; 1 when one is below the bar."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    samples = measure(events)
    for sample in samples:
        print(f"{sample.value:10,.0f} events/s  {sample.system:<20} {sample.cell.name.removeprefix('machines: ')}")
    if samples[-1].system != PEER:
        print(f"{PEER} ≥ 3 is not installed: skipped")
    return 0 if all(sample.value >= BAR for sample in samples if sample.system == "vexfs") else 1


if __name__ == "__main__":
    sys.exit(main())
