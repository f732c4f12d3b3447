"""One pattern at work: partitions, time, choices, bounds, and what a match carries."""

from __future__ import annotations

import pytest

from automation.events import SemanticEvent
from automation.patterns.detector import Detector
from automation.patterns.outcomes import Expired, Late, Match, Overflow
from automation.patterns.text import parse_pattern

S = 1_000_000_000


class Stream:
    """Feeds letters as events of type `user.LETTER` to a pattern and collects what it says."""

    def __init__(self, text, **options):
        self.detector = Detector(parse_pattern("p", text, options))
        self.out = []
        self.seq = 0

    def feed(self, letters, ts=None, step=S, **attrs):
        for letter in letters:
            self.seq += 1
            when = self.seq * step if ts is None else ts
            event = SemanticEvent(f"user.{letter}", attrs=attrs, ts=when)
            event.seq = self.seq
            self.out.extend(self.detector.feed(event, when))
        return self

    def advance(self, ts):
        self.out.extend(self.detector.advance(ts))
        return self

    def matches(self):
        return [
            {name: [event.seq for event in events] for name, events in outcome.steps.items()}
            for outcome in self.out
            if isinstance(outcome, Match)
        ]


def found(text, letters):
    """The matches of a pattern in a word."""
    return Stream(text).feed(letters).matches()


def test_choice_of_steps_takes_the_next_that_fits():
    """A choice of single steps is one step; the event is filed under the alternative that it fits first."""
    assert found("x(user.x) -> (a(user.a) | b(user.b)) over user", "xbab") == [{"x": [1], "b": [2]}]
    assert found("(a(user.a) | any(user)) over user", "a") == [{"a": [1]}]


def test_choice_of_sequences_follows_each():
    """A choice of sequences follows each of them on its own."""
    text = "x(user.x) -> (a(user.a) -> b(user.b) | c(user.c)) -> y(user.y)"
    assert found(text, "xacby") == [{"x": [1], "c": [3], "y": [5]}, {"x": [1], "a": [2], "b": [4], "y": [5]}]


@pytest.mark.parametrize("word", ["xabcy", "xcbay", "xbqacy"])
def test_any_order(word):
    """Steps joined by & come in any order, with others between them."""
    matches = found("x(user.x) -> (a(user.a) & b(user.b) & c(user.c)) -> y(user.y) over user", word)
    assert [sorted(match) for match in matches] == [["a", "b", "c", "x", "y"]]


def test_any_order_takes_each_once():
    """Each of the steps in any order takes one event, and all are needed."""
    assert found("(a(user.a) & b(user.b))", "aab") == [{"a": [1], "b": [3]}, {"a": [2], "b": [3]}]
    assert found("(a(user.a) & b(user.b))", "aaa") == []


def test_any_order_may_be_strict_and_repeated():
    """Strict steps in any order are neighbours, and the whole may be repeated."""
    assert found("(a(user.a) & b(user.b)) strict over user", "axbba") == [{"b": [4], "a": [5]}]
    assert found("(a(user.a) & b(user.b)){2}", "abba") == [{"a": [1, 4], "b": [2, 3]}]


def test_optional_group_and_absence_before_it():
    """An absence before an optional group is over once the group has begun."""
    text = "a(user.a) -> !x(user.x) -> (b(user.b) -> c(user.c))? -> d(user.d)"
    assert found(text, "abxcd") == [{"a": [1], "b": [2], "c": [4], "d": [5]}]
    assert found(text, "axbcd") == []


def test_absence_at_the_end_comes_with_the_clock():
    """An absence at the end is a match when its window ends, and its deadline is known."""
    stream = Stream("a(user.a) -> !b(user.b) within 5s").feed("a")
    assert stream.detector.deadline() == 6 * S
    assert stream.advance(6 * S - 1).matches() == []
    assert stream.advance(6 * S).matches() == [{"a": [1]}]
    assert (stream.out[0].on, stream.out[0].ts, stream.detector.deadline()) == ("time", 6 * S, None)


def test_gap_bounds_the_wait_for_one_step():
    """A gap ends a partial match that waits too long, wherever its window stands."""
    text = "a(user.a) ->[2s] b(user.b) -> c(user.c) timeouts"
    assert found(text, "aqqb") == []
    assert found(text, "abqqqqc") == [{"a": [1], "b": [2], "c": [7]}]


def test_gap_of_an_optional_step_only_rules_out_that_step():
    """Past its gap an optional step can no longer match, but what follows it can."""
    assert found("a(user.a) ->[2s] b(user.b)? -> c(user.c) over user", "aqqbc") == [{"a": [1], "c": [5]}]


def test_timed_out_partial_matches_are_reported():
    """With `timeouts` a partial match that runs out of time is reported with what it held and its deadline."""
    stream = Stream("a(user.a) -> b(user.b) -> c(user.c) within 5s timeouts").feed("ab").advance(6 * S)
    assert [(type(one), one.deadline) for one in stream.out] == [(Expired, 6 * S)]
    assert {name: [event.seq for event in events] for name, events in stream.out[0].steps.items()} == {
        "a": [1],
        "b": [2],
    }
    assert (stream.detector.live, stream.detector.expired) == (0, 1)


