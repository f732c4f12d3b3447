"""Laws of the statechart engine, on random charts: legal, equal to the standard's algorithm, unharmed by a restart."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automation.events import SemanticEvent
from automation.machines.detector import Detector
from automation.machines.loading import examine_source
from automation.machines.outcomes import Broken, Moved
from automation.sources import Source
from tests.machine_oracle import Oracle

EVENTS = ("user.a", "user.b", "user.c")
RAISED = ("d", "e")
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


class Builder:
    """Draws one chart as the mapping that a YAML file would hold."""

    def __init__(self, draw):
        self.draw = draw
        self.names: list[str] = []
        self.pending: list[tuple[str, dict[str, Any]]] = []

    def chart(self) -> dict[str, Any]:
        states = self.children(depth=0, least=2)
        for name, form in self.pending:
            self.connect(name, form)
        return {"kind": "machine", "name": "m", "key": "none", "states": states}

    def children(self, depth: int, least: int) -> dict[str, Any]:
        out = {}
        for _ in range(self.draw(st.integers(least, 3))):
            name = f"s{len(self.names)}"
            self.names.append(name)
            out[name] = self.state(name, depth)
        return out

    def state(self, name: str, depth: int) -> dict[str, Any]:
        kinds = ("atomic", "compound", "compound", "parallel", "final") if depth < 3 else ("atomic",)
        kind = self.draw(st.sampled_from(kinds))
        form: dict[str, Any] = {"entry": [{"log": f"+{name}"}], "exit": [{"log": f"-{name}"}]}
        if kind == "final" and depth:
            return {"type": "final", **form}
        if kind in ("compound", "parallel"):
            form["states"] = self.children(depth + 1, 2)
            if kind == "parallel":
                form["type"] = "parallel"
                for region in list(form["states"].values()):
                    if region.get("type") == "final":
                        del region["type"]
            if self.draw(st.integers(0, 3)):
                deep = self.draw(st.booleans())
                inner = next(iter(form["states"]))
                targets = [inner] if kind == "compound" else list(form["states"])
                self.names.append(f"h{name}")
                form["states"][f"h{name}"] = {"history": "deep" if deep else "shallow", "target": targets}
        self.pending.append((name, form))
        return form

    def connect(self, name: str, form: dict[str, Any]) -> None:
        if form.get("type") == "final":
            return
        for _ in range(self.draw(st.integers(0, 2))):
            event = self.draw(st.sampled_from((*EVENTS, *RAISED, "user", "*")))
            form.setdefault("on", {}).setdefault(event, []).append(self.arrow(name))
        if self.draw(st.integers(0, 9)) == 0:
            form["always"] = [{**self.arrow(name), "when": f"In('{self.draw(st.sampled_from(self.real()))}')"}]
        if form.get("states") and self.draw(st.booleans()):
            form["done"] = [self.arrow(name)]

    def real(self) -> list[str]:
        return [name for name in self.names if name.startswith("s")]

    def arrow(self, source: str) -> dict[str, Any]:
        out: dict[str, Any] = {"do": [{"log": f"{source}>"}]}
        if self.draw(st.integers(0, 5)):
            remembered = [name for name in self.names if name.startswith("h")]
            often = remembered and self.draw(st.integers(0, 2)) == 0
            out["target"] = [self.draw(st.sampled_from(remembered if often else self.names))]
        if self.draw(st.integers(0, 3)) == 0:
            out["when"] = f"In('{self.draw(st.sampled_from(self.real()))}')"
        if self.draw(st.integers(0, 3)) == 0:
            out["internal"] = True
        if self.draw(st.integers(0, 3)) == 0:
            out["do"].append({"raise": self.draw(st.sampled_from(RAISED))})
        return out


@st.composite
def charts(draw):
    """A chart and events for it."""
    return Builder(draw).chart(), draw(st.lists(st.sampled_from(EVENTS), max_size=12))


def rich(history: str) -> dict[str, Any]:
    """A chart in which what was active before decides where most events lead."""

    def leaf(name: str, **on: str) -> dict[str, Any]:
        arrows = {f"user.{event}": [{"target": [target]}] for event, target in on.items()}
        return {"entry": [{"log": f"+{name}"}], "exit": [{"log": f"-{name}"}], "on": arrows}

    inner = {"x": leaf("x", a="y"), "y": leaf("y", a="x", b="q"), "hp": {"history": history, "target": ["y"]}}
    one = {"p": leaf("p", c="hp") | {"states": inner}, "q": leaf("q", a="p", b="r", c="hp"), "r": leaf("r", a="hp")}
    two = {"u": leaf("u", b="v"), "v": leaf("v", b="w", a="u"), "w": leaf("w")}
    default = ["q", "v"] if history == "deep" else ["one", "two"]
    regions = {"one": {"states": one}, "two": {"states": two}}
    whole = {"type": "parallel", "states": {**regions, "h": {"history": history, "target": default}}}
    states = {"both": whole | leaf("both", d="away"), "away": leaf("away", a="h", b="both", c="hp")}
    return {"kind": "machine", "name": "m", "key": "none", "states": states}


@SETTINGS
@given(st.sampled_from(("shallow", "deep")), st.lists(st.sampled_from(("user.a", "user.b", "user.c", "user.d"))))
def test_history_leads_where_the_standard_says(history, events):
    """Shallow and deep history of compound and parallel states, with any order of events."""
    chart = rich(history)
    oracle, detector = Oracle(chart), detector_of(chart)
    assert said(detector.start(0)) == oracle.said
    for name in events:
        oracle.event(name)
        assert said(detector.feed(SemanticEvent(name, ts=0))) == oracle.said
        assert list(detector.states()) == oracle.names()


def detector_of(chart: dict[str, Any]) -> Detector:
    machine, errors = examine_source(Source("m.yaml", chart, {(): 1}))
    assert machine is not None, [str(error) for error in errors]
    return Detector(machine)


def said(outcomes) -> list[str]:
    return [action["message"] for outcome in outcomes if isinstance(outcome, Moved) for action in outcome.actions]


@SETTINGS
@given(charts())
def test_it_does_what_the_algorithm_of_the_standard_does(case):
    """States after each event, and what was entered, left and done in which order, are those of appendix D."""
    chart, events = case
    try:
        oracle = Oracle(chart)
    except RecursionError:
        assert isinstance(detector_of(chart).start(0)[-1], Broken)
        return
    detector = detector_of(chart)
    assert said(detector.start(0)) == oracle.said
    for name in events:
        assert list(detector.states()) == (oracle.names() if oracle.running else [])
        if not oracle.running:
            return
        try:
            oracle.event(name)
        except RecursionError:
            assert isinstance(detector.feed(SemanticEvent(name, ts=0))[-1], Broken)
            return
        outcomes = detector.feed(SemanticEvent(name, ts=0))
        assert said(outcomes) == oracle.said
    if oracle.running:
        assert list(detector.states()) == oracle.names()


@SETTINGS
@given(charts())
def test_a_configuration_is_always_legal(case):
    """After every event: one child of each compound state, all of each parallel one, and every state's parent."""
    chart, events = case
    detector = detector_of(chart)
    detector.start(0)
    for name in events:
        detector.feed(SemanticEvent(name, ts=0))
        for instance in detector.instances():
            assert detector.machine.chart.is_legal(instance.config)


@SETTINGS
@given(charts(), st.integers(0, 12))
def test_a_snapshot_loses_nothing(case, at):
    """After restoring a snapshot, as JSON, everything goes on as if nothing had happened."""
    chart, events = case
    detector = detector_of(chart)
    detector.start(0)
    for name in events[:at]:
        detector.feed(SemanticEvent(name, ts=0))
    copy = detector_of(chart)
    assert copy.restore(json.loads(json.dumps(list(detector.rows())))) == []
    assert list(copy.rows()) == list(detector.rows())
    for name in events[at:]:
        assert said(detector.feed(SemanticEvent(name, ts=0))) == said(copy.feed(SemanticEvent(name, ts=0)))
        assert copy.states() == detector.states()


@pytest.mark.stress
@settings(max_examples=800, deadline=None, suppress_health_check=list(HealthCheck))
@given(charts())
def test_many_more_charts_do_what_the_standard_says(case):
    """The first law on eight hundred charts."""
    test_it_does_what_the_algorithm_of_the_standard_does.hypothesis.inner_test(case)
