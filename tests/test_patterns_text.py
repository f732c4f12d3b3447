"""The compact form: what it means, that it is the same as YAML, and what it says when it is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automation.patterns.correlation import Correlation
from automation.patterns.correlation_text import is_correlation, parse_correlation, render_correlation
from automation.patterns.model import Pattern, format_duration
from automation.patterns.rendering import render_pattern
from automation.patterns.scanner import PatternSyntaxError
from automation.patterns.text import parse_pattern
from automation.quantities import parse_duration

CONDITIONS = st.sampled_from(["size > 5", 'name == ")"', "(pid == 1 or uid == 2)", "path contains '\"'", "x in [1, 2]"])
WINDOWS = st.sampled_from(["1ms", "5s", "10m", "0.25ms", "36h", "7d"])
GLOBS = st.sampled_from(["a/**", "*.{x,y}", 'we"ird', "back\\\\slash", "ünï/*"])
BY = ["path", "attrs.user", "(stem + suffix)", "f(a, b)", "event.path", "uid + event.gid", "limit", "uid % over"]
TYPES = st.sampled_from(["file", "file.closed", "user.my-event", "*", "meta.*"])


def draw_event(draw, number, names):
    """A step that is one event, as YAML would hold it."""
    name = f"s{len(names)}" if draw(st.booleans()) else f"odd name {len(names)}"
    names.append(name)
    step = {"step": name, "event": draw(st.lists(TYPES, max_size=2)), "path": draw(st.lists(GLOBS, max_size=2))}
    if draw(st.booleans()):
        step["where"] = draw(CONDITIONS)
    if draw(st.booleans()):
        step["as"] = f"alias{len(names)}"
    return step


def draw_sequence(draw, depth, names):
    """A list of steps."""
    steps = [draw_part(draw, depth, names, head=True)]
    for _ in range(draw(st.integers(0, 2))):
        steps.append(draw_part(draw, depth, names, head=False, after_optional=steps[-1].get("optional", False)))
    if steps[-1].get("absent"):
        steps.append(draw_event(draw, 0, names))
    return steps


def draw_part(draw, depth, names, *, head, after_optional=False):
    """A step, group or choice, with whatever may stand at it."""
    shapes = ["event", "event", "group", "any_of", "all_of"] if depth else ["event"]
    shape = draw(st.sampled_from(shapes))
    if shape == "event":
        step = draw_event(draw, 0, names)
    elif shape == "group":
        step = {"group": draw_sequence(draw, depth - 1, names)}
    elif shape == "any_of":
        step = {"any_of": [draw_sequence(draw, depth - 1, names) for _ in range(2)]}
    else:
        step = {"all_of": [draw_event(draw, 0, names) for _ in range(2)]}
    if not head:
        step["follows"] = draw(st.sampled_from(["strict", "relaxed", "any"]))
        if draw(st.booleans()):
            step["gap"] = draw(WINDOWS)
        if shape == "event" and step["follows"] != "any" and not after_optional and draw(st.booleans()):
            return {**step, "absent": True}
    if draw(st.booleans()):
        step["repeat"] = draw(st.sampled_from(["+", "*", "{2}", "{2,}", "{0,3}", "{2,4}"]))
        step["inner"] = draw(st.sampled_from(["strict", "relaxed", "any"]))
        step["greedy"] = shape == "event" and draw(st.booleans())
        step["until"] = draw(st.one_of(st.just(""), CONDITIONS))
        step["every"] = draw(st.one_of(st.none(), WINDOWS))
    step["optional"] = draw(st.booleans()) or str(step.get("repeat", "")).startswith(("*", "{0"))
    return step


@st.composite
def patterns(draw):
    """Any valid pattern."""
    names: list[str] = []
    fields = {"name": "p", "steps": draw_sequence(draw, 2, names)}
    fields["by"] = draw(st.lists(st.sampled_from(BY), max_size=3))
    fields["over"] = draw(st.lists(TYPES, max_size=2))
    fields["timeouts"] = draw(st.booleans())
    fields["min_confidence"] = draw(st.floats(0, 1))
    fields["max_partials"] = draw(st.sampled_from([10_000, 5]))
    fields["max_bytes"] = draw(st.sampled_from([64_000_000, 20_000]))
    if draw(st.booleans()):
        fields |= {"time": "event", "lateness": draw(st.one_of(st.none(), WINDOWS))}
    skip = draw(st.sampled_from(["none", "next", "past_last", "to_first", "to_last"]))
    taken = [step.step for step in Pattern.model_validate(fields).walk() if not step.absent]
    to = {"strategy": skip, "to": taken[0], "strict": draw(st.booleans())}
    fields["skip"] = to if skip.startswith("to_") else skip
    return Pattern.model_validate(fields)


@settings(max_examples=300, deadline=None)
@given(patterns())
def test_text_and_model_are_the_same(pattern):
    """Every pattern survives the way into the compact form and into YAML, and back."""
    assert parse_pattern("p", render_pattern(pattern)) == pattern
    assert Pattern.model_validate(pattern.as_dict()) == pattern


@given(st.integers(1, 10**18))
def test_durations_survive(ns):
    """A duration's text means that duration, to the nanosecond where seconds as floats allow it."""
    assert parse_duration(format_duration(ns)) * 1e9 == pytest.approx(ns, rel=1e-12)


