"""Streams: whatever the batches, a window holds exactly what a naive reading of its events says."""

import math
import re
import statistics
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.analytics import forms
from automation.analytics.aggregates import NUMBERS, SKETCHES, parse_aggregate
from automation.analytics.engine import Engine
from automation.analytics.forms import Analytics
from automation.events import SemanticEvent
from automation.loading import examine_form
from automation.sources import read_source
from tests.automation_rig import rig

S = 10**9
PAGE = (Path(__file__).parent.parent / "docs" / "analytics.md").read_text()


def engine(streams, **more):
    return Engine(forms.Analytics.model_validate({"kind": "analytics", "name": "a", "streams": streams, **more}))


def event(ts, size=1, uid=0, path="p", type="file.closed", **attrs):
    return SemanticEvent(type, path, size=size, uid=uid, ts=ts, attrs=attrs)


def rows_of(one, events, batch=None, until=None):
    out = []
    for i in range(0, len(events), batch or max(1, len(events))):
        some = events[i : i + (batch or len(events))]
        out += one.feed(some, some[-1].ts).rows
    return out + one.advance(until if until is not None else events[-1].ts + 3600 * S).rows


def close(a, b):
    return (a is None and b is None) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6)


def naive(events, key, start, end):
    """Every aggregate of NUMBERS over the events of one window, by the book."""
    sizes = [e.size for e in events if start <= e.ts < end and str(e.uid) == key]
    return {
        "count": len(sizes),
        "rate": len(sizes) / ((end - start) / S),
        "sum": sum(sizes),
        "mean": statistics.fmean(sizes),
        "min": min(sizes),
        "max": max(sizes),
        "variance": statistics.variance(sizes) if len(sizes) > 1 else 0.0,
        "stddev": statistics.stdev(sizes) if len(sizes) > 1 else 0.0,
        "first": sizes[0],
        "last": sizes[-1],
    }


EVENTS = st.lists(
    st.tuples(st.integers(0, 3 * S), st.integers(-1000, 1000), st.integers(0, 2)), min_size=1, max_size=60
)


