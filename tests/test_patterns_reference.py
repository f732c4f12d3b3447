"""The engine against a matcher that tries every choice of events."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from automation.events import SemanticEvent
from automation.patterns.detector import Detector
from automation.patterns.model import Pattern
from automation.patterns.outcomes import Match
from tests.pattern_oracle import Part, matches

LINKS = st.sampled_from(["strict", "relaxed", "any"])
LETTERS = st.sampled_from(["a", "b", "c", "ab", "bc", "abc"])
WAITS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4)), min_size=1, max_size=7)
COUNTS = st.sampled_from([(1, 1), (1, None), (2, 2), (1, 2), (2, 3), (2, None)])


@st.composite
def taking(draw):
    """A step that takes events."""
    least, most = draw(COUNTS)
    return Part(draw(LETTERS), draw(LINKS), least, most, draw(LINKS) if most != 1 else "relaxed", draw(st.booleans()))


@st.composite
def sequences(draw):
    """Two or three steps, perhaps with an absence between two that cannot be left out."""
    parts = draw(st.lists(taking(), min_size=1, max_size=3))
    ranged = len(parts) > 1 and parts[1].most not in (None, parts[1].least)
    if len(parts) > 1 and not ranged and draw(st.booleans()):  # Flink watches an absence through a range's repetitions
        ban = Part("d", draw(st.sampled_from(["strict", "relaxed"])), absent=True)
        before, after = parts[0], parts[1]
        plain = Part(before.letters), Part(after.letters, after.follows, after.least, after.most, after.inner)
        parts = [plain[0], ban, plain[1], *parts[2:]]
    return parts


def model(parts, **more):
    """The same pattern in the form of the engine."""
    steps = []
    for number, part in enumerate(parts):
        letters = ", ".join(f'"{letter}"' for letter in part.letters)
        step = {"step": f"s{number}", "where": f"letter in [{letters}]"}
        step |= {"optional": part.optional, "absent": part.absent}
        if number:
            step["follows"] = part.follows
        if (part.least, part.most) != (1, 1):
            step |= {"repeat": {"min": part.least, "max": part.most}, "inner": part.inner}
        steps.append(step)
    return Pattern.model_validate({"name": "p", "steps": steps, **more})


def found(pattern, word, times):
    """What the engine finds: for each step, positions."""
    detector, out = Detector(pattern), []
    for at, (letter, ts) in enumerate(zip(word, times, strict=True)):
        event = SemanticEvent("user.letter", ts=ts, attrs={"letter": letter})
        event.seq = at
        out.extend(outcome for outcome in detector.feed(event, ts) if isinstance(outcome, Match))
    names = [step.step for step in pattern.steps]
    return Counter(tuple(tuple(event.seq for event in match.steps.get(name, ())) for name in names) for match in out)


@settings(max_examples=400, deadline=None)
@given(sequences(), st.text("abcd", min_size=1, max_size=7))
def test_matches_are_those_of_the_definition(parts, word):
    """For sequences, counts, optional steps and absences the engine finds exactly what the definition allows."""
    times = list(range(1, len(word) + 1))
    assert found(model(parts), word, times) == Counter(matches(parts, word, times))


@settings(max_examples=200, deadline=None)
@given(
    sequences(),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4)), min_size=1, max_size=7),
    st.integers(1, 8),
)
def test_window_bounds_the_whole_match(parts, steps, within):
    """With a window, the matches are those whose first and last event are closer together than the window."""
    word, times, now = [], [], 1
    for letter, wait in steps:
        now += wait
        word.append(letter)
        times.append(now)
    pattern = model(parts, within=f"{within * 0.000001:.6f}ms")
    assert pattern.within == within
    assert found(pattern, word, times) == Counter(matches(parts, word, times, within))


@settings(max_examples=150, deadline=None)
@given(sequences(), st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xy")), min_size=1, max_size=9))
def test_partitions_do_not_see_each_other(parts, events):
    """A partitioned pattern finds in a mixture what it finds in each part alone."""
    detector, out = Detector(model(parts, by="key")), Counter()
    for at, (letter, key) in enumerate(events):
        event = SemanticEvent("user.letter", ts=at + 1, attrs={"letter": letter, "key": key})
        event.seq = at
        for match in detector.feed(event, at + 1):
            out[tuple(tuple(event.seq for event in match.steps.get(f"s{n}", ())) for n in range(len(parts)))] += 1
    expected = Counter()
    for key in "xy":
        places = [at for at, (_, other) in enumerate(events) if other == key]
        word = [events[at][0] for at in places]
        for groups in matches(parts, word, list(range(len(word)))):
            expected[tuple(tuple(places[at] for at in group) for group in groups)] += 1
    assert out == expected
