"""Anomalies, forecasts and trends: what they find in series of which one knows what is in them."""

import math
import random
import statistics

import numpy as np
import pytest
from river import anomaly

from automation.analytics.anomalies import AnomalyWatch, Recent, median_distance
from automation.analytics.findings import severity_of
from automation.analytics.forecasts import ForecastWatch
from automation.analytics.forms import AnomalyForm, Forecast, Trend
from automation.analytics.half_space import HalfSpaceTrees
from automation.analytics.stream import Row
from automation.analytics.trends import TrendWatch, mann_kendall, period_of
from bench import nab

S = 10**9


def row(i, value, key="k"):
    return Row("s", key, i * S, (i + 1) * S, {"m": value})


def found(values, **form):
    watch = AnomalyWatch(AnomalyForm(measure="m", **form), 100)
    return {i: one for i, value in enumerate(values) if (one := watch.take(row(i, value))) is not None}


def noisy(count, level=100.0, spread=5.0, seed=1):
    dice = random.Random(seed)
    return [dice.gauss(level, spread) for _ in range(count)]


def test_robust_finds_the_outlier_and_little_else():
    """One in 300 values, its bounds around the level; two sides as asked."""
    values = noisy(300)
    values[200] = 160.0
    spikes = found(values, type="volume_spike", sensitivity=5)
    assert list(spikes) == [200]
    assert spikes[200].low < 100 < spikes[200].high < 160 and severity_of(spikes[200].score) != "low"
    values[250] = 20.0
    assert 250 in found(values, type="volume_drop", sensitivity=5)
    assert 250 not in found(values, type="volume_spike", sensitivity=5)


def test_a_season_is_usual_and_its_absence_is_not():
    """What is high each night is no spike; the same by day is."""
    values = [(500 if i % 24 < 4 else 100) + v for i, v in enumerate(noisy(24 * 14, 0))]
    values[24 * 12 + 12] = 500
    assert list(found(values, type="volume_spike", season=24, sensitivity=12, warm_up=24 * 6)) == [24 * 12 + 12]


def test_nothing_is_said_while_warming_up_and_an_anomaly_that_goes_on_once():
    """Repeats are counted; with `repeat` they are said again."""
    values = noisy(40) + [300.0] * 6
    assert list(found(values, type="volume_spike", warm_up=39)) == [40]
    assert list(found(values, type="volume_spike", warm_up=39, repeat=2)) == [40, 42, 44]
    assert found([*values[:10], 1e6], type="volume_spike", warm_up=20) == {}


def test_drift_is_found_once():
    """A change of the mean for good."""
    changes = found(noisy(300) + noisy(300, 140, seed=2), method="drift")
    assert changes and all(300 <= i <= 360 for i in changes)


def test_a_limit_is_a_limit():
    """Above, or below for a drop; the further the worse."""
    reached = found([0.5, 0.96, 0.97, 0.5, 1.9], type="resource_exhaustion", method="limit", limit=0.95)
    assert list(reached) == [1, 4] and reached[4].score > reached[1].score
    assert list(found([5, 3, 6], type="volume_drop", method="limit", limit=4)) == [1]


def test_half_space_trees_find_what_lies_apart():
    """After their first window of 100."""
    values = noisy(400, spread=2)
    values[350] = 200.0
    unusual = found(values, method="half_space")
    assert 350 in unusual and len(unusual) <= 20


def test_half_space_trees_score_as_river_does():
    """Point by point, over many windows."""
    ours = HalfSpaceTrees(trees=4, height=5, window=30, seed=3)
    theirs = anomaly.HalfSpaceTrees(n_trees=4, height=5, window_size=30, seed=3)
    theirs.learn_one({0: 0.5, 1: 0.5})  # grows the trees
    theirs.counter = 0
    for node in (node for nodes in theirs._tree_nodes for node in nodes):
        node.l_mass = 0
    dice = random.Random(1)
    for _ in range(500):
        first, second = dice.random() ** 2, min(1.0, abs(dice.gauss(0.5, 0.2)))
        point = {0: first, 1: second}
        assert ours.take(first, second) == pytest.approx(theirs.score_one(point), abs=1e-12)
        theirs.learn_one(point)


