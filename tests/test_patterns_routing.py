"""Many patterns at once: none misses an event, none sees too many, one that fails harms no other."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from automation.events import SemanticEvent
from automation.patterns.detector import Detector
from automation.patterns.outcomes import Failed, Match, Overflow
from automation.patterns.routing import PatternSet
from automation.patterns.text import parse_pattern

TEXTS = [
    'a(file.created, "d1/**") -> b(file.closed where size > 3) within 30ms by path timeouts',
    'a(file.created, "**/*.tmp") -> !x(file.deleted) -> b(file.renamed) by path skip past last',
    'a(file.opened, "d2/x") => b(file.written) over file',
    "a(file.opened) => b(file.written) by pid",
    "a(file)? -> b(file.deleted){2} by pid within 20ms",
    "(a(file.created) | b(file.renamed)) -> c() by name",
    'a(file.written, "d1/*", "!d1/y") ->[10ms] !b(file.written) by path',
    "a(file.opened)+ until (type == 'file.closed') -> b(file.deleted) by pid, dir",
    "(a(file.opened) & b(file.written, 'x'))".replace("'x'", '"d3/**"') + " within 15ms",
    "a(file.written where size == 1) -> b(file.written where size == a.size + 1) over file.written|dir",
]
TYPES = ["file.created", "file.closed", "file.deleted", "file.renamed", "file.opened", "file.written", "dir.created"]


def random_events(seed, count=1000):
    """Traffic over a few paths and processes."""
    rng, out = random.Random(seed), []
    for at in range(count):
        path = f"d{rng.randrange(4)}/{rng.choice(['x', 'y', 'z.tmp', 'deep/w.tmp'])}"
        event = SemanticEvent(rng.choice(TYPES), path, size=rng.randrange(6), pid=rng.randrange(3), ts=at * 1_000_000)
        event.seq = at + 1
        out.append(event)
    return out


@pytest.mark.parametrize("seed", range(5))
def test_no_pattern_misses_an_event(seed):
    """Patterns together find what each of them finds when it sees every event."""
    detectors = [Detector(parse_pattern(f"p{number}", text)) for number, text in enumerate(TEXTS)]
    patterns = PatternSet(Detector(detector.pattern) for detector in detectors)
    alone, together = Counter(), Counter()
    for event in random_events(seed):
        for detector in detectors:
            for outcome in (*detector.advance(event.ts), *detector.feed(event, event.ts)):
                alone[type(outcome), outcome.pattern, outcome.id] += 1
        for outcome in (*patterns.advance(event.ts), *patterns.feed(event, event.ts)):
            together[type(outcome), outcome.pattern, outcome.id] += 1
    assert together == alone
    assert len({name for _, name, _ in alone}) == len(TEXTS)


class Counting:
    """A detector that counts what it is given."""

    def __init__(self, inner):
        self.inner, self.seen = inner, 0

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def feed(self, event, now=None):
        self.seen += 1
        return self.inner.feed(event, now)


def test_events_reach_only_patterns_that_they_concern():
    """Of a thousand patterns an event reaches the one that it can begin, or that waits for its path."""
    counting = [
        Counting(Detector(parse_pattern(f"p{n}", f'a(file.created, "d{n}/**") -> b(file.closed) by path')))
        for n in range(1000)
    ]
    patterns = PatternSet(counting)
    for name in ("file.closed", "file.created", "file.created", "file.closed", "file.closed"):
        patterns.feed(SemanticEvent(name, "d7/x", ts=1))
    assert [one.seen for one in counting if one.seen] == [3]


class Raising(Counting):
    """A detector with a bug."""

    def feed(self, event, now=None):
        raise RuntimeError("a bug")


def test_a_pattern_that_raises_is_disabled():
    """A detector that raises is reported once and disabled; the others go on."""
    patterns = PatternSet([Raising(Detector(parse_pattern("bad", "a()"))), Detector(parse_pattern("good", "a()"))])
    first, second = (patterns.feed(SemanticEvent("user.x", ts=1)) for _ in range(2))
    assert [type(outcome) for outcome in first] == [Failed, Match]
    assert [type(outcome) for outcome in second] == [Match]
    assert patterns.failed == {"bad": "RuntimeError: a bug"}


def test_strict_skip_that_cannot_be_done_disables():
    """A strict skip without its target disables the pattern with a sentence."""
    patterns = PatternSet([Detector(parse_pattern("p", "a(user.a) -> b(user.b)? skip to first b or fail"))])
    assert "no such event" in patterns.feed(SemanticEvent("user.a", ts=1))[0].reason


def test_all_patterns_share_a_bound():
    """When all patterns together hold too much, the one that holds most gives up its oldest."""
    detectors = [
        Detector(parse_pattern("few", "a(user.a) -> b(user.b)")),
        Detector(parse_pattern("many", "a() -> b(user.b)")),
    ]
    patterns = PatternSet(detectors, max_partials=100)
    out = []
    for at in range(150):
        out += patterns.feed(SemanticEvent("user.a" if at < 20 else "user.c", ts=at))
    assert {outcome.pattern for outcome in out if isinstance(outcome, Overflow)} == {"many"}
    assert patterns.live <= 100
    assert detectors[0].live == 20


def test_the_bound_holds_when_one_event_begins_more_than_any_pattern_holds():
    """Each comes down to the same level, and keeps its newest."""
    detectors = [Detector(parse_pattern(f"p{i}", "a(user.a) -> b(user.b)")) for i in range(30)]
    patterns = PatternSet(detectors, max_partials=100)
    for at in range(50):
        patterns.feed(SemanticEvent("user.a", ts=at))
        assert patterns.live <= 100
    assert {detector.live for detector in detectors} == {3}
    assert len([out for out in patterns.feed(SemanticEvent("user.b", ts=60)) if isinstance(out, Match)]) >= 30


def test_all_patterns_share_a_bound_of_memory():
    """Few long partial matches weigh more than many short ones: the heaviest pattern gives up first."""
    detectors = [
        Detector(parse_pattern("short", "a(user.a) -> b(user.b)")),
        Detector(parse_pattern("long", "a(user.c)+ -> b(user.b) skip past last")),
    ]
    patterns = PatternSet(detectors, max_bytes=400_000)
    out = []
    for at in range(400):
        out += patterns.feed(SemanticEvent("user.a" if at % 4 == 0 else "user.c", ts=at))
        assert patterns.weight <= 404_000
    shed = [outcome for outcome in out if isinstance(outcome, Overflow)]
    assert {(outcome.pattern, outcome.what) for outcome in shed} == {("long", "bytes")}
    assert detectors[0].live == 100


def test_editing_one_pattern_keeps_the_state_of_the_others():
    """A pattern that is replaced or removed takes only its own partial matches with it."""
    patterns = PatternSet(Detector(parse_pattern(name, "a(user.a) -> b(user.b) within 1s by pid")) for name in "xyz")
    patterns.feed(SemanticEvent("user.a", ts=1))
    patterns.add(Detector(parse_pattern("x", "a(user.a) -> b(user.b)")))
    patterns.remove("y")
    assert patterns.live == 1
    assert [match.pattern for match in patterns.feed(SemanticEvent("user.b", ts=2))] == ["z"]
    assert len(patterns) == 2


def test_one_clock_for_all():
    """The set knows the first deadline of all, and advances only who waits for it."""
    texts = {"slow": "a(user.a) -> !b(user.b) within 9s", "quick": "a(user.a) -> !b(user.b) within 2s"}
    patterns = PatternSet(Detector(parse_pattern(name, text)) for name, text in texts.items())
    patterns.feed(SemanticEvent("user.a", ts=0))
    times = []
    while (deadline := patterns.deadline()) is not None:
        times.append((deadline, [match.pattern for match in patterns.advance(deadline)]))
    assert times == [(2_000_000_000, ["quick"]), (9_000_000_000, ["slow"])]


def test_a_skip_that_must_not_miss_is_told_in_a_line(caplog):
    """`or fail` disables the pattern with its reason, and no traceback: nothing of ours went wrong."""
    caplog.set_level("WARNING")  # whatever the root's is
    set_ = PatternSet([Detector(parse_pattern("p", "a(user.a) -> b(user.b)? skip to first b or fail"))])
    (failed,) = set_.feed(SemanticEvent("user.a", ts=1), 1)
    assert (failed.pattern, failed.reason) == ("p", "cannot skip to 'b': the match has no such event")
    assert [(record.getMessage(), record.exc_info) for record in caplog.records] == [
        ("pattern p is disabled: cannot skip to 'b': the match has no such event", None)
    ]
