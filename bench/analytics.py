"""What analytics cost: events a second through keyed windows, an update of each detector, growth with keys and windows.

python -m bench.analytics
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from automation.analytics.anomalies import AnomalyWatch
from automation.analytics.engine import Engine
from automation.analytics.forecasts import ForecastWatch
from automation.analytics.forms import Analytics, AnomalyForm, Forecast, Trend
from automation.analytics.stream import Row
from automation.analytics.trends import TrendWatch
from automation.events import SemanticEvent

EVENTS: Final = 100_000
BATCH: Final = 1024
ROUNDS: Final = 3
PLAIN: Final = {"files": "count", "bytes": "sum", "most": "max"}
SKETCHED: Final = {"files": "count", "p99": "quantile(0.99)", "users": "distinct(event.uid)"}


def events(keys: int) -> list[SemanticEvent]:
    """A second of writes by so many users."""
    begin = 1_700_000_000 * 10**9
    return [
        SemanticEvent("file.written", f"dir/file{i % 500}", uid=i % keys, size=i % 4096, ts=begin + i * 10_000)
        for i in range(EVENTS)
    ]


def engine(windows: int, aggregates: dict[str, str]) -> Engine:
    """So many streams over all events, each with a window of its own."""
    streams = {
        f"s{i}": {"events": "file.written", "key": "uid", "value": "event.size", "window": {"tumbling": 0.1 + i / 10}}
        | {"aggregates": aggregates, "max_keys": 100_000}
        for i in range(windows)
    }
    return Engine(Analytics.model_validate({"kind": "analytics", "name": "bench", "streams": streams}))


def throughput(windows: int, keys: int, aggregates: dict[str, str]) -> float:
    """Events a second of processor time, the median of three rounds."""
    found, some = [], events(keys)
    for _ in range(ROUNDS):
        one = engine(windows, aggregates)
        began = time.process_time()
        for i in range(0, EVENTS, BATCH):
            one.feed(some[i : i + BATCH], 0)
        found.append(EVENTS / (time.process_time() - began))
    return statistics.median(found)


def update(watch: Any, count: int = 2000) -> float:
    """Microseconds of processor time a value."""
    dice = random.Random(1)
    rows = [Row("s", "", i * 10**9, (i + 1) * 10**9, {"m": dice.gauss(100, 5)}) for i in range(count)]
    watch.take(rows[0])  # what is imported at first use
    began = time.process_time()
    for row in rows:
        watch.take(row)
    return (time.process_time() - began) / count * 1e6


def lines() -> Iterator[str]:
    """The table."""
    yield "events a second of processor time"
    for windows in (1, 10, 50):
        yield f"  {windows:>3} keyed windows, 100 keys          {throughput(windows, 100, PLAIN):>12,.0f}"
    for keys in (1, 10_000):
        yield f"   10 keyed windows, {keys:<6,} keys       {throughput(10, keys, PLAIN):>12,.0f}"
    yield f"    1 keyed window, 100 keys, sketches  {throughput(1, 100, SKETCHED):>12,.0f}"
    yield "microseconds an update"
    watches: dict[str, Callable[[], Any]] = {
        "robust": lambda: AnomalyWatch(AnomalyForm(measure="m"), 1),
        "half_space": lambda: AnomalyWatch(AnomalyForm(measure="m", method="half_space"), 1),
        "drift": lambda: AnomalyWatch(AnomalyForm(measure="m", method="drift"), 1),
        "limit": lambda: AnomalyWatch(AnomalyForm(measure="m", method="limit", limit=500), 1),
        "forecast, linear": lambda: ForecastWatch(Forecast(measure="m", model="linear"), 1),
        "forecast, holt_winters": lambda: ForecastWatch(Forecast(measure="m", model="holt_winters"), 1),
        "forecast, snarimax": lambda: ForecastWatch(Forecast(measure="m", model="snarimax"), 1),
        "trend of 30": lambda: TrendWatch(Trend(measure="m"), 1),
    }
    for name, make in watches.items():
        yield f"  {name:<36}{update(make()):>12.1f}"


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
