"""What analytics finds: anomalies, predictions, trends. Plain values for events, control files and triggers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

SEVERITIES: Final = ((0.95, "critical"), (0.85, "high"), (0.7, "medium"), (0.0, "low"))


def severity_of(score: float) -> str:
    """`low` below 0.7, `medium` from there, `high` from 0.85, `critical` from 0.95."""
    return next(name for least, name in SEVERITIES if score >= least)


@dataclass(frozen=True, slots=True)
class Found:
    """An anomaly: `score` in [0, 1]; `low` and `high` bound what was expected, None where a method has no bounds."""

    stream: str
    key: str
    measure: str
    anomaly_type: str
    score: float
    value: float
    low: float | None
    high: float | None
    method: str
    start: int
    end: int

    event_type = "anomaly.detected"

    def attrs(self) -> dict[str, Any]:
        """The attributes of its event."""
        return {**asdict(self), "severity": severity_of(self.score)}


@dataclass(frozen=True, slots=True)
class Predicted:
    """A prediction of `model`, which is `STREAM.MEASURE`, by `method`: `value` at `at` (ns), between `low` and `high`
    with the probability `interval`. With `limit`, `reaches` is when that is expected, in seconds from `made`; None if
    not within the horizon.
    """

    stream: str
    key: str
    measure: str
    prediction_type: str
    model: str
    method: str
    confidence: float
    value: float
    low: float
    high: float
    interval: float
    at: int
    made: int
    limit: float | None = None
    reaches: float | None = None

    event_type = "prediction.made"

    def attrs(self) -> dict[str, Any]:
        """The attributes of its event."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Trended:
    """A trend: `slope` a window (Theil-Sen) between `low` and `high`, `p` of Mann-Kendall; `period` in windows."""

    stream: str
    key: str
    measure: str
    direction: str
    slope: float
    low: float
    high: float
    p: float
    period: int | None
    end: int


Finding = Found | Predicted | Trended
