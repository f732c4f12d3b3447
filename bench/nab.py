"""How good the anomaly detectors are, on data in the format of the Numenta Anomaly Benchmark.

    python -m bench.nab                     8 generated sets on which nothing was tuned (seeds 101 to 108)
    python -m bench.nab --seeds 1-8         others
    python -m bench.nab --data NAB          a checkout of the benchmark: data/**.csv and labels/combined_windows.json

Files are `timestamp,value`; labels are windows by file. The first 15 % of a file, at most 750 values, are probation, as
in the benchmark: what is said there does not count. A window is found when something is said in it; precision is over
what is said, where all that is said in one window counts once; the delay is from a window's begin to the first word in
it, as a share of its length. Beside the detectors of `automation.analytics` stand a static threshold (mean ± 3 standard
deviations of the probation) and a plain z-score over the last 100 values.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import math
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from automation.analytics.anomalies import AnomalyWatch
from automation.analytics.forms import AnomalyForm
from automation.analytics.stream import Row

PROBATION: Final = 0.15
MOST_PROBATION: Final = 750
Judge = Callable[[int, float], bool]


@dataclass(frozen=True, slots=True)
class Series:
    """One file: times in seconds, values, and the labelled windows as pairs of times."""

    name: str
    times: list[float]
    values: list[float]
    windows: list[tuple[float, float]]

    @property
    def probation(self) -> int:
        """So many values at the start do not count."""
        return min(int(len(self.values) * PROBATION), MOST_PROBATION)


@dataclass(slots=True)
class Score:
    """Counts over all series."""

    found: int = 0
    missed: int = 0
    false: int = 0
    delays: list[float] | None = None

    @property
    def precision(self) -> float:
        """Share of what was said that was right."""
        return self.found / (self.found + self.false) if self.found + self.false else 0.0

    @property
    def recall(self) -> float:
        """Share of the windows that were found."""
        return self.found / (self.found + self.missed) if self.found + self.missed else 0.0

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def load(root: Path) -> list[Series]:
    """Every labelled file of a checkout, or of anything laid out like one."""
    labels: dict[str, list[list[str]]] = json.loads((root / "labels" / "combined_windows.json").read_text())
    return [read(root / "data" / name, name, windows) for name, windows in sorted(labels.items())]


def read(path: Path, name: str, windows: list[list[str]]) -> Series:
    """One file."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    times = [_seconds(row["timestamp"]) for row in rows]
    return Series(name, times, [float(row["value"]) for row in rows], [(_seconds(a), _seconds(b)) for a, b in windows])


def write(series: list[Series], root: Path) -> None:
    """Series in the benchmark's format."""
    labels = {one.name: [[_text(a), _text(b)] for a, b in one.windows] for one in series}
    (root / "labels").mkdir(parents=True, exist_ok=True)
    (root / "labels" / "combined_windows.json").write_text(json.dumps(labels, indent=1))
    for one in series:
        path = root / "data" / one.name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{_text(t)},{v!r}" for t, v in zip(one.times, one.values, strict=True)]
        path.write_text("\n".join(["timestamp,value", *lines, ""]))


def generate(seed: int = 1, length: int = 2000) -> list[Series]:
    """Six kinds of trouble in six kinds of normality; whoever tunes a detector to these learns nothing of the world."""
    dice = random.Random(seed)
    shapes: dict[str, Callable[[int], float]] = {
        "made/level.csv": lambda i: dice.gauss(100, 5),
        "made/daily.csv": lambda i: 100 + 60 * math.sin(2 * math.pi * i / 288) + dice.gauss(0, 6),
        "made/counts.csv": lambda i: float(sum(dice.random() < 0.1 for _ in range(60))),
        "made/bursts.csv": lambda i: abs(dice.gauss(2, 1)) + (40 if i % 97 == 0 else 0),
        "made/walk.csv": lambda i: 50 + 10 * math.sin(i / 400) + dice.gauss(0, 1),
        "made/skewed.csv": lambda i: math.exp(dice.gauss(2, 0.4)),
    }
    troubles: list[Callable[[float, int], float]] = [
        lambda v, i: v * 2.2,
        lambda v, i: v * 0.1,
        lambda v, i: v + 12 + i,
        lambda v, i: v + (30 if i % 2 else -30),
        lambda v, i: v + 25,
        lambda v, i: 0.0,
    ]
    out = []
    for number, (name, shape) in enumerate(shapes.items()):
        values = [shape(i) for i in range(length)]
        begins = [int(length * 0.45), int(length * 0.8)]
        for which, begin in enumerate(begins):
            trouble = troubles[(number + which * 3) % len(troubles)]
            values[begin : begin + 12] = [trouble(v, i) for i, v in enumerate(values[begin : begin + 12])]
        times = [1_400_000_000.0 + 300 * i for i in range(length)]
        out.append(Series(name, times, values, [(times[b - 10], times[b + 40]) for b in begins]))
    return out


