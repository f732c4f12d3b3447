"""A detector that goes on from a snapshot finds what one that was never interrupted finds."""

from __future__ import annotations

import marshal
import random

import pytest

from automation.events import SemanticEvent
from automation.patterns.detector import Detector
from automation.patterns.routing import PatternSet
from automation.patterns.text import parse_pattern

TEXTS = [
    "a(user.a)+ any -> b(user.b where size > a.size) within 20ms by pid timeouts",
    "a(user.a) -> !x(user.x) -> (b(user.b) | c(user.c)){2} by pid, uid skip past last",
    "a(user.a) -> !b(user.b) within 7ms",
    "a(user.a) -> b(user.b) -> c(user.c) skip to next",
    "(a(user.a) & b(user.b)) -> c(user.c) event time late 3ms by pid",
]


def events(seed):
    """Letters with sizes and callers, one a millisecond."""
    rng = random.Random(seed)
    for at in range(60):
        event = SemanticEvent(
            f"user.{rng.choice('abcx')}",
            size=rng.randrange(9),
            pid=rng.randrange(2),
            uid=rng.randrange(2),
            ts=at * 1_000_000,
            attrs={"n": at},
        )
        event.seq = at + 1
        yield event


def said(detector, event):
    """Kind and identity of what the detector says."""
    return [(type(one).__name__, one.id) for one in (*detector.advance(event.ts), *detector.feed(event, event.ts))]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("seed", range(4))
def test_an_interruption_changes_nothing(text, seed):
    """Stopping after any event and going on from what was remembered, through its bytes, gives the same."""
    pattern = parse_pattern("p", text)
    whole, parts = Detector(pattern), Detector(pattern)
    for event in events(seed):
        assert said(parts, event) == said(whole, event)
        rows = marshal.loads(marshal.dumps(list(parts.rows())))
        parts = Detector(pattern)
        assert parts.resume(rows)
        assert parts.status() == whole.status()
        assert parts.deadline() == whole.deadline()


def test_snapshot_of_another_pattern_is_not_taken():
    """An edited pattern starts anew."""
    old, new = (Detector(parse_pattern("p", f"a(user.{letter}) -> b(user.b)")) for letter in "ab")
    old.feed(next(event for event in events(0) if event.type == "user.a"))
    assert not new.resume(list(old.rows()))
    assert (old.live, new.live) == (1, 0)


def test_resumed_partitions_are_routed():
    """In a set of patterns a resumed partition gets its events."""
    pattern = parse_pattern("p", "a(user.a) -> b(user.b) by pid")
    old, new = Detector(pattern), Detector(pattern)
    old.feed(SemanticEvent("user.a", pid=4, ts=1))
    new.resume(list(old.rows()))
    assert PatternSet([new]).live == 1
    assert [match.pattern for match in PatternSet([new]).feed(SemanticEvent("user.b", pid=4, ts=2))] == ["p"]
