"""Small patterns whose matches are worked out by hand, each beside the rule that decides it; Flink CEP 1.20.1, run on
the same letters, gives the same.
"""

from __future__ import annotations

import pytest

from automation.events import SemanticEvent
from automation.patterns.detector import Detector
from automation.patterns.outcomes import Expired, Match
from automation.patterns.text import parse_pattern

MS = 1_000_000


def run(text, word, times=None, until=None):
    """What a pattern finds in letters (events `user.LETTER`, a millisecond apart): matches and timeouts, by number."""
    detector, out = Detector(parse_pattern("p", f"{text} over user")), []
    for number, (letter, ts) in enumerate(zip(word, times or range(1, len(word) + 1), strict=True), 1):
        event = SemanticEvent(f"user.{letter}", ts=ts * MS)
        event.seq = number
        out.extend(detector.feed(event))
    out.extend(detector.advance(until * MS) if until else ())
    matches = sorted(_short(one.steps) for one in out if isinstance(one, Match))
    return matches, [(_short(one.steps), one.deadline // MS) for one in out if isinstance(one, Expired)], detector


def _short(steps):
    return " ".join(f"{name}{','.join(str(event.seq) for event in events)}" for name, events in sorted(steps.items()))


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        # A greedy loop does not give up while it may go on: x is neither, so the loop of 1 or 2 may still take 5.
        ("a(user.a)+ greedy -> b(user.b)", "aaxbab", ["a1,2 b4", "a1,2,5 b6", "a2 b4", "a2,5 b6", "a5 b6"]),
        # `until` ends the loop, not the wait for what follows; a new loop may begin after it.
        (
            "a(user.a)+ any until (type == 'user.u') ->> b(user.b)",
            "aaubab",
            ["a1 b4", "a1 b6", "a1,2 b4", "a1,2 b6", "a2 b4", "a2 b6", "a5 b6"],
        ),
        # An absence before a range ends with the first of it for those that go on to the second.
        ("a(user.a) -> !n(user.n) -> b(user.b){1,2}", "abnba", ["a1 b2", "a1 b2,4"]),
        # An absence holds past an optional step that is left out, and is behind one that has matched.
        ("a(user.a) -> !n(user.n) ->> b(user.b)? ->> c(user.c)", "abncanc", ["a1 b2 c4", "a1 b2 c7"]),
        # The strict absence at the end comes with the next event, so the last `a` waits for one.
        ("a(user.a) => !n(user.n)", "aanax", ["a1", "a4"]),
        # Rounds of a group follow each other at once (`strict`), though the first may come later.
        ("c(user.c) ->> (a(user.a) -> b(user.b)){1,2} strict => d(user.d)", "cabxabd", ["a5 b6 c1 d7"]),
        # The first round of a group may begin with its optional head or without it.
        ("(a(user.a)? -> b(user.b)){2,} -> d(user.d)", "babd", ["a2 b1,3 d4", "b1,3 d4"]),
        # No event in two matches: the match that began first wins, and takes the others' events with it.
        ("a(user.a){1,2} ->> b(user.b) skip past last", "aabb", ["a1,2 b3"]),
        # Matches go on from the last `a` of the one before, and not between its events.
        ("a(user.a){2} => b(user.b)? skip to last a", "aaaba", ["a1,2", "a2,3", "a3,5"]),
    ],
)
def test_small_patterns(text, word, expected):
    """Each finds these and no others."""
    assert run(text, word)[0] == expected


def test_absence_at_the_end_of_a_loop_waits_for_an_event():
    """The absence is watched from the event that left the loop on; a loop that nothing left runs out of time."""
    text = "a(user.a) -> b(user.b)+ -> !n(user.n) within 10ms timeouts"
    assert run(text, "abb", until=30)[:2] == (["a1 b2"], [("a1 b2,3", 11)])
    assert run(text, "abbx", until=30)[:2] == (["a1 b2", "a1 b2,3"], [("a1 b2,3", 11)])


def test_window_of_repetitions_counts_for_the_first_too():
    """The first b may be late by no more than the window; the third would be, so the run ends."""
    text = "a(user.a) -> b(user.b){3}[3ms] -> c(user.c) timeouts"
    assert run(text, "abbbbc", [1, 2, 6, 7, 8, 20])[:2] == ([], [("a1 b2", 5)])


def test_the_wait_is_named_where_both_windows_have_passed():
    """Of two windows that have passed by the time that somebody looks, the deadline of the wait is reported."""
    text = "a(user.a) ->[5ms] b(user.b) -> c(user.c) within 8ms timeouts"
    assert run(text, "ababc", [1, 7, 8, 9, 15], until=40)[:2] == (["a3 b4 c5"], [("a1", 6)])
    ranged = "s(user.s){1,2} ->[7ms] c(user.c) within 8ms timeouts"
    assert ("s1,2", 10) in run(ranged, "ss", [1, 3], until=12)[1]


@pytest.mark.parametrize("before", ["b(user.b)?", "b(user.b)+", "b(user.b){1,2}", "(b(user.b) -> d(user.d))?"])
def test_gap_holds_whatever_came_before(before):
    """The longest wait for a step also counts after a part that repeats, or may be left out."""
    text = f"a(user.a) -> {before} ->[20ms] c(user.c)"
    optional = before.endswith("?")
    assert run(text, "ac" if optional else "abc", [1, 26] if optional else [1, 2, 26])[0] == []
    assert run(text, "ac" if optional else "abc", [1, 20] if optional else [1, 2, 20])[0] != []


def test_gap_needs_an_event_before():
    """A step that turns out to be the first of the match has waited for nothing."""
    assert run("a(user.a)? ->[8ms] b(user.b)?", "b", [1000])[0] == ["b1"]


@pytest.mark.parametrize("last", ["b(user.b)?", "b(user.b)*", "b(user.b){0,2}"])
def test_nothing_is_kept_that_can_come_to_nothing(last):
    """A partial match that can only go on by a step whose gap has passed is given up, and reported as timed out."""
    matches, timeouts, detector = run(f"a(user.a) ->[8ms] {last} timeouts", "a", until=9)
    assert (matches, timeouts, detector.status()["live_partials"]) == (["a1"], [("a1", 9)], 0)