def score(series: list[Series], judge_of: Callable[[Series], Judge]) -> Score:
    """What a detector says of all series, against the labels."""
    total = Score(delays=[])
    for one in series:
        judge = judge_of(one)
        said = [one.times[i] for i, v in enumerate(one.values) if judge(i, v) and i >= one.probation]
        for begin, end in one.windows:
            inside = [at for at in said if begin <= at <= end]
            if inside and total.delays is not None:
                total.found += 1
                total.delays.append((inside[0] - begin) / max(end - begin, 1.0))
            else:
                total.missed += 1
        total.false += sum(not any(begin <= at <= end for begin, end in one.windows) for at in said)
    return total


def watch(**form: Any) -> Callable[[Series], Judge]:
    """A detector of ours, both sides."""

    def judge_of(series: Series) -> Judge:
        one = AnomalyWatch(AnomalyForm(measure="m", **form), 1)
        return lambda i, value: one.take(Row("s", "", i, i + 1, {"m": value})) is not None

    return judge_of


def static(series: Series) -> Judge:
    """Mean ± 3 standard deviations of the probation."""
    known = series.values[: max(series.probation, 2)]
    mean, spread = statistics.fmean(known), statistics.pstdev(known)
    return _first(lambda value: abs(value - mean) > 3 * spread)


def rolling(series: Series) -> Judge:
    """Mean ± 3 standard deviations of the last 100 values."""
    recent: deque[float] = deque(maxlen=100)

    def beyond(value: float) -> bool:
        far = len(recent) >= 20 and abs(value - statistics.fmean(recent)) > 3 * (statistics.pstdev(recent) or 1e-9)
        recent.append(value)
        return far

    return _first(beyond)


def _first(beyond: Callable[[float], bool]) -> Judge:
    """Say a run of unusual values once, as ours do."""
    before = [False]

    def judge(i: int, value: float) -> bool:
        now, was = beyond(value), before[0]
        before[0] = now
        return now and not was

    return judge


DETECTORS: Final[dict[str, Callable[[Series], Judge]]] = {
    "robust": watch(memory=300, warm_up=100),
    "robust, sensitivity 3.5": watch(memory=300, warm_up=100, sensitivity=3.5),
    "half_space": watch(method="half_space", memory=300, warm_up=100),
    "drift": watch(method="drift", warm_up=100),
    "static threshold": static,
    "plain z-score": rolling,
}


def table(sets: list[list[Series]]) -> Iterator[str]:
    """One line a detector: of all sets together, and the least and greatest F1 of a single one."""
    series = [one for some in sets for one in some]
    windows = sum(len(one.windows) for one in series)
    count, values = len(series), sum(len(one.values) for one in series)
    yield f"{len(sets)} set{'s' * (len(sets) > 1)}, {count} series, {values:,} values, {windows} windows"
    yield f"{'detector':<24}{'precision':>10}{'recall':>8}{'F1':>6}{'of one set':>14}{'delay':>7}{'false/1,000':>13}"
    values = sum(len(one.values) - one.probation for one in series)
    for name, judge_of in DETECTORS.items():
        scores = [score(some, judge_of) for some in sets]
        found, each = _together(scores), [one.f1 for one in scores]
        delay = statistics.median(found.delays) if found.delays else math.nan
        said = f"{found.precision:>10.2f}{found.recall:>8.2f}{found.f1:>6.2f}{min(each):>6.2f} to {max(each):.2f}"
        yield f"{name:<24}{said}{delay:>7.2f}{1000 * found.false / values:>13.2f}"


def _together(scores: list[Score]) -> Score:
    total = Score(delays=[])
    for one in scores:
        total.found += one.found
        total.missed += one.missed
        total.false += one.false
        total.delays = [*(total.delays or []), *(one.delays or [])]
    return total


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


def _text(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.nab", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, metavar="DIR", help="a checkout of the benchmark (default: a made set)")
    parser.add_argument("--seeds", default="101-108", metavar="FIRST-LAST", help="sets to make (default: 101-108)")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    made = (generate(seed) for seed in range(int(first), int(last or first) + 1))
    for line in table([load(arguments.data)] if arguments.data else list(made)):
        print(line)


if __name__ == "__main__":
    main()
