"""Online anomaly detection: one detector for each measure and key. Each takes the values of windows one by one, judges
by what came before, then learns.

robust      distance from the median of the last `memory` values (of the same place in the season) in robust standard
            deviations, 1.4826 MAD or 1.2533 times the mean distance [Iglewicz and Hoaglin 1993], whichever is greater;
            beyond `sensitivity` it is unusual
half_space  half-space trees [Tan, Ting and Liu 2011] (river) over the value and its change, both in robust deviations;
            what scores more than all of the last 500 is unusual
drift       ADWIN [Bifet and Gavaldà 2007] (river): the mean has changed for good
limit       the value itself against a limit
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from automation.analytics.findings import Found
from automation.analytics.forms import ABOVE, AnomalyForm
from automation.analytics.half_space import HalfSpaceTrees
from automation.analytics.stream import Row

MAD_TO_DEVIATION: Final = 1.4826
MEAN_TO_DEVIATION: Final = 1.2533  # as the former, of a normal distribution
RENEWED: Final = 8
_HALF_SPACE_LEAST: Final = 0.8
_HALF_SPACE_WINDOW: Final = 100
_HALF_SPACE_MEMORY: Final = 500


class Judgement:
    """`score` in [0, 1], 0 for usual; `side` is 1 above what was expected, -1 below."""

    __slots__ = ("high", "low", "score", "side")

    def __init__(self, score: float, side: int = 0, low: float | None = None, high: float | None = None) -> None:
        self.score, self.side, self.low, self.high = score, side, low, high


USUAL: Final = Judgement(0.0)


class Detector(Protocol):
    """Judges a value by those before it, then remembers it."""

    def take(self, value: float) -> Judgement:
        """How unusual `value` is."""


class Recent:
    """The last values, sorted too. The deviation is worked out anew at each eighth value: it moves slowly. A `wary` one
    looks at the mean distance from the median besides the median distance, and takes the greater: where most values
    are almost equal, the rest are not unusual for that.
    """

    def __init__(self, memory: int, *, wary: bool = False) -> None:
        self._wary: Final = wary
        self._values: Final[deque[float]] = deque()
        self._sorted: Final[list[float]] = []
        self._memory: Final = memory
        self._deviation: float | None = None
        self._added = 0

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float) -> None:
        """Remember, and forget the oldest when there are too many."""
        self._values.append(value)
        insort(self._sorted, value)
        self._added += 1
        if self._added % RENEWED == 0 or self._added < RENEWED * 8:
            self._deviation = None
        if len(self._values) > self._memory:
            del self._sorted[bisect_left(self._sorted, self._values.popleft())]

    @property
    def median(self) -> float:
        """Of all."""
        middle = len(self._sorted) // 2
        return self._sorted[middle] if len(self._sorted) % 2 else (self._sorted[middle - 1] + self._sorted[middle]) / 2

    def deviation(self) -> float:
        """A robust standard deviation, at least a little."""
        if self._deviation is None:
            self._deviation = self._spread()
        return self._deviation

    def _spread(self) -> float:
        median, ordered = self.median, self._sorted
        spread = median_distance(ordered, median) * MAD_TO_DEVIATION
        if self._wary or spread <= 0:
            half = len(ordered) // 2
            mean = (sum(ordered[len(ordered) - half :]) - sum(ordered[:half])) / len(ordered)
            spread = max(spread, mean * MEAN_TO_DEVIATION)
        return max(spread, 1e-9, abs(median) * 0.001, math.sqrt(abs(median)) * 0.05)


def median_distance(ordered: list[float], middle: float) -> float:
    """The median of how far sorted values are from `middle`: 3 µs for 120, where looking at each takes 20 µs."""
    half = len(ordered) // 2
    upper = _distance(ordered, middle, half)
    return upper if len(ordered) % 2 else (upper + _distance(ordered, middle, half - 1)) / 2


def _distance(ordered: list[float], middle: float, rank: int) -> float:
    """The distance of that rank, from 0: how many of the nearest values lie below the middle is found by bisection."""
    at = bisect_left(ordered, middle)
    least, most = max(0, rank + 1 - (len(ordered) - at)), min(at, rank + 1)
    while least < most:
        below = (least + most) // 2
        if middle - ordered[at - 1 - below] < ordered[at + rank - below] - middle:
            least = below + 1
        else:
            most = below
    above = rank + 1 - least
    nearest = middle - ordered[at - least] if least else 0.0
    return max(nearest, ordered[at + above - 1] - middle) if above else nearest


class Robust:
    """See above. With a season each place in it has a memory of its own."""

    def __init__(self, form: AnomalyForm) -> None:
        self.form = form
        self._seasons: Final = [Recent(form.memory, wary=True) for _ in range(form.season or 1)]
        self._seen = 0

    def take(self, value: float) -> Judgement:
        """By the robust z-score; a score of 0.5 at the sensitivity, 1 in the limit."""
        recent = self._seasons[self._seen % len(self._seasons)]
        self._seen += 1
        judgement = USUAL
        if self._seen > self.form.warm_up and len(recent) >= min(5, self.form.warm_up):
            median, deviation = recent.median, recent.deviation()
            z = (value - median) / deviation
            reach = self.form.sensitivity * deviation
            score = 1 - 2 ** (-abs(z) / self.form.sensitivity) if abs(z) > self.form.sensitivity else 0.0
            judgement = Judgement(score, 1 if z > 0 else -1, median - reach, median + reach)
            if score:  # an outlier must not stretch the memory: it counts as the bound
                value = min(max(value, median - reach), median + reach)
        recent.add(value)
        return judgement


class HalfSpace:
    """See above. How high scores go depends on the series: it says what scores more than each of the last 500 values
    did. Chosen among trees, heights, windows and limits on 8 sets of `bench/nab.py` (seeds 1 to 8), and the same on
    others: with a limit of 0.955 alone, and 5 trees of height 6, F1 was 0.43 instead of 0.67.
    """

    def __init__(self, form: AnomalyForm) -> None:
        self._values: Final = Recent(form.memory)
        self._changes: Final = Recent(form.memory)
        self._trees: Final = HalfSpaceTrees(trees=10, height=5, window=_HALF_SPACE_WINDOW, seed=7)
        self._silent: Final = max(form.warm_up, 2 * _HALF_SPACE_WINDOW)
        self._highest: Final = _Highest(_HALF_SPACE_MEMORY)
        self._before = 0.0
        self._seen = 0

    def take(self, value: float) -> Judgement:
        """By the mass of the half-spaces that it lies in."""
        change = value - self._before
        self._values.add(value)
        self._changes.add(change)
        score = self._trees.take(_squashed(value, self._values), _squashed(change, self._changes))
        side = 1 if value > self._before else -1
        self._before, self._seen = value, self._seen + 1
        if self._seen <= _HALF_SPACE_WINDOW:
            return USUAL
        highest = self._highest.add(score)
        unusual = score > max(highest, _HALF_SPACE_LEAST) and self._seen > self._silent
        return Judgement(score, side) if unusual else USUAL


class _Highest:
    """The highest of the last `memory` values."""

    def __init__(self, memory: int) -> None:
        self._memory: Final = memory
        self._falling: Final[deque[tuple[int, float]]] = deque()  # those that no later one surpasses
        self._added = 0

    def add(self, value: float) -> float:
        """Add one; the highest of those before."""
        falling = self._falling
        if falling and falling[0][0] < self._added - self._memory:
            falling.popleft()
        highest = falling[0][1] if falling else 0.0
        while falling and falling[-1][1] <= value:
            falling.pop()
        falling.append((self._added, value))
        self._added += 1
        return highest


def _squashed(value: float, recent: Recent) -> float:
    """From 0 to 1 by robust standard deviations from the median: an outlier does not move the others."""
    return 0.5 + math.atan((value - recent.median) / recent.deviation() / 6) / math.pi


class Drift:
    """See above."""

    def __init__(self, form: AnomalyForm) -> None:
        from river import drift

        self._adwin: Final = drift.ADWIN(delta=0.002, grace_period=max(5, form.warm_up))

    def take(self, value: float) -> Judgement:
        """Whether the mean has changed: score by how far, in standard deviations."""
        mean, spread = self._adwin.estimation, math.sqrt(max(self._adwin.variance, 1e-12))
        self._adwin.update(value)
        if not self._adwin.drift_detected:
            return USUAL
        distance = abs(self._adwin.estimation - mean) / spread
        return Judgement(min(1.0, 0.5 + distance / 4), 1 if self._adwin.estimation > mean else -1)


class Limit:
    """See above; the score tells how far beyond, 1 at twice the limit."""

    def __init__(self, form: AnomalyForm) -> None:
        self._limit: Final = form.limit or 0.0
        self._below: Final = form.type == "volume_drop"

    def take(self, value: float) -> Judgement:
        """Against the limit."""
        beyond = self._limit - value if self._below else value - self._limit
        if beyond < 0:
            return USUAL
        score = min(1.0, 0.7 + 0.3 * beyond / (abs(self._limit) or 1.0))
        low, high = (self._limit, None) if self._below else (None, self._limit)
        return Judgement(score, -1 if self._below else 1, low, high)


DETECTORS: Final[dict[str, Callable[[AnomalyForm], Detector]]] = {
    "robust": Robust,
    "half_space": HalfSpace,
    "drift": Drift,
    "limit": Limit,
}


class AnomalyWatch:
    """One anomaly form over all keys of a stream: warm-up, direction and repeats. An anomaly that goes on is said once,
    with `repeat` again after so long. Keys beyond `most` push the oldest out.
    """

    def __init__(self, form: AnomalyForm, most: int) -> None:
        self.form = self.defined = form
        self.found = 0
        self.suppressed = 0
        self._most: Final = most
        self._detectors: Final[dict[str, Detector]] = {}
        self._said: Final[dict[str, int]] = {}  # by key: when the anomaly that goes on was said

    def tune(self, sensitivity: float) -> None:
        """Judge by another sensitivity from now on; what was learnt stays."""
        self.form = self.form.model_copy(update={"sensitivity": sensitivity})
        for detector in self._detectors.values():
            if isinstance(detector, Robust):
                detector.form = self.form

    def take(self, row: Row) -> Found | None:
        """What is unusual in a row."""
        value = row.values.get(self.form.measure)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return None
        judgement = self._detector(row.key).take(float(value))
        if not judgement.score or not self._is_of_kind(judgement):
            self._said.pop(row.key, None)
            return None
        said = self._said.get(row.key)
        repeats = self.form.repeat is not None and said is not None and row.end - said >= self.form.repeat * 1e9
        if said is not None and not repeats:
            self.suppressed += 1
            return None
        self._said[row.key] = row.end
        self.found += 1
        return self._finding(row, float(value), judgement)

    def _is_of_kind(self, judgement: Judgement) -> bool:
        kind = self.form.type
        return judgement.side > 0 if kind in ABOVE else judgement.side < 0 if kind == "volume_drop" else True

    def _finding(self, row: Row, value: float, judgement: Judgement) -> Found:
        return Found(
            stream=row.stream,
            key=row.key,
            measure=self.form.measure,
            anomaly_type=self.form.type,
            score=round(judgement.score, 6),
            value=value,
            low=judgement.low,
            high=judgement.high,
            method=self.form.method,
            start=row.start,
            end=row.end,
        )

    def _detector(self, key: str) -> Detector:
        found = self._detectors.get(key)
        if found is None:
            while len(self._detectors) >= self._most:
                gone = next(iter(self._detectors))
                del self._detectors[gone]
                self._said.pop(gone, None)
            found = self._detectors[key] = DETECTORS[self.form.method](self.form)
        return found

    def status(self) -> dict[str, Any]:
        """Plain values."""
        out: dict[str, Any] = {"measure": self.form.measure, "type": self.form.type, "method": self.form.method}
        out |= {"sensitivity": self.form.sensitivity} if self.form.method == "robust" else {}
        return {**out, "found": self.found, "suppressed": self.suppressed}
