"""Conditions over events and over what a partial match holds."""

from __future__ import annotations

import pytest

from automation.events import SemanticEvent
from automation.patterns.closures import Names, compile_value, compile_where
from automation.patterns.detector import Detector
from automation.patterns.runs import Node, Run
from automation.patterns.text import parse_pattern

EVENT = SemanticEvent(
    "file.closed",
    "inbox/report.PDF",
    size=5_000_000,
    pid=42,
    uid=1000,
    comm="cp",
    ts=9_000_000_000,
    attrs={"written": 10, "user": {"name": "ada"}, "tags": ["x", "y"], "flag": True},
)


def held(*sizes):
    """A partial match whose step `a` has events of these sizes."""
    node = None
    for at, size in enumerate(sizes):
        node = Node(0, SemanticEvent("file.written", "p", size=size, ts=at * 1_000_000_000), at + 1, node)
    return Run(None, node, 0, 0, 1)


def check(source, run=None):
    """Whether the condition holds for EVENT as a candidate of step `b`."""
    names = Names({"a": 0, "b": 1}, frozenset("b"), ("a", "b"))
    return compile_where(source, names)(EVENT, run or held(1, 2, 3))


@pytest.mark.parametrize(
    "source",
    [
        "size > 4MB",
        "size == 5000000",
        "b.size > a.size",
        "event.size >= a[0].size + a[-1].size",
        "count(a) == 3 and sum(a.size) == 6 && avg(a.size) == 2",
        "sum(a.size, size) == 5000006",
        "min(a.size) == 1 and max(a.size, 7) == 7",
        "count(b) == 0 and sum(b.size) == 0 and avg(b.size) == null",
        'name contains "rep" and suffix == ".PDF" and stem == "report" and dir == "inbox"',
        'name.startsWith("rep") and path.endsWith("PDF") and path glob "inbox/*"',
        "written == 10 and attrs.written == 10",
        'user.name == "ada" and attrs.user.name == "ada"',
        '"x" in tags and not "z" in tags and "z" not in tags',
        'comm in ["cp", "mv"]',
        "flag and !missing",
        "not (pid == 41 or uid < 1000)",
        "ts - a.ts > 5s",
        "-size < 0 and 7 % 4 == 3 and 6 / 4 == 1.5 and 2 + 3 * 4 == 14",
        "category == 'Filesystem' and code == 385",
        'event.name.matches("^[a-z]+[.]PDF$")',
        "steps.a.size == 3 && event.pid == 42",
        "event.attrs.written > 5 ? true : false",
        'a.path == "p"',
        "size == 5M and 1h30m == 90m and 1.5s == 1500ms and 64KiB == 65536 and 1e3 == 1000",
        'count("a") == 3 and "a".size == 3 and "a"[0].size == 1 and steps.a.size == 3',
    ],
)
def test_true(source):
    """Each of these holds."""
    assert check(source) is True


@pytest.mark.parametrize(
    "source",
    [
        "missing > 5",
        "missing < 5",
        'size > "big"',
        "path > 5",
        "missing == 1",
        "1 / 0 == 1",
        "size / missing > 0",
        "missing contains 'x'",
        "pid contains 4",
        "a[7].size == null and false",
        "a[9].size > 0",
        "user.name.deeper == 1",
        'event.attrs.nothing.matches("x")',
        "5 in written",
    ],
)
def test_false_and_never_raises(source):
    """What is missing or of another kind makes a comparison false; nothing raises."""
    assert check(source) is False


@pytest.mark.parametrize(
    "source", ["", "size >", "(size > 5", "size ** 2", "count(nobody) > 1", "sum(a) > 1", "size > 5parsecs", "'open"]
)
def test_refused_when_loaded(source):
    """A condition that means nothing is refused with a sentence."""
    with pytest.raises(ValueError, match=r".+"):
        check(source)


def test_pattern_names_the_step_of_a_wrong_condition():
    """The complaint about a condition names its step."""
    with pytest.raises(ValueError, match=r"'b'.*'5parsecs'"):
        Detector(parse_pattern("p", "a() -> b(where size > 5parsecs)"))


def test_keys_are_fields_or_expressions():
    """What partitions a stream is a field or is computed."""
    assert compile_value("path")(EVENT) == "inbox/report.PDF"
    assert compile_value("(stem + suffix)")(EVENT) == "report.PDF"
    assert compile_value("nothing")(EVENT) is None