def test_recent_is_the_median_and_mad_of_the_last_values():
    """Against numpy."""
    recent, values = Recent(50), noisy(200)
    for value in values:
        recent.add(value)
    last = np.array(values[-50:])
    assert recent.median == pytest.approx(np.median(last))
    assert recent.deviation() == pytest.approx(1.4826 * np.median(np.abs(last - np.median(last))))


def test_the_median_distance_is_that_of_all_distances():
    """Few and many values, many of them equal, whatever the middle is."""
    dice = random.Random(5)
    for _ in range(3000):
        values = sorted(round(dice.gauss(0, 2), dice.randrange(3)) for _ in range(dice.randrange(1, 40)))
        for middle in (statistics.median(values), dice.choice(values), dice.uniform(-5, 5)):
            expected = statistics.median(abs(value - middle) for value in values)
            assert median_distance(values, middle) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("model", ["linear", "holt_winters", "auto"])
def test_a_line_goes_on(model):
    """Value, interval and the time at which the limit is reached: "the disk is full in 60 windows"."""
    watch = ForecastWatch(Forecast(measure="m", model=model, horizon=80, limit=1.0, type="resource_usage"), 10)
    made = [watch.take(row(i, 0.1 + 0.01 * i)) for i in range(31)]
    last = made[-1]
    assert made[22] is None and last is not None
    assert last.value == pytest.approx(0.1 + 0.01 * 110, rel=0.05) and last.low <= last.value <= last.high
    assert last.reaches == pytest.approx(60, abs=4) and last.prediction_type == "resource_usage"
    assert last.confidence > 0.5


def test_the_model_with_the_least_error_speaks():
    """A season is Holt and Winters's affair, not a line's."""
    watch = ForecastWatch(Forecast(measure="m", season=12, horizon=6), 10)
    series = [10 + 5 * math.sin(2 * math.pi * i / 12) for i in range(200)]
    last = [watch.take(row(i, value)) for i, value in enumerate(series)][-1]
    assert last.method in ("holt_winters", "snarimax")
    assert last.value == pytest.approx(10 + 5 * math.sin(2 * math.pi * 205 / 12), abs=1.0)


def test_intervals_hold_what_they_promise():
    """Of white noise about nine in ten lie within the one-step interval."""
    watch = ForecastWatch(Forecast(measure="m", horizon=1, interval=0.9), 10)
    values, inside, all_of_them = noisy(500), 0, 0
    before = None
    for i, value in enumerate(values):
        if before is not None and i > 100:
            all_of_them += 1
            inside += before.low <= value <= before.high
        before = watch.take(row(i, value))
    assert 0.8 <= inside / all_of_them <= 0.97


def test_trends_are_found_and_noise_is_none():
    """By the slope and its significance; said when it changes."""
    watch = TrendWatch(Trend(measure="m", samples=20), 10)
    values = noisy(40, spread=1) + [100 + 2 * i for i in range(30)]
    said = [one.direction for i, value in enumerate(values) if (one := watch.take(row(i, value))) is not None]
    assert said[0] == "none" and said[-1] == "rising"
    assert watch.last["k"].slope == pytest.approx(2, rel=0.01)


def test_mann_kendall_and_the_period_are_those_of_the_book():
    """A monotonic series of 10 has z = 4.02; a sine has its period; noise has none."""
    assert mann_kendall(np.arange(10.0)) == pytest.approx(math.erfc((45 - 1) / math.sqrt(125) / math.sqrt(2)))
    assert mann_kendall(np.ones(10)) == 1.0
    assert period_of([math.sin(2 * math.pi * i / 7) for i in range(70)]) == 7
    assert period_of(noisy(60)) is None


def test_half_space_trees_find_more_with_fewer_false_alarms_than_a_moving_threshold():
    """On made data in the benchmark's format, of seeds that nothing was tuned on."""
    series = [one for seed in (201, 202) for one in nab.generate(seed)]
    ours, plain = (nab.score(series, nab.DETECTORS[name]) for name in ("half_space", "plain z-score"))
    assert ours.recall >= 0.5 and ours.precision >= 0.5 and ours.false * 8 < plain.false and ours.f1 > 2.5 * plain.f1
