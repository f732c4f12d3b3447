"""What a definition of kind `analytics` says: streams, joins and correlations; see docs/analytics.md."""

# ruff: noqa: RUF012 - pydantic copies its models' defaults
from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from automation.analytics.aggregates import EMPTY_IS_ZERO, Aggregate, parse_aggregate
from automation.expressions import nearest
from automation.forms import Condition, Form, Globs, Name, Types, also, checked_key, one_or_more
from automation.quantities import Duration
from automation.triggers.forms import Anomaly

Positive = Annotated[Duration, Field(gt=0)]
Prediction = Literal["event_volume", "latency", "error_rate", "resource_usage", "pattern_occurrence"]
ABOVE = ("volume_spike", "latency_spike", "error_rate", "resource_exhaustion")


def _expressions(value: Any) -> list[str]:
    return [checked_key(str(one)) for one in one_or_more(value)]  # type: ignore[attr-defined]


class Window(Form):
    """One of: `tumbling` and `sliding` by time, `session` by a gap of silence, `count` by events."""

    tumbling: Positive | None = None
    sliding: Positive | None = None
    every: Positive | None = None
    session: Positive | None = None
    count: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Window:
        kinds = [name for name in ("tumbling", "sliding", "session", "count") if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError("a window is one of tumbling, sliding (with every), session and count")
        if (self.sliding is None) != (self.every is None):
            raise ValueError("a sliding window needs 'every', how often it ends, and no other does")
        if self.sliding is not None and self.every is not None:
            panes = self.sliding / self.every
            if abs(panes - round(panes)) > 1e-9 or not 1 <= round(panes) <= 10_000:
                raise ValueError("'sliding' must be a whole multiple of 'every', at most 10,000 of it")
        return self

    @property
    def pane_ns(self) -> int:
        """How long a pane is; 0 where time does not end windows."""
        return round((self.tumbling or self.every or 0) * 1e9)

    @property
    def panes(self) -> int:
        """How many panes a window has."""
        return 1 if self.sliding is None or self.every is None else round(self.sliding / self.every)


class Trend(Form):
    """Theil and Sen's slope over the last windows, with Mann and Kendall's test."""

    measure: str
    samples: int = Field(default=30, ge=8, le=10_000)
    significance: float = Field(default=0.05, gt=0, lt=0.5)
    seasonality: bool = False


class AnomalyForm(Form):
    """What is unusual in a measure, and when to say so."""

    measure: str
    type: Anomaly = also("type", "anomaly_type", default="unusual_pattern")
    method: Literal["robust", "half_space", "drift", "limit"] = "robust"
    sensitivity: float = Field(default=6.0, gt=0, le=100)
    season: int | None = Field(default=None, ge=2, le=10_000)
    memory: int = Field(default=120, ge=10, le=100_000)
    warm_up: int = Field(default=20, ge=5, le=100_000)
    limit: float | None = None
    repeat: Duration | None = None

    @model_validator(mode="after")
    def _limited(self) -> AnomalyForm:
        if (self.method == "limit") != (self.limit is not None):
            raise ValueError("'limit' goes with method: limit")
        return self


class Forecast(Form):
    """What a measure will be `horizon` windows from now; with `limit`, when it will reach that."""

    measure: str
    type: Prediction = also("type", "prediction_type", default="event_volume")
    model: Literal["auto", "holt_winters", "snarimax", "linear"] = "auto"
    horizon: int = Field(default=12, ge=1, le=1000)
    season: int | None = Field(default=None, ge=2, le=1000)
    interval: float = Field(default=0.9, gt=0, lt=1)
    warm_up: int = Field(default=24, ge=8, le=10_000)
    limit: float | None = None
    every: int = Field(default=1, ge=1, le=10_000)


class StreamForm(Form):
    """From events (or the rows of another stream) to a row for each window and key."""

    events: Types | None = also("events", "on", default=None)
    stream: Name | None = None
    path: Globs | None = None
    where: Condition | None = None
    key: Annotated[list[str], BeforeValidator(_expressions, json_schema_input_type=str | list[str])] = []
    value: Annotated[str, AfterValidator(checked_key)] | None = None
    failed: bool = False
    window: Window = Window(tumbling=10.0)
    time: Literal["event", "processing"] = "event"
    lateness: Duration = 0.0
    aggregates: dict[Name, Annotated[Any, BeforeValidator(parse_aggregate, json_schema_input_type=str)]] = {
        "count": Aggregate("count")
    }
    fill: bool | None = None
    max_keys: int = Field(default=10_000, ge=1, le=1_000_000)
    history: int = Field(default=500, ge=1, le=100_000)
    trends: list[Trend] = []
    anomalies: list[AnomalyForm] = []
    forecasts: list[Forecast] = []

    @model_validator(mode="after")
    def _whole(self) -> StreamForm:
        if (self.events is None) == (self.stream is None):
            raise ValueError("give 'events', or 'stream' for the rows of another one")
        if not self.aggregates:
            raise ValueError("a stream needs 'aggregates', for instance {count: count}")
        watched: list[Trend | AnomalyForm | Forecast] = [*self.trends, *self.anomalies, *self.forecasts]
        for one in watched:
            found = self.aggregates.get(one.measure)
            if found is None:
                raise ValueError(f"there is no aggregate {one.measure!r}{nearest(one.measure, self.aggregates)}")
            if found.kind == "top":
                raise ValueError(f"{one.measure!r} is a list, no number")
        return self

    @property
    def fills(self) -> bool:
        """Whether a window of a known key in which nothing came makes a row too."""
        if self.fill is not None:
            return self.fill
        return bool(self.trends or self.anomalies or self.forecasts)

    def empty(self, name: str, last: Any) -> Any:
        """What an aggregate is in a window in which nothing came, after `last`."""
        kind = self.aggregates[name].kind
        return (0.0 if kind != "count" else 0) if kind in EMPTY_IS_ZERO else [] if kind == "top" else last


class JoinForm(Form):
    """Rows of two streams of the same key whose windows end within a time of each other."""

    left: Name
    right: Name
    within: Duration = 0.0
    history: int = Field(default=500, ge=1, le=100_000)
    anomalies: list[AnomalyForm] = []


class CorrelationForm(Form):
    """How two measures go together, window by window, at each of the lags from 0 to `lags` windows."""

    left: str
    right: str
    method: Literal["pearson", "spearman"] = "pearson"
    samples: int = Field(default=30, ge=5, le=10_000)
    lags: int = Field(default=0, ge=0, le=1000)
    history: int = Field(default=500, ge=1, le=100_000)
    anomalies: list[AnomalyForm] = []


class Analytics(Form):
    """The whole file."""

    kind: Literal["analytics"]
    name: Name
    description: str = ""
    enabled: bool = True
    streams: dict[Name, StreamForm] = Field(min_length=1)
    joins: dict[Name, JoinForm] = {}
    correlations: dict[Name, CorrelationForm] = {}
    metadata: dict[str, Any] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Analytics:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        names = [*self.streams, *self.joins, *self.correlations]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            yield f"two things are called {twice!r}"
        for name, sources in self.sources.items():
            for source in sources:
                if source not in names:
                    yield f"{name}: there is no stream {source!r}{nearest(source, names)}"
        for name, one in self.correlations.items():
            yield from self._wrong_measures(name, one)
        if self.order is None:
            yield "streams feed each other in a circle"

    def _wrong_measures(self, name: str, one: CorrelationForm) -> Iterator[str]:
        for side in (one.left, one.right):
            stream, _, measure = side.rpartition(".")
            found = self.streams.get(stream)
            if not stream or (found is not None and measure not in found.aggregates):
                yield f"{name}: {side!r} is no measure; write STREAM.AGGREGATE"
            elif found is not None and found.aggregates[measure].kind == "top":
                yield f"{name}: {side!r} is a list, no number"

    @property
    def sources(self) -> dict[str, list[str]]:
        """What feeds what: by name, the names of the streams behind it."""
        out = {name: [one.stream] if one.stream is not None else [] for name, one in self.streams.items()}
        out |= {name: [one.left, one.right] for name, one in self.joins.items()}
        return out | {
            name: [side.rpartition(".")[0] for side in (one.left, one.right)] for name, one in self.correlations.items()
        }

    @property
    def order(self) -> list[str] | None:
        """The names, each after what feeds it; None where there is a circle."""
        left, done = dict(self.sources), list[str]()
        while left:
            ready = [name for name, sources in left.items() if all(source not in left for source in sources)]
            if not ready:
                return None
            done += ready
            for name in ready:
                del left[name]
        return done

    @property
    def libraries(self) -> set[str]:
        """The modules that it needs and that take a second to import."""
        anomalies = [found for one in self.streams.values() for found in one.anomalies]
        anomalies += [found for one in self.joins.values() for found in one.anomalies]
        anomalies += [found for one in self.correlations.values() for found in one.anomalies]
        home = {"half_space": "river.anomaly", "drift": "river.drift"}
        found = {home[one.method] for one in anomalies if one.method in home}
        found |= {"river.time_series" for one in self.streams.values() for f in one.forecasts if f.model != "linear"}
        return found | {"scipy.stats" for one in self.streams.values() if one.trends}
