"""Forecasts of a measure: several models side by side, the one with the least rolling error speaks.

linear        least squares over the last 60 windows
holt_winters  additive Holt-Winters [Winters 1960] (river)
snarimax      SNARIMAX(3, 1, 1) with a seasonal term where there is a season (river)

The error of a model is the mean absolute error of its one-step forecasts over the last 50 windows. Intervals are the
empirical quantiles of those errors, widened with the square root of the horizon (errors of a random walk); with few
windows they are normal. The confidence is 1 / (1 + error / mean absolute change).
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from automation.analytics.findings import Predicted
from automation.analytics.forms import Forecast
from automation.analytics.stream import Row

ERRORS: Final = 50
LINEAR_WINDOW: Final = 60
_NORMAL: Final = statistics.NormalDist()


class Model(Protocol):
    """Learns values one by one and says what comes next."""

    def learn(self, value: float) -> None:
        """The next value."""

    def forecast(self, horizon: int) -> list[float]:
        """The next `horizon` values."""


class Linear:
    """See above."""

    def __init__(self, season: int | None) -> None:
        self._values: Final[deque[float]] = deque(maxlen=LINEAR_WINDOW)

    def learn(self, value: float) -> None:
        """Remember."""
        self._values.append(value)

    def forecast(self, horizon: int) -> list[float]:
        """Along the line."""
        count = len(self._values)
        if count < 2:
            return [self._values[-1] if count else 0.0] * horizon
        slope, intercept = statistics.linear_regression(range(count), self._values)
        return [intercept + slope * (count - 1 + step) for step in range(1, horizon + 1)]


class River:
    """A forecaster of river's; one that breaks numerically answers with the last value."""

    def __init__(self, model: Any) -> None:
        self._model: Final = model
        self._last = 0.0

    def learn(self, value: float) -> None:
        """Learn."""
        self._model.learn_one(value)
        self._last = value

    def forecast(self, horizon: int) -> list[float]:
        """What the model says."""
        try:
            values = [float(value) for value in self._model.forecast(horizon=horizon)]
        except (ArithmeticError, IndexError, ValueError):
            values = []
        return values if len(values) == horizon and all(map(math.isfinite, values)) else [self._last] * horizon


def _holt_winters(season: int | None) -> Model:
    from river import time_series

    if season is None:
        return River(time_series.HoltWinters(alpha=0.3, beta=0.1))
    return River(time_series.HoltWinters(alpha=0.3, beta=0.1, gamma=0.3, seasonality=season))


def _snarimax(season: int | None) -> Model:
    from river import time_series

    seasonal = {"m": season, "sp": 1} if season is not None else {}
    return River(time_series.SNARIMAX(p=3, d=1, q=1, **seasonal))


MODELS: Final[dict[str, Callable[[int | None], Model]]] = {
    "holt_winters": _holt_winters,
    "snarimax": _snarimax,
    "linear": Linear,
}


class _Candidate:
    def __init__(self, name: str, model: Model) -> None:
        self.name: Final = name
        self.model: Final = model
        self.errors: Final[deque[float]] = deque(maxlen=ERRORS)
        self._next: float | None = None

    @property
    def error(self) -> float:
        return statistics.fmean(map(abs, self.errors)) if self.errors else math.inf

    def learn(self, value: float) -> None:
        if self._next is not None:
            self.errors.append(value - self._next)
        self.model.learn(value)
        self._next = self.model.forecast(1)[0]


class _Series:
    """One key."""

    def __init__(self, form: Forecast) -> None:
        names = MODELS if form.model == "auto" else (form.model,)
        self.candidates: Final = [_Candidate(name, MODELS[name](form.season)) for name in names]
        self.changes: Final[deque[float]] = deque(maxlen=ERRORS)
        self.seen = 0
        self._last: float | None = None

    def learn(self, value: float) -> None:
        if self._last is not None:
            self.changes.append(abs(value - self._last))
        self._last = value
        self.seen += 1
        for candidate in self.candidates:
            candidate.learn(value)

    @property
    def best(self) -> _Candidate:
        return min(self.candidates, key=lambda candidate: candidate.error)


class ForecastWatch:
    """One forecast form over all keys of a stream; keys beyond `most` push the oldest out."""

    def __init__(self, form: Forecast, most: int) -> None:
        self.form: Final = form
        self.made = 0
        self._most: Final = most
        self._series: Final[dict[str, _Series]] = {}

    def take(self, row: Row) -> Predicted | None:
        """The prediction after a row, when one is due."""
        value = row.values.get(self.form.measure)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return None
        series = self._series.get(row.key)
        if series is None:
            while len(self._series) >= self._most:
                del self._series[next(iter(self._series))]
            series = self._series[row.key] = _Series(self.form)
        series.learn(float(value))
        if series.seen < self.form.warm_up or series.seen % self.form.every:
            return None
        self.made += 1
        return self._predict(row, series)

    def status(self) -> dict[str, Any]:
        """Plain values: the errors of the models, by key."""
        errors = {
            key: {one.name: round(one.error, 6) for one in series.candidates if one.errors}
            for key, series in list(self._series.items())[:10]
        }
        return {"measure": self.form.measure, "type": self.form.type, "made": self.made, "errors": errors}

    def _predict(self, row: Row, series: _Series) -> Predicted:
        form, best, width = self.form, series.best, max(row.end - row.start, 1)
        values = best.model.forecast(form.horizon)
        low, high = _bounds(best.errors, form.interval)
        spread = math.sqrt(form.horizon)
        change = statistics.fmean(series.changes) if series.changes else 0.0
        return Predicted(
            stream=row.stream,
            key=row.key,
            measure=form.measure,
            prediction_type=form.type,
            model=f"{row.stream}.{form.measure}",
            method=best.name,
            confidence=round(1 / (1 + best.error / change) if change else float(best.error == 0), 6),
            value=values[-1],
            low=values[-1] + low * spread,
            high=values[-1] + high * spread,
            interval=form.interval,
            at=row.end + form.horizon * width,
            made=row.end,
            limit=form.limit,
            reaches=_reaches(values, form.limit, float(row.values[form.measure]), width),
        )


def _bounds(errors: deque[float], interval: float) -> tuple[float, float]:
    """How far below and above a one-step forecast the value lies with that probability."""
    tail = (1 - interval) / 2
    if len(errors) >= 20:
        ordered = sorted(errors)
        at = tail * (len(ordered) - 1)
        return ordered[math.floor(at)], ordered[math.ceil(len(ordered) - 1 - at)]
    deviation = math.sqrt(statistics.fmean(error * error for error in errors)) if errors else 0.0
    reach = deviation * _NORMAL.inv_cdf(1 - tail)
    return -reach, reach


def _reaches(values: list[float], limit: float | None, now: float, width: int) -> float | None:
    """Seconds until the forecast crosses the limit, from whichever side; 0 if it has."""
    if limit is None:
        return None
    rising = values[-1] >= now
    if now >= limit if rising else now <= limit:
        return 0.0
    for step, value in enumerate(values, 1):
        if value >= limit if rising else value <= limit:
            return step * width / 1e9
    return None