@given(st.sampled_from(["pearson", "spearman"]), st.sampled_from(["sum", "count", "avg", "last"]), CONDITIONS)
def test_correlations_survive(method, fold, where):
    """A correlation survives the way into the compact form and back."""
    left = {"step": "l", "event": "file.read", "path": ["a/**"], "where": where, "fold": fold, "value": "length / 2"}
    right = {"step": "odd one", "fold": "count"}
    fields = {"name": "c", "correlate": [left, right], "method": method, "within": "1m", "every": "5s", "above": 0.8}
    correlation = Correlation.model_validate({**fields, "below": -0.25, "by": "pid", "samples": 7, "max_series": 9})
    text = render_correlation(correlation)
    assert is_correlation(text)
    assert parse_correlation("c", text) == correlation


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a step"),
        ("a(", "event type"),
        ("a(file", "')' is expected"),
        ("a() ->", "a step"),
        ("a() b()", "a link"),
        ("a() within", "duration"),
        ("a() within 5 parsecs", "a link"),
        ("a() within 5m within 6m", "given twice"),
        ("a(){3,2}", "at least 3"),
        ("!a()", "cannot be an absence"),
        ("a()? -> !b() -> c()", "ambiguous"),
        ("a() -> a()", "taken twice"),
        ("a() -> event()", "reserved"),
        ("a() skip to first b", "no step 'b'"),
        ("a() skip sideways", "'to' is expected"),
        ("a() greedy", "needs a repeated step"),
        ("(a() -> b())+ greedy", "cannot be greedy"),
        ("(a() & b() -> c())", "single steps"),
        ("a(file..closed)", "is expected"),
        ("a(where )", "a condition is expected"),
        ("a() by", "a field is expected"),
        ("a() -> b() within 0s", "longer than nothing"),
        ("a() ->[1h] b() within 1m", "longer than the whole window"),
        ("a() ->> !b() within 1m", "absence follows"),
        ("(" * 100 + "a()" + ")" * 100, "nested too deeply"),
    ],
)
def test_errors_say_what_is_wrong(text, reason):
    """A wrong text is refused with a sentence that names what is wrong."""
    with pytest.raises(ValueError, match=r".+") as error:
        parse_pattern("p", text)
    assert reason in str(error.value)


def test_errors_know_their_place():
    """A syntax error knows its line and column."""
    with pytest.raises(PatternSyntaxError) as error:
        parse_pattern("p", "a(file.created)\n  -> b(file.closed")
    assert (error.value.line, error.value.column) == (2, 19)


def test_comments_and_lines():
    """The compact form may be spread over lines, with comments."""
    text = "a(file.created)  # first\n  -> b(file.closed)\n  # nothing\n  within 5m"
    assert render_pattern(parse_pattern("p", text)) == "a(file.created) -> b(file.closed) within 5m"
