"""What conditions mean: closures and CEL agree, times of the week, names that stand for lists and conditions."""

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automation.events import SemanticEvent
from automation.expressions import EVENT_FIELDS, EvaluationError, compile_expression
from automation.facts import event_facts
from automation.rules.checks import Moment, compile_check, compile_tree, silences
from automation.rules.fields import getter
from automation.rules.forms import RuleException, Tree
from automation.rules.vocabulary import Vocabulary
from automation.rules.windows import Window

EVENT = SemanticEvent(
    "file.renamed", "in/a.tar.gz", "out/.b.csv", size=10, uid=7, comm="cp", attrs={"n": 2, "s": "x", "t": True}
)
ATOMS = st.sampled_from(
    [
        *(
            "event.size > 3",
            "event.size <= 10",
            "10 < event.size",
            "event.uid == 7",
            "event.uid != 7",
            "7 == event.uid",
        ),
        *("event.comm == 'cp'", "event.comm in ['cp', 'mv']", "event.uid in [1, 7]", "event.name.startsWith('.')"),
        *("event.path.contains('a.t')", "event.suffix == '.csv'", "event.attrs.n == 2", "event.attrs.n == 2.0"),
        *("event.attrs.t == true", "event.attrs.t", "event.attrs.t == 1", "event.attrs.s == 2", "event.offset == null"),
        *("state.on == true", "state.deep.x >= 3", "true", "event.size * 2 == 20", "size(event.path) > 3"),
        *("event.attrs.s > 'a'", "event.path.matches('^in/')", "glob(event.target, 'out/*')"),
    ]
)
SOURCES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]} && {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} || {two[1]})"),
        inner.map(lambda one: f"!({one})"),
    ),
    max_leaves=6,
)
MOMENT = Moment({"on": True, "deep": {"x": 3}}, 0.0)


@given(SOURCES)
@settings(max_examples=300, deadline=None)
def test_closures_say_what_cel_says(source):
    """Where nothing that is compared is missing, every condition is what the official CEL makes of it."""
    variables = {"event": event_facts(EVENT), "state": MOMENT.state, "vars": {}}
    assert compile_check(source)(EVENT, MOMENT) is compile_expression(source)(variables)


@pytest.mark.parametrize("field", EVENT_FIELDS)
def test_fields_are_those_of_cel(field):
    """Each field of an event reads the same in a closure as in CEL."""
    for event in (EVENT, SemanticEvent("file.closed", "plain")):
        assert getter((field,))(event) == event_facts(event)[field]


def test_a_comparison_with_what_is_missing_is_false():
    """With an attribute, a state variable or a size that is not there; unlike CEL, which fails."""
    event = SemanticEvent("file.opened", "a")
    for source in ("event.size > 3", "event.attrs.none == 1", "state.no.thing == 1", "event.attrs.x.startsWith('a')"):
        assert not compile_check(source)(event, MOMENT)
    with pytest.raises(EvaluationError):
        compile_check("event.attrs.none + 1 > 2")(event, MOMENT)


def test_units_are_numbers():
    """Sizes in bytes, durations in nanoseconds."""
    words = Vocabulary()
    assert words.condition("event.size > 10MB") == "event.size > 10000000"
    assert words.condition("event.ts > 5s && event.name == '10MB'") == "event.ts > 5000000000 && event.name == '10MB'"


def test_names_stand_for_lists_and_conditions():
    """In conditions bare, in lists of texts with @; not within texts, after a dot, or as a function."""
    words = Vocabulary({"a": ("x", "@b"), "b": (1, 2)}, {"big": "event.size > 1KB", "both": "big && event.uid in b"})
    assert words.items(["@a", "z"]) == ["x", 1, 2, "z"]
    assert (
        words.condition("both || event.b == 'big'")
        == "((event.size > 1000) && event.uid in [1, 2]) || event.b == 'big'"
    )
    assert words.condition("event.comm in @a") == 'event.comm in ["x", 1, 2]'
    for source in ("loop", "far"):
        with pytest.raises(ValueError, match="itself"):
            Vocabulary({}, {"loop": "loop", "far": "near", "near": "far"}).condition(source)
    with pytest.raises(ValueError, match="did you mean 'shells'"):
        Vocabulary({"shells": ()}).items("@shell")


@given(st.integers(0, 1439), st.integers(0, 1439), st.sets(st.integers(0, 6)), st.integers(0, 7 * 1440 - 1))
@settings(max_examples=300, deadline=None)
def test_windows_hold_in_their_minutes_of_their_days(start, end, days, minute):
    """A span over midnight belongs to the day on which it began."""
    if start == end:
        return
    names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    span = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    window = Window(between=span, days=[names[day] for day in days], timezone="UTC")
    monday = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC).timestamp()
    length = (end - start) % 1440
    held = any((minute - day * 1440 - start) % (7 * 1440) < length for day in days)
    assert window.holds(monday + minute * 60) is held


def test_trees_join_conditions():
    """all, any and none, of texts, windows and tests of the state."""
    tree = Tree.model_validate(
        {
            "all": [
                {"any": ["event.uid == 1", {"state": {"name": "deep.x", "at_least": 3, "below": 4}}]},
                {"none": ["event.size > 100", {"state": {"name": "on", "is": False}}]},
                {"time": "00:00-24:00"},
            ]
        }
    )
    assert compile_tree(tree, Vocabulary())(EVENT, MOMENT)
    assert not compile_tree(tree, Vocabulary())(EVENT, Moment({"deep": {"x": 5}}, 0.0))


@pytest.mark.parametrize(
    ("form", "silent"),
    [
        ({"fields": "comm", "values": ["cp", "mv"]}, True),
        ({"fields": "comm", "values": ["mv"]}, False),
        (
            {"fields": ["comm", "path"], "comps": ["in", "startswith"], "values": [[["mv"], "in/"], [["cp"], "in/"]]},
            True,
        ),
        ({"fields": ["comm", "path"], "comps": ["in", "startswith"], "values": [[["cp"], "out/"]]}, False),
        ({"fields": ["comm", "uid"], "values": [["cp", 7]]}, True),
        ({"fields": ["comm", "uid"], "values": [["cp", 8], ["mv", 7]]}, False),
        ({"fields": "target", "comps": "glob", "values": ["out/*"]}, True),
        ({"fields": "size", "comps": ">=", "values": [10]}, True),
        ({"fields": "comm", "comps": ">=", "values": [10]}, False),
        ({"fields": "uid", "comps": "startswith", "values": ["7"]}, False),
        ({"fields": ["attrs.s", "comm"], "comps": ["=", "in"], "values": [["x", ["@tools"]]]}, True),
    ],
)
def test_exceptions_are_tuples_of_fields(form, silent):
    """One tuple that fits in all its fields silences; lists may be named."""
    exception = RuleException.model_validate({"name": "e", **form})
    assert silences(exception, Vocabulary({"tools": ("cp",)}))(EVENT, MOMENT) is silent