@given(EVENTS, st.integers(1, 20), st.sampled_from([{"tumbling": 5}, {"sliding": 20, "every": 5}]))
def test_windows_hold_what_a_naive_reading_says(steps, batch, window):
    """All numeric aggregates, by key, in any batches, for tumbling and sliding windows."""
    events, ts = [], 1000 * S
    for gap, size, uid in steps:
        ts += gap
        events.append(event(ts, size, uid))
    one = engine(
        {
            "s": {"events": "file", "key": "uid", "value": "event.size", "window": window}
            | {"aggregates": {name: name for name in NUMBERS}}
        }
    )
    rows = rows_of(one, events, batch)
    length, every = (window.get("sliding", 5) * S, 5 * S)
    expected = {
        (str(e.uid), end)
        for e in events
        for end in range((e.ts // every + 1) * every, (e.ts // every + 1) * every + length, every)
    }
    assert {(row.key, row.end) for row in rows} == expected and len(rows) == len(expected)
    for row in rows:
        wanted = naive(events, row.key, row.end - length, row.end)
        assert row.start == row.end - length and row.values.keys() == wanted.keys()
        assert all(close(row.values[name], wanted[name]) for name in wanted), (row, wanted)


@given(EVENTS, st.integers(1, 20))
def test_sessions_end_by_silence_and_counts_by_number(steps, batch):
    """Cut by hand, the events of a key fall into the same sessions and hundreds."""
    events, ts = [], 1000 * S
    for gap, size, uid in steps:
        ts += gap
        events.append(event(ts, size, uid))
    sessions = engine(
        {
            "s": {"events": "file", "key": "uid", "window": {"session": 2}, "value": "event.size"}
            | {"aggregates": {"n": "count", "total": "sum"}}
        }
    )
    counts = engine(
        {
            "s": {"events": "file", "key": "uid", "window": {"count": 3}, "value": "event.size"}
            | {"aggregates": {"total": "sum"}}
        }
    )
    wanted, threes = [], []
    for uid in {e.uid for e in events}:
        groups: list[list[SemanticEvent]] = []
        for one in (e for e in events if e.uid == uid):
            if not groups or one.ts - groups[-1][-1].ts >= 2 * S:
                groups.append([])
            groups[-1].append(one)
        wanted += [(str(uid), g[0].ts, g[-1].ts, len(g), sum(e.size for e in g)) for g in groups]
        mine = [e.size for e in events if e.uid == uid]
        threes += [(str(uid), sum(mine[i : i + 3])) for i in range(0, len(mine) - 2, 3)]
    found = [(r.key, r.start, r.end, r.values["n"], r.values["total"]) for r in rows_of(sessions, events, batch)]
    assert sorted(found) == sorted(wanted)
    assert sorted((r.key, r.values["total"]) for r in rows_of(counts, events, batch)) == sorted(threes)


def test_sketches_say_what_they_promise():
    """Distinct within 2 % and quantiles within 1.7 % of rank, three standard errors; a count of top is never low."""
    events = [event(1000 * S + i, size=i, path=f"f{i % 1000}") for i in range(20_000)]
    events += [event(1000 * S + 30_000 + i, size=5, path="hot") for i in range(3000)]
    texts = {"d": "distinct(event.path)", "q": "quantile(0.9, event.size)", "m": "median(event.size)"}
    texts |= {"t": "top(2, event.path)", "e": "entropy(event.uid)"}
    (row,) = rows_of(engine({"s": {"events": "file", "aggregates": texts}}), events, 512)
    ordered = sorted(e.size for e in events)
    assert abs(row.values["d"] - 1001) <= 1001 * 0.06
    for name, share in (("q", 0.9), ("m", 0.5)):
        rank = sum(size <= row.values[name] for size in ordered) / len(ordered)
        assert abs(rank - share) <= 0.05, name
    assert row.values["t"][0][0] == "hot" and 3000 <= row.values["t"][0][1] <= 3100 and row.values["e"] == 0.0


def test_sketches_of_sliding_windows_are_merged():
    """Over panes as over the whole."""
    events = [event(1000 * S + i * S, size=i, path=f"f{i}") for i in range(40)]
    texts = {
        "d": "distinct(event.path)",
        "q": "median(event.size)",
        "t": "top(1, event.path)",
        "e": "entropy(event.path)",
    }
    one = engine({"s": {"events": "file", "window": {"sliding": 20, "every": 10}, "aggregates": texts}})
    row = next(row for row in rows_of(one, events) if row.start == 1010 * S)
    assert row.values["d"] == 20 and 19 <= row.values["q"] <= 20 and row.values["e"] == pytest.approx(math.log2(20))


def test_late_events_are_waited_for_and_then_counted():
    """Within the lateness they are in their window, after it in `late`."""
    one = engine({"s": {"events": "file", "window": {"tumbling": 10}, "lateness": 5}})
    rows = one.feed([event(1000 * S), event(1012 * S), event(1009 * S)], 0).rows
    assert rows == []
    rows = one.feed([event(1016 * S), event(1001 * S)], 0).rows
    assert [row.values["count"] for row in rows] == [2]
    assert one.status()["s"]["late"] == 1


def test_empty_windows_are_filled_for_what_watches_them():
    """Counts are 0, a level stays; a key that is silent for long is forgotten."""
    stream = {"events": "file", "key": "uid", "value": "event.size", "fill": True, "window": {"tumbling": 1}}
    one = engine({"s": stream | {"aggregates": {"n": "count", "level": "last"}}})
    rows = rows_of(one, [event(1000 * S, 7)], until=1005 * S)
    assert [(row.values["n"], row.values["level"]) for row in rows] == [(1, 7), (0, 7), (0, 7), (0, 7), (0, 7)]
    one.advance(1200 * S)
    assert one.status()["s"]["keys"] == 0


def test_keys_are_bounded():
    """What is too much is left out and counted; the others go on."""
    one = engine({"s": {"events": "file", "key": "uid", "max_keys": 2}})
    rows = rows_of(one, [event(1000 * S, uid=i % 4) for i in range(8)])
    assert {row.key for row in rows} == {"0", "1"} and one.status()["s"]["dropped"] > 0


def test_streams_feed_streams_joins_and_correlations():
    """Rows go on in order; a lagged copy correlates at its lag."""
    streams = {
        "a": {"events": "file.closed", "window": {"tumbling": 1}, "aggregates": {"n": "count"}},
        "b": {"events": "file.opened", "window": {"tumbling": 1}, "aggregates": {"n": "count"}},
        "peak": {"stream": "a", "window": {"tumbling": 10}, "aggregates": {"most": "max(event.attrs.n)"}},
    }
    joins = {"both": {"left": "a", "right": "b"}}
    correlations = {"c": {"left": "a.n", "right": "b.n", "samples": 20, "lags": 3}}
    one = engine(streams, joins=joins, correlations=correlations)
    counts = [(i * 7) % 5 + 1 for i in range(60)]
    events = []
    for i, count in enumerate(counts):
        events += [event((1000 + i) * S + k) for k in range(count)]
        events += [event((1000 + i) * S + 50 + k, type="file.opened") for k in range(counts[i - 2])]
    rows = rows_of(one, events, 7)
    assert [r.values["most"] for r in rows if r.stream == "peak"] == [5.0] * 6
    both = [r for r in rows if r.stream == "both"]
    assert len(both) == 60 and [r.values["left_n"] for r in both] == counts
    last = [r for r in rows if r.stream == "c"][-1]
    assert last.values["coefficient"] == pytest.approx(1.0) and last.values["lag"] == 2


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("streams:\n  s:\n    events: file\n    window: {tumbling: 0s}", 4, "greater than 0"),
        ("streams:\n  s:\n    events: file\n    window: {sliding: 10s}", 4, "needs 'every'"),
        ("streams:\n  s:\n    events: file\n    aggregates: {n: cuont}", 4, "did you mean 'count'"),
        ("streams:\n  s:\n    events: file\n    aggregates: {n: quantile}", 4, "needs a number first"),
        ("streams:\n  s:\n    events: file\n    aggregates: {n: sum(event.sise)}", 4, "no field 'sise'"),
        ("streams:\n  s:\n    events: file\n    anomalies: [{measure: m}]", 2, "there is no aggregate 'm'"),
        ("streams:\n  s:\n    stream: t", 1, "there is no stream 't'"),
        ("streams:\n  s: {stream: t}\n  t: {stream: s}", 1, "in a circle"),
        ("streams:\n  s:\n    events: flie.closed", 3, "there is no event type"),
        ("streams:\n  s:\n    events: file\n    colour: red", 4, "no such field"),
    ],
)
def test_wrong_definitions_are_refused_with_what_would_be_right(text, line, reason):
    """With file, line and field."""
    _, errors = examine_form(read_source("a.yaml", f"{text}\nkind: analytics"), Analytics)
    assert any(reason in error.reason and error.line == line for error in errors), [str(e) for e in errors]


