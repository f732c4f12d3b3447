"""Every bar of detection in one run, on one core: `python bench/engine.py [--only PART ...]`.

Prints one JSON object, part by part: `rules` (50,000 and 100 of them), `patterns` (1,000 with 10,000 partial matches),
`latency` (while 100,000 events a second come), `machines` (10,000 instances), `million` (rules in memory), `durable`
(`durable_rules` beside), `profile` (where the time of rules and patterns goes). 0 when every bar holds. The parts have
commands of their own: `python -m bench.rules`, and so on.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import durable, latency, machines, patterns, rules

ROOT: Final = Path(__file__).parents[1]
ROUNDS: Final = 3
SHOWN: Final = 12  # functions of a profile


def _rules() -> dict[str, Any]:
    return rules.all_of_it()


def _patterns() -> dict[str, Any]:
    """The median of three, each from the same beginning."""
    rounds = []
    for _ in range(ROUNDS):
        set_, events, facts = patterns.prepared(1000, 10_000, 200_000)
        gc.collect()
        rounds.append(patterns.measure(set_, events))
    names = ("events_per_second", "events_per_second_wall", "us_per_event")
    found = {name: statistics.median(one[name] for one in rounds) for name in names}
    met = {"events_per_second": found["events_per_second"] >= patterns.BAR_EVENTS}
    return {**facts, **found, "outcomes": rounds[0]["outcomes"], "bar": patterns.BAR_EVENTS, "met": met}


def _machines() -> dict[str, Any]:
    found = {
        f"{sample.cell.name.removeprefix('machines: ')} ({sample.system})": round(sample.value)
        for sample in machines.measure()
    }
    ours = [value for name, value in found.items() if name.endswith("(vexfs)")]
    return {"events_per_second": found, "bar": machines.BAR, "met": {"events_per_second": min(ours) >= machines.BAR}}


def _million() -> dict[str, Any]:
    """In a process of its own, whose memory is what it takes."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.rules", "--million"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if not done.stdout:
        return {"error": done.stderr.strip().splitlines()[-1:], "met": {"resident_gb": False}}
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"met": {"resident_gb": found["resident_gb"] < rules.BARS["resident_gb"]}}


def _durable() -> dict[str, Any]:
    return {"durable_rules": durable.measure()}


def _profile() -> dict[str, Any]:
    """The functions that take most of the time of an event, as shares of all of it; calls count more than they cost."""
    many, _ = rules.loaded(50_000)
    some = rules.traffic(50_000, rules.EVENTS)
    rules.through_the_bus(many, some)
    set_, events, _ = patterns.prepared(1000, 10_000, 200_000)
    return {
        "rules": _shares(lambda: rules.through_the_bus(many, some)),
        "patterns": _shares(lambda: patterns.measure(set_, events)),
    }


def _shares(action: Callable[[], object]) -> dict[str, float]:
    profiler = cProfile.Profile()
    profiler.runcall(action)
    own = {
        one.code
        if isinstance(one.code, str)
        else f"{Path(one.code.co_filename).stem}.{one.code.co_qualname}": one.inlinetime
        for one in profiler.getstats()
    }
    most = sorted(own, key=lambda name: -own[name])[:SHOWN]
    return {name: round(own[name] / sum(own.values()), 3) for name in most}


PARTS: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {
    "rules": _rules,
    "patterns": _patterns,
    "latency": latency.measure,
    "machines": _machines,
    "million": _million,
    "durable": _durable,
    "profile": _profile,
}


def main() -> int:
    """0 when every bar that was asked for holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*PARTS], default=[*PARTS], metavar="PART")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    for name in arguments.only:
        print(f"{name} …", file=sys.stderr)
        found[name] = PARTS[name]()
    print(json.dumps(found, indent=2))
    return 0 if all(met for part in found.values() for met in part.get("met", {}).values()) else 1


if __name__ == "__main__":
    sys.exit(main())
