"""Thresholds with hysteresis, tolerance and hold times: measurements → which state they ask for. Pure.

measured ≥ enter for `hold`          → the threshold is exceeded, and asks for its state
measured < leave for `release`       → it is not any more
between the two, or a contrary sample that `tolerance` allows for: nothing changes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from automation.forms import Form, Name
from automation.quantities import Duration

SEVERITY: Final = ("Normal", "Scaling", "HighLoad", "Degraded", "Emergency")
"""What thresholds may ask for, the gravest last: the gravest that is asked for wins."""

MEASURES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "queues": "share of the fullest queue of the automations that is in use, 0 to 1",
        "waiting": "firings that wait for their run",
        "lag": "how late the event loop is, in seconds (99 of 100 in the last minute are better)",
        "demand": "share of the last second in which automations waited for their turn, since requests of the "
        "filesystem came first, and that which what is given up would have taken",
        "errors": "share of the runs of the last minute that failed, 0 to 1; 0 while there were fewer than ten",
        "disk": "share of the filesystem below that is in use, 0 to 1",
        "memory": "share of the last ten seconds in which some task waited for memory, 0 to 1",
        "resident": "memory of this process as a share of max_memory_usage_mb, which is 1",
        "processor": "processor time of this process as a share of max_cpu_usage_percent, which is 1",
        "scripts": "script workers at work or wanted, as a share of max_instances",
        "memory_stalled": "share of the last ten seconds in which all tasks waited for memory, 0 to 1",
    }
)

VARIABLES: Final[Mapping[str, str]] = MappingProxyType(
    {"disk": "disk_usage", "memory": "memory_pressure", "errors": "error_rate", "queues": "queue_usage"}
)
"""Measures that are variables of the shared state too, by name, to three decimals."""


class Threshold(Form):
    """One threshold. `leave` is four fifths of `enter` and `release` equals `hold` unless they are given; `tolerance`
    is how many samples in a row may contradict without ending a hold.
    """

    measure: Literal[
        "queues",
        "waiting",
        "lag",
        "demand",
        "errors",
        "disk",
        "memory",
        "memory_stalled",
        "resident",
        "processor",
        "scripts",
    ]
    state: Literal["Scaling", "HighLoad", "Degraded", "Emergency"]
    enter: float = Field(gt=0)
    leave: float = Field(default=-1.0, ge=0)
    hold: Duration = 0.0
    release: Duration = -1.0
    tolerance: int = Field(default=0, ge=0, le=1000)

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        out = dict(value)
        if isinstance(out.get("enter"), int | float) and not isinstance(out["enter"], bool):
            out.setdefault("leave", out["enter"] * 0.8)
        out.setdefault("release", out.get("hold", 0.0))
        return out

    @model_validator(mode="after")
    def _ordered(self) -> Threshold:
        if self.leave > self.enter:
            raise ValueError(f"'leave' ({self.leave:g}) must not be above 'enter' ({self.enter:g})")
        return self


class ThresholdsForm(Form):
    """A definition of kind `system`: its thresholds stand in for the defaults."""

    kind: Literal["system"] = "system"
    name: Name
    description: str = ""
    enabled: bool = True
    thresholds: list[Threshold] = Field(min_length=1, max_length=100)
    metadata: dict[str, Any] = Field(default_factory=dict)


def _threshold(measure: str, state: str, enter: float, leave: float, hold: float, tolerance: int = 0) -> Threshold:
    values = {"measure": measure, "state": state, "enter": enter, "leave": leave, "hold": hold, "tolerance": tolerance}
    return Threshold.model_validate(values)


DEFAULTS: Final = (
    _threshold("queues", "HighLoad", 0.5, 0.2, 2),
    _threshold("queues", "Degraded", 0.9, 0.5, 2),
    _threshold("waiting", "HighLoad", 1000, 100, 5),
    _threshold("lag", "HighLoad", 0.25, 0.1, 5, 1),
    _threshold("lag", "Degraded", 2, 0.5, 5, 1),
    _threshold("demand", "HighLoad", 0.6, 0.2, 3, 1),
    _threshold("demand", "Degraded", 0.9, 0.4, 5, 1),
    _threshold("errors", "Degraded", 0.5, 0.2, 10),
    _threshold("disk", "Degraded", 0.97, 0.95, 2),
    _threshold("disk", "Emergency", 0.995, 0.99, 2),
    _threshold("memory", "HighLoad", 0.2, 0.1, 10, 2),
    _threshold("resident", "HighLoad", 1, 0.9, 5),
    _threshold("processor", "HighLoad", 1, 0.8, 30, 2),
    _threshold("scripts", "Scaling", 0.8, 0.5, 2),
    _threshold("memory_stalled", "Degraded", 0.2, 0.1, 10, 2),
)


class Watch:
    """One threshold over time. `exceeded` is its answer; it changes only in `observe`."""

    __slots__ = ("_contrary", "_since", "exceeded", "threshold", "value")

    def __init__(self, threshold: Threshold) -> None:
        self.threshold: Final = threshold
        self.exceeded = False
        self.value = 0.0
        self._since: int | None = None
        self._contrary = 0

    def observe(self, value: float, now: int) -> bool:
        """Use one sample at `now` (ns); whether the threshold is exceeded."""
        threshold = self.threshold
        self.value = value
        turning = value < threshold.leave if self.exceeded else value >= threshold.enter
        if turning:
            self._contrary = 0
            if self._since is None:
                self._since = now
            held = threshold.release if self.exceeded else threshold.hold
            if now - self._since >= held * 1e9:
                self.exceeded = not self.exceeded
                self._since = None
        elif self._since is not None:
            self._contrary += 1
            if self._contrary > threshold.tolerance:
                self._since, self._contrary = None, 0
        return self.exceeded


class Thresholds:
    """All thresholds: the gravest state that one of them asks for."""

    def __init__(self, thresholds: Sequence[Threshold] = DEFAULTS) -> None:
        self._watches: Final = [Watch(threshold) for threshold in thresholds]

    def observe(self, measurements: Mapping[str, float], now: int) -> tuple[str, str]:
        """The state asked for, and why; what is not measured keeps its last answer. `now` in ns."""
        gravest: Watch | None = None
        for watch in self._watches:
            value = measurements.get(watch.threshold.measure)
            exceeded = watch.exceeded if value is None else watch.observe(value, now)
            if exceeded and (gravest is None or _gravity(watch) > _gravity(gravest)):
                gravest = watch
        if gravest is None:
            return "Normal", "nothing is exceeded"
        threshold = gravest.threshold
        return threshold.state, f"{threshold.measure} is {gravest.value:.3g}, {threshold.enter:g} or more is too much"


def _gravity(watch: Watch) -> int:
    return SEVERITY.index(watch.threshold.state)
