"""The streams of one definition, joined: events and time in; rows and findings out, in the order in which they feed
each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from automation.analytics.anomalies import AnomalyWatch
from automation.analytics.batch import Batch
from automation.analytics.findings import Finding
from automation.analytics.forecasts import ForecastWatch
from automation.analytics.forms import Analytics
from automation.analytics.joins import Correlation, Join
from automation.analytics.stream import Row, Stream
from automation.analytics.trends import TrendWatch
from automation.events import SemanticEvent

ROWS_TOGETHER: Final = 64
MOST_JOINED: Final = 10_000  # keys that a join or correlation is watched for
Watch = AnomalyWatch | ForecastWatch | TrendWatch
Node = Stream | Join | Correlation


@dataclass(frozen=True, slots=True)
class Output:
    """What one step brought."""

    rows: list[Row]
    findings: list[Finding]


class Engine:
    """Everything that one `Analytics` says. Rows of a stream go on to the streams, joins and correlations behind it."""

    def __init__(self, form: Analytics) -> None:
        self.form: Final = form
        self.name: Final = form.name
        self.nodes: Final[dict[str, Node]] = {name: _node(form, name) for name in form.order or ()}
        self.watches: Final[dict[str, list[Watch]]] = {name: list(_watches(form, name)) for name in self.nodes}

    def wants(self, type_name: str) -> bool:
        """Whether events of this type are taken by some stream."""
        return any(one.form.stream is None and one.wants(type_name) for one in self._streams())

    def feed(self, events: Sequence[SemanticEvent], now: int) -> Output:
        """Take a batch of events; `now` in ns by the clock."""
        return _together(self.steps(events, now, advance=False))

    def advance(self, now: int) -> Output:
        """Let time pass to `now` (ns)."""
        return _together(self.steps((), now, advance=True))

    def deadline(self) -> int | None:
        """When `advance` has something to do (ns); None while nothing is under way."""
        return min((d for one in self._streams() if (d := one.deadline()) is not None), default=None)

    def status(self) -> dict[str, Any]:
        """Plain values by stream."""
        return {
            name: {**node.status(), "watches": [watch.status() for watch in self.watches[name]]}
            for name, node in self.nodes.items()
        }

    def _streams(self) -> Iterator[Stream]:
        return (node for node in self.nodes.values() if isinstance(node, Stream))

    def steps(self, events: Sequence[SemanticEvent], now: int, *, advance: bool) -> Iterator[Output]:
        """Both of them bit by bit, for one who has others to think of: at most 64 rows at a time. To be gone through to
        the end.
        """
        rows: list[Row] = []
        batch = Batch(events)
        for name, node in self.nodes.items():
            made = self._of_node(node, batch, rows, now, advance=advance)
            for i in range(0, len(made), ROWS_TOGETHER):
                some = made[i : i + ROWS_TOGETHER]
                watches = self.watches[name]
                yield Output(some, [found for row in some for one in watches if (found := one.take(row)) is not None])
            rows += made

    @staticmethod
    def _of_node(node: Node, batch: Batch, rows: Sequence[Row], now: int, *, advance: bool) -> list[Row]:
        if not isinstance(node, Stream):
            return [made for row in list(rows) for made in node.take(row)]
        source = node.form.stream
        if source is not None:
            batch = Batch([row_event(row) for row in rows if row.stream == source])
        out = node.feed(batch, now) if len(batch) else []
        return out + (node.advance(now) if advance else [])


def _together(steps: Iterator[Output]) -> Output:
    whole = Output([], [])
    for one in steps:
        whole.rows.extend(one.rows)
        whole.findings.extend(one.findings)
    return whole


def row_event(row: Row) -> SemanticEvent:
    """The event that tells of a row; its time is the last moment of the window, so that it is of the same window of a
    stream that is made of it.
    """
    attrs = {**row.values, "stream": row.stream, "key": row.key, "start": row.start, "end": row.end}
    return SemanticEvent("analytics.window", ts=row.end - 1, attrs=attrs)


def _node(form: Analytics, name: str) -> Node:
    if name in form.streams:
        return Stream(name, form.streams[name])
    if name in form.joins:
        return Join(name, form.joins[name])
    return Correlation(name, form.correlations[name])


def _watches(form: Analytics, name: str) -> Iterator[Watch]:
    one = form.streams.get(name)
    if one is None:
        for anomaly in (form.joins.get(name) or form.correlations[name]).anomalies:
            yield AnomalyWatch(anomaly, MOST_JOINED)
        return
    yield from (TrendWatch(trend, one.max_keys) for trend in one.trends)
    yield from (AnomalyWatch(anomaly, one.max_keys) for anomaly in one.anomalies)
    yield from (ForecastWatch(forecast, one.max_keys) for forecast in one.forecasts)
