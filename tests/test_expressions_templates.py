"""Templates, quantities and the shared state."""

import pytest

from automation.bus import Bus
from automation.errors import CallerError
from automation.quantities import parse_duration, parse_size, parse_size_test
from automation.state import State
from automation.templates import Template, TemplateError

VARIABLES = {"event": {"path": "a/b", "size": 3, "attrs": {"x": [1]}}, "vars": {"on": True, "none": None}}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("plain", "plain"),
        ("{{ event.size }}", 3),
        (" {{ event.size }}", " 3"),
        ("{{event.path}}-{{ event.size }}", "a/b-3"),
        ("{{ event.attrs }}", {"x": [1]}),
        ("={{ event.attrs }}", '={"x": [1]}'),
        ("{{ vars.on }}!", "true!"),
        ("{{ vars.none }}!", "!"),
        ("{{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ("{{ '}}' }}x", "}}x"),
        ("{{ '{{' }}", "{{"),
        ("a}} b", "a}} b"),
        ({"k": ["{{ event.size }}", 1], "{{ no }}": None}, {"k": [3, 1], "{{ no }}": None}),
    ],
)
def test_a_template_renders(source, expected):
    """One expression keeps its type, several are written into the text, keys stay."""
    assert Template(source).render(VARIABLES) == expected


@pytest.mark.parametrize(
    ("source", "place"),
    [("{{ event.path", ()), ({"a": [{"b": "{{ 1 + }}"}]}, ("a", 0, "b")), ({"a": "{{ }}"}, ("a",)), ("{{ 'x }}", ())],
)
def test_a_malformed_template_names_its_place(source, place):
    """The place within the value is told."""
    with pytest.raises(TemplateError) as caught:
        Template(source)
    assert caught.value.place == place


def test_literal_keys_are_left_alone():
    """Lua's own braces are no templates."""
    template = Template({"script": "t = {{1}}", "x": "{{ event.size }}"}, literal={"script"})
    assert template.render(VARIABLES) == {"script": "t = {{1}}", "x": 3}
    assert Template({"script": "{{"}, literal={"script"}).constant


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(5, 5), (0.5, 0.5), ("5", 5), ("250ms", 0.25), ("1h30m", 5400), ("2 d", 172800), ("1m 30s", 90), ("1w", 604800)],
)
def test_a_duration_is_read(text, seconds):
    """Numbers are seconds, units add up."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5 parsecs", "-1", -1, True, None, "1e9999", float("inf"), "s", "5s x", [], "9999999d"]
)
def test_nonsense_is_no_duration(text):
    """Anything else is refused with an example of what is right."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_sizes_and_their_comparisons_are_read():
    """Decimal and binary units, several comparisons in one text."""
    assert [parse_size(t) for t in (7, "7", "1KB", "1KiB", "1.5 MB", "2g")] == [7, 7, 1000, 1024, 1_500_000, 2 * 10**9]
    assert parse_size_test(">= 1KB, <2MB") == [(">=", 1000), ("<", 2_000_000)]
    assert parse_size_test(5) == [("==", 5)]
    for nonsense in ("> lots", "", None, "-1", True, ">"):
        with pytest.raises(ValueError, match="size"):
            parse_size_test(nonsense)


@pytest.fixture
def bus():
    return Bus()


def test_a_change_of_state_is_an_event(bus):
    """Old and new value are told; setting an equal value is no change."""
    seen = bus.subscribe("test", ["system.state"])
    state = State(bus)
    state.set("a.b", [1])
    state.set("a.b", [1])
    state.set("a.b.0", 2)
    state.set("a.b.1", 3)
    assert state.get("a.b") == [2, 3] and state.get("a") == {"b": [2, 3]} and state.get("x", 9) == 9
    assert state.delete("a.b") and not state.delete("a.b")
    changes = [(e.attrs["path"], e.attrs["old"], e.attrs["new"]) for e in seen.receive_nowait()]
    assert changes == [("a.b", None, [1]), ("a.b.0", 1, 2), ("a.b.1", None, 3), ("a.b", [2, 3], None)]


def test_true_is_not_one(bus):
    """A change of type is a change though Python finds the values equal."""
    state = State(bus)
    state.set("a", 1)
    state.set("a", True)
    assert state.get("a") is True


def test_what_is_read_cannot_change_the_state(bus):
    """Readers get copies."""
    state = State(bus)
    state.set("a", {"b": [1]})
    state.get("a")["b"].append(2)
    state.as_dict()["a"] = None
    assert state.get("") == {"a": {"b": [1]}}


@pytest.mark.parametrize(
    "change", [("a.b.c", 1), ("", 1), ("a..b", 1), ("l.5", 1), ("l.x", 1), ("x", object()), ("x", float("nan"))]
)
def test_an_impossible_change_is_refused(bus, change):
    """Nothing is overwritten by accident, and only JSON is kept."""
    state = State(bus)
    state.set("a.b", 1)
    state.set("l", [0])
    before = state.as_dict()
    with pytest.raises(CallerError):
        state.set(*change)
    assert state.as_dict() == before


def test_too_deep_or_too_large_a_value_is_refused(bus):
    """32 levels and 1 MiB are the bounds."""
    deep = []
    for _ in range(40):
        deep = [deep]
    with pytest.raises(CallerError, match="deeper"):
        State(bus).set("a", deep)
    with pytest.raises(CallerError, match="larger"):
        State(bus).set("a", "x" * (2 << 20))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a = 1", ("a", 1)), (' a.b={"c": [1]} \n', ("a.b", {"c": [1]})), ('a = "x = y"', ("a", "x = y"))],
)
def test_an_assignment_is_read(text, expected):
    """Path, equals sign, JSON."""
    assert State.parse_assignment(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "= 3", "a = ", "a = word", "a b = 1 2", "a..b = 1", "a = NaN", "a = " + "[" * 5000]
)
def test_a_malformed_assignment_is_refused(text):
    """CallerError, never anything else."""
    with pytest.raises(CallerError):
        State.parse_assignment(text)
