"""Trend and season of a measure: Theil and Sen's slope [Sen 1968] with the test of Mann and Kendall, and the period at
which the autocorrelation is greatest.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final

import numpy as np

from automation.analytics.findings import Trended
from automation.analytics.forms import Trend
from automation.analytics.stream import Row

FEWEST_PERIODS: Final = 3
_ENOUGH: Final = 0.5  # of autocorrelation


class TrendWatch:
    """One trend form over all keys of a stream; a finding when the direction becomes another."""

    def __init__(self, form: Trend, most: int) -> None:
        self.form: Final = form
        self.last: Final[dict[str, Trended]] = {}
        self._most: Final = most
        self._values: Final[dict[str, deque[float]]] = {}

    def take(self, row: Row) -> Trended | None:
        """The trend after a row, when it is another than before."""
        value = row.values.get(self.form.measure)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return None
        values = self._values.get(row.key)
        if values is None:
            while len(self._values) >= self._most:
                self._values.pop(gone := next(iter(self._values)))
                self.last.pop(gone, None)
            values = self._values[row.key] = deque(maxlen=self.form.samples)
        values.append(float(value))
        if len(values) < self.form.samples:
            return None
        before, now = self.last.get(row.key), self._trend(row, np.array(values))
        self.last[row.key] = now
        return now if before is None or before.direction != now.direction else None

    def status(self) -> dict[str, Any]:
        """Plain values by key."""
        shown = {key: f"{one.direction} {one.slope:.6g} a window (p {one.p:.3g})" for key, one in self.last.items()}
        return {"measure": self.form.measure, "trends": dict(list(shown.items())[:10])}

    def _trend(self, row: Row, values: Any) -> Trended:
        from scipy import stats

        slope, _, low, high = stats.theilslopes(values, np.arange(len(values)), 0.95)
        p = mann_kendall(values)
        direction = "none" if p >= self.form.significance or slope == 0 else "rising" if slope > 0 else "falling"
        return Trended(
            row.stream,
            row.key,
            self.form.measure,
            direction,
            float(slope),
            float(low),
            float(high),
            p,
            period_of(values) if self.form.seasonality else None,
            row.end,
        )


def mann_kendall(values: Any) -> float:
    """The p-value (two-sided) of no monotonic trend, by the normal approximation with ties; from 8 values on."""
    count = len(values)
    signs = float(np.sign(values[None, :] - values[:, None])[np.triu_indices(count, 1)].sum())
    _, ties = np.unique(values, return_counts=True)
    variance = (count * (count - 1) * (2 * count + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    if variance <= 0:
        return 1.0
    z = (signs - math.copysign(1, signs)) / math.sqrt(variance) if signs else 0.0
    return math.erfc(abs(z) / math.sqrt(2))


def period_of(values: Any) -> int | None:
    """The season in windows: the lag of the greatest peak of the autocorrelation, None if none is at least 0.5 and
    fits three times into the values.
    """
    plain = np.asarray(values, dtype=np.float64)
    count = len(plain)
    line = np.polyval(np.polyfit(np.arange(count), plain, 1), np.arange(count))
    rest = plain - line
    power = float(rest @ rest)
    longest = count // FEWEST_PERIODS
    if power <= 1e-12 or longest < 3:
        return None
    lags = np.array([float(rest[lag:] @ rest[:-lag]) / power * count / (count - lag) for lag in range(1, longest + 1)])
    peaks = [i for i in range(1, len(lags) - 1) if lags[i] >= lags[i - 1] and lags[i] >= lags[i + 1]]
    best = max(peaks, key=lambda i: lags[i], default=None)
    return None if best is None or lags[best] < _ENOUGH else best + 1
