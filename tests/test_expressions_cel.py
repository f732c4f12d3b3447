"""Conditions and template expressions."""

import hashlib

import pytest

from automation.events import Cause, SemanticEvent
from automation.expressions import EVENT_FIELDS, EvaluationError, compile_condition, compile_expression
from automation.facts import event_facts

EVENT = SemanticEvent(
    "file.closed", "in/report.tar.gz", size=12, uid=7, attrs={"written": True}, cause=Cause("r", "w", 2)
)


def value(source, **variables):
    return compile_expression(source)({"event": event_facts(EVENT), **variables})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("event.size > 10 && event.path.endsWith('.gz')", True),
        ("event.suffix", ".gz"),
        ("event.stem", "report.tar"),
        ("event.dir + '/' + event.name", "in/report.tar.gz"),
        ("event.attrs.written", True),
        ("event.?attrs.?missing.orValue(3)", 3),
        ("event.cause.depth", 2),
        ("event.dest == ''", True),
        ("event.offset == null", True),
        ("basename('a/b.c') + suffix('a/b.c') + stem('a/.hidden') + dirname('a/b')", "b.c.c.hiddena"),
        ("glob(event.path, 'in/**')", True),
        ("sha256('abc')", hashlib.sha256(b"abc").hexdigest()),
        ("json({'a': [1, null, true]})", '{"a": [1, null, true]}'),
        ("parse_json('[1, 2.5]')[1]", 2.5),
        ('shell_quote("it\'s")', "'it'\"'\"'s'"),
        ("strftime('%Y', from_ns(1700000000000000000))", "2023"),
        ("duration('90s')", 90.0),
        ("timestamp('2024-01-02T03:04:05Z')", "2024-01-02T03:04:05Z"),
        ("b'ab'", "ab"),
        ("{'a': [1, 2.5, 'x'], 'b': {'c': null}}", {"a": [1, 2.5, "x"], "b": {"c": None}}),
        ("now() > timestamp('2020-01-01T00:00:00Z')", True),
    ],
)
def test_an_expression_gives_a_plain_value(source, expected):
    """Results are JSON values; CEL's own functions and ours work."""
    assert value(source) == expected


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("evnt.path", "did you mean 'event'"),
        ("event.pth == ''", "did you mean 'path'"),
        ("bsename('a')", "did you mean 'basename'"),
        ("event.size >", "the end"),
        ("1 + 'a'", "no matching overload"),
        ("", "empty"),
        ("  ", "empty"),
    ],
)
def test_a_wrong_expression_is_refused_when_it_is_compiled(source, reason):
    """The sentence says what is wrong and, for a misspelling, what is nearest."""
    with pytest.raises(ValueError, match=reason):
        compile_expression(source)


def test_a_field_name_within_a_text_is_no_field():
    """Only code is checked for the fields of an event, and functions on it are not fields."""
    assert value("event.path != 'event.nope'") is True
    assert value("event.attrs.map(k, k)") == ["written"]


def test_a_condition_must_be_able_to_be_true_or_false():
    """A text or number is refused as a condition."""
    compile_condition("event.attrs.written")
    with pytest.raises(ValueError, match="true or false"):
        compile_condition("event.size + 1")


@pytest.mark.parametrize(
    ("source", "reason"),
    [("event.attrs.nope", 'no "nope"'), ("event.offset > 3", "overload"), ("parse_json('{').a", "double quotes")],
)
def test_a_failed_evaluation_names_the_expression(source, reason):
    """Missing keys and unfit types raise EvaluationError."""
    with pytest.raises(EvaluationError, match=reason) as caught:
        value(source)
    assert source in str(caught.value)


def test_a_name_that_is_not_unicode_passes_through():
    """Surrogate escapes survive, also beside what CEL makes of them, and hash as their bytes."""
    event = event_facts(SemanticEvent("file.closed", "in/caf\udce9.txt"))
    assert compile_expression("event.path")({"event": event}) == "in/caf\udce9.txt"
    assert compile_expression("'x/' + event.name")({"event": event}) == "x/caf\udce9.txt"
    digest = hashlib.sha256(b"caf\xe9.txt").hexdigest()
    assert compile_expression("sha256(event.name)")({"event": event}) == digest


def test_a_runaway_is_stopped():
    """CEL's iteration budget ends a loop that would not end in time."""
    loop = "[1,2,3,4,5,6,7,8,9,10]"
    nested = f"{loop}.all(a, {loop}.all(b, {loop}.all(c, {loop}.all(d, {loop}.all(e, a+b+c+d+e > 0)))))"
    with pytest.raises(EvaluationError):
        compile_expression(nested)({})


def test_every_field_of_an_event_is_always_there():
    """What expressions may name and what an event gives are the same set."""
    assert set(event_facts(EVENT)) == set(EVENT_FIELDS)
    assert event_facts(SemanticEvent("file.renamed", "a/x", "b/y.z"))["target"] == "b/y.z"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("state.a", 1),
        ("state.?z.orValue(2)", 2),
        ("state['b'].c", 3),
        ("state.b.c + state.a", 4),
        ("size(state)", 2),
        ("has(state.b) && !has(state.z)", True),
        ("state.a == 1 && 'state.z' != ''", True),
    ],
)
def test_only_the_used_part_of_the_state_is_handed_over(source, expected):
    """However it is asked for, the result is as if it were whole."""
    assert compile_expression(source)({"state": {"a": 1, "b": {"c": 3}}}) == expected