def test_the_documentation_is_complete_and_its_examples_are_right():
    """Each field and aggregate has its place; each definition loads."""
    models = (forms.StreamForm, forms.JoinForm, forms.CorrelationForm, forms.AnomalyForm, forms.Forecast, forms.Window)
    for model in (*models, forms.Trend):
        for name, info in model.model_fields.items():
            for spelling in getattr(info.validation_alias, "choices", [name]):
                assert re.search(rf"`[^`\n]*\b{spelling}\b[^`\n]*`", PAGE), f"{model.__name__}.{spelling}"
    assert all(re.search(rf"`[^`\n]*\b{kind}\b", PAGE) for kind in (*NUMBERS, *SKETCHES))
    examples = [text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "kind: analytics" in text]
    assert len(examples) == 3
    for text in examples:
        assert examine_form(read_source("example.yaml", text), Analytics)[1] == []
    assert parse_aggregate("median").kind == "quantile"


async def test_what_a_stream_finds_starts_a_workflow(tmp_path, autojump_clock):
    """A burst is an anomaly, the anomaly a run; the stream's rows can be read; switched off it sees nothing."""
    definition = """
    kind: analytics
    streams:
      s:
        events: user.tick
        time: event
        window: {tumbling: 1s}
        anomalies: [{measure: count, type: volume_spike, warm_up: 10}]
    """
    workflow = "triggers: {type: anomaly, anomaly_type: volume_spike, stream: s}\nsteps: [{log: {message: x}}]"
    begin = time.time_ns() // S * S
    async with rig(tmp_path, load=definition, w=workflow) as one:
        for second in range(30):
            for i in range(50 if second == 25 else 5):
                one.publish("user.tick", ts=begin + second * S + i)
            one.service.analytics.step()
        await one.settled()
        (run,) = one.runs
        attrs = run.event["attrs"]
        assert attrs["value"] == 50 and attrs["severity"] in ("high", "critical") and attrs["stream"] == "s"
        assert one.service.analytics.node("load.s").rows[25].values == {"count": 50}
        one.service.analytics.enable("load.s", False)
        assert one.service.analytics.node("load.s") is None