def test_strict_means_the_stream_of_the_pattern():
    """Without `over` the stream is what the steps name, with `over` it is what that names."""
    assert found("a(user.a) => b(user.b)", "axb") == [{"a": [1], "b": [3]}]
    assert found("a(user.a) => b(user.b) over user", "axb") == []
    assert found("a(user.a) => b()", "axb") == [{"a": [1], "b": [2]}]


def test_partitions_end_with_their_partial_matches():
    """A partition without partial matches costs nothing."""
    stream = Stream("a(user.a) -> b(user.b) within 5s by key")
    for key in range(50):
        stream.feed("a", key=key)
    stream.feed("b", key=49)
    status = stream.detector.status()
    assert (status["partitions"], status["live_partials"], status["matched"]) == (3, 3, 1)
    assert stream.advance(100 * S).detector.status()["partitions"] == 0


def test_keys_may_be_lists():
    """A partition key may be any JSON value."""
    stream = Stream("a(user.a) -> b(user.b) by key, path").feed("a", key=[1, {"x": 2}]).feed("b", key=[1, {"x": 2}])
    assert stream.matches() == [{"a": [1], "b": [2]}]


def test_oldest_partial_matches_go_first():
    """Beyond the bound the oldest partial matches are given up, counted and reported."""
    stream = Stream("a(user.a) -> b(user.b) by key limit 3")
    for key in range(5):
        stream.feed("a", key=key)
    assert stream.out == [Overflow("p", "partials", 1, 1), Overflow("p", "partials", 1, 2)]
    for key in range(5):
        stream.feed("b", key=key)
    assert [match["a"] for match in stream.matches()] == [[3], [4], [5]]


def test_memory_is_bounded():
    """Partial matches that hold too much are given up, too, long before there are too many of them."""
    stream = Stream("a(user.a)+ -> b(user.b) limit 1000000 1MB").feed("a" * 60)
    assert {outcome.what for outcome in stream.out} == {"bytes"}
    assert 0 < stream.detector.live < 500


def test_loops_do_not_outgrow_their_bound():
    """A pattern whose combinations double with each event stays within its bound."""
    stream = Stream("a(user.a)+ any -> b(user.b) limit 200").feed("a" * 40)
    assert stream.detector.live <= 200
    assert stream.detector.dropped > 1000


def test_event_time_sorts_and_names_late_events():
    """In event time events are used in order of their time; what comes behind the watermark is late and counted."""
    stream = Stream("a(user.a) -> b(user.b) event time late 2s")
    stream.feed("b", ts=5 * S).feed("a", ts=4 * S).feed("x", ts=9 * S).feed("b", ts=10 * S)
    assert stream.matches() == [{"a": [2], "b": [1]}]
    assert stream.detector.late == 0
    stream.feed("a", ts=3 * S)
    assert [(type(one), one.total) for one in stream.out[1:]] == [(Late, 1)]


def test_event_time_moves_with_the_clock():
    """With a lateness the clock moves event time on, when no events come any more."""
    stream = Stream("a(user.a) -> !b(user.b) within 5s event time late 1s").feed("a")
    while (deadline := stream.detector.deadline()) is not None:
        stream.advance(deadline)
    assert stream.matches() == [{"a": [1]}]


def test_waiting_events_are_bounded():
    """Event time holds at most as many events as the pattern may hold partial matches."""
    stream = Stream("a(user.a) -> b(user.b) event time limit 10").feed("a" * 30)
    assert [outcome.what for outcome in stream.out if isinstance(outcome, Overflow)].count("buffered") == 20


def test_identity_is_that_of_the_events():
    """The same events of the same pattern have the same identity, others another."""
    first, again = (Stream("a(user.a) -> b(user.b)").feed("ab").out[0] for _ in range(2))
    other = Stream("a(user.a) -> b(user.b)").feed("aqb").out[0]
    assert first.id == again.id != other.id
    assert len(first.id) == 32


@pytest.mark.parametrize(
    ("text", "word", "confidence"),
    [
        ("a(user.a) -> b(user.b)", "ab", 1.0),
        ("a(user.a) -> b(user.b) within 4s", "ab", 1 - 0.5 * 0.25),
        ("a(user.a) -> x(user.x)? -> b(user.b)", "ab", 1 - 0.5 / 3),
        ("a(user.a) -> x(user.x)? -> b(user.b) within 4s", "aqb", (1 - 0.5 / 3) * 0.75),
    ],
)
def test_confidence_is_completeness_times_promptness(text, word, confidence):
    """The documented formula."""
    assert Stream(text).feed(word).out[0].confidence == pytest.approx(confidence)


def test_unsure_matches_are_kept_back():
    """A match below `confidence` is not reported."""
    assert found("a(user.a) -> b(user.b) within 4s confidence 0.8", "aab") == [{"a": [2], "b": [3]}]


def test_the_head_of_a_group_repeats_as_the_group_does():
    """Its own `inner` is the group's, as Flink has it: here events in between are allowed, though the step says no."""
    group = "(a(user.a){2} strict -> b(user.b))"
    found = [Stream(f"{text} over *").feed("axab").matches() for text in (group, f"{group}+ strict")]
    assert [len(one) for one in found] == [1, 0]
