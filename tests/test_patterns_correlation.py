"""Correlation of two streams."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.events import SemanticEvent
from automation.patterns.correlation import CorrelationDetector, pearson, spearman
from automation.patterns.correlation_text import parse_correlation

S = 1_000_000_000
TEXT = "{method}(l: sum(length) of file.read; r: sum(length) of file.written) within 20s every 1s {rest}"
PAIRS = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=3, max_size=30)


def run(method, rest, pairs):
    """Matches for one pair of values a second."""
    detector = CorrelationDetector(parse_correlation("c", TEXT.format(method=method, rest=rest)))
    out = []
    for at, (left, right) in enumerate(pairs):
        for kind, value in (("file.read", left), ("file.written", right)):
            out += detector.feed(SemanticEvent(kind, length=value, ts=at * S + 5))
    out += detector.advance(len(pairs) * S)
    return out


@given(PAIRS)
def test_coefficients_are_those_of_the_textbook(pairs):
    """Pearson's coefficient is that of the standard library, Spearman's that of the ranks."""
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert pearson(left, right) is None
        return
    assert pearson(left, right) == pytest.approx(statistics.correlation(left, right), abs=1e-9)
    cubes = [value**3 for value in left]
    assert spearman(left, right) == pytest.approx(spearman(cubes, right))


def test_moving_together_is_found_once():
    """A match comes when the coefficient passes the threshold, not again while it stays beyond."""
    matches = run("pearson", "above 0.9", [(i, 3 * i + 1) for i in range(15)])
    assert len(matches) == 1
    assert matches[0].values["coefficient"] == pytest.approx(1.0)
    assert sorted(matches[0].steps) == ["l", "r"]


def test_moving_apart_is_found_below():
    """A threshold below finds what moves in opposite directions."""
    assert run("pearson", "below -0.9", [(i, 100 - i) for i in range(15)])
    assert not run("pearson", "above 0.9", [(i, 100 - i) for i in range(15)])


def test_spearman_sees_what_pearson_does_not():
    """Ranks see a growth that is not linear."""
    pairs = [(i, 2**i) for i in range(14)]
    assert run("spearman", "above 0.99 samples 10", pairs)
    assert not run("pearson", "above 0.99 samples 10", pairs)


def test_noise_is_not_found():
    """Independent values make no match."""
    rng = random.Random(3)
    assert not run(
        "pearson", "above 0.95 samples 15", [(rng.random() * 99 // 1, rng.random() * 99 // 1) for _ in range(200)]
    )


def test_too_few_pairs_mean_nothing():
    """Below `samples` pairs nothing is said."""
    assert not run("pearson", "above 0.5 samples 10", [(i, i) for i in range(8)])


def test_partitions_are_bounded():
    """Partitions beyond the bound go, the longest unused first."""
    detector = CorrelationDetector(
        parse_correlation("c", TEXT.format(method="pearson", rest="above 0.5 by pid limit 5"))
    )
    for pid in range(20):
        detector.feed(SemanticEvent("file.read", length=1, pid=pid, ts=5))
    assert (detector.live, detector.dropped) == (5, 15)


def test_it_ends_with_its_window():
    """Without events the window empties and nothing is waited for any more."""
    detector = CorrelationDetector(parse_correlation("c", TEXT.format(method="pearson", rest="above 0.5")))
    detector.feed(SemanticEvent("file.read", length=1, ts=5))
    for _ in range(100):
        if (deadline := detector.deadline()) is None:
            break
        detector.advance(deadline)
    assert detector.live == 0
