"""docs/machines.md is complete and right: its examples run, every field and measure is in it."""

import re
from pathlib import Path

import pytest

from automation.events import SemanticEvent
from automation.machines import ecmascript_values, model
from automation.machines.detector import Detector
from automation.machines.load import WINDOW_SECONDS
from automation.machines.loading import examine_system, load
from automation.machines.system_state import HISTORY, OWN, SystemStateType
from automation.machines.thresholds import DEFAULTS, MEASURES, Threshold
from automation.sources import read_source

PAGE = (Path(__file__).parents[1] / "docs" / "machines.md").read_text()
YAML = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
XML = re.findall(r"```xml\n(.*?)```", PAGE, re.DOTALL)


def walk(machine: Detector, *steps: tuple[str, str]) -> tuple[str, ...]:
    """Feed types and paths; the states of the instance for the last path."""
    for i, (name, path) in enumerate(steps):
        machine.feed(SemanticEvent(name, path, size=9, ts=i))
    return machine.states(path)


def test_the_upload_does_what_the_page_says():
    """Written, closed, copied; a stalled one is reported after ten minutes."""
    machine = Detector(load("upload.yaml", YAML[0]))
    path = "inbox/a"
    assert walk(machine, ("file.opened", path), ("file.closed", path)) == ("quiet",)
    assert walk(machine, ("file.opened", path), ("file.written", path)) == ("growing",)
    (stalled,) = machine.advance(601 * 10**9)
    assert stalled.actions[0]["message"] == "inbox/a has stalled after 1 writes"
    walk(machine, ("file.opened", path), ("file.closed", path))
    assert machine.states(path) == ("copying",)
    assert machine.inject(path, "done.action", {}, None, 10**12)[-1].finished


def test_the_project_does_what_the_page_says():
    """Parallel regions, a condition on the other region, deep history."""
    machine = Detector(load("project.yaml", YAML[1]))
    names = ("file.written", "user.approve", "user.build", "user.approve", "user.freeze", "user.thaw")
    walk(machine, *((name, "p/f") for name in names[:2]))
    assert machine.states("p") == ("working", "content", "dirty", "review", "open")
    walk(machine, *((name, "p/f") for name in names[2:]))
    assert machine.states("p") == ("working", "content", "clean", "review", "approved")


def test_the_document_does_what_the_page_says():
    """SCXML with actions: three tries, then it waits again."""
    machine = Detector(load("copy.scxml", XML[0]))
    walk(machine, ("file.closed", "inbox/a"))
    for _ in range(2):
        assert len(machine.inject("inbox/a", "error.action", {}, None, 9)[-1].actions) == 1
    machine.inject("inbox/a", "error.action", {}, None, 9)
    assert machine.states("inbox/a") == ("waiting",)


def test_the_thresholds_of_the_page_load():
    """The example of kind `system`, with the values that are not given."""
    form, errors = examine_system(read_source("system.yaml", YAML[2]))
    assert errors == []
    assert [(one.leave, one.release, one.tolerance) for one in form.thresholds] == [(0.85, 60, 0), (0.4, 5, 2)]


@pytest.mark.parametrize("form", [model.MachineForm, model.State, model.Transition, model.Send, model.Doing, Threshold])
def test_every_field_is_on_the_page(form):
    """Each field of a machine, a state, a transition and of what is done, by its name in a file."""
    for name in form.model_fields:
        written = {"if_": "if", "else_": "else", "raise_": "raise"}.get(name, name)
        assert re.search(rf"`[^`]*\b{written}\b[^`]*`", PAGE), f"{form.__name__}.{name} is not documented"


def test_states_measures_thresholds_and_methods_are_on_the_page():
    """All of them, with the figures that hold."""
    for name in (*SystemStateType, *MEASURES, *OWN, *ecmascript_values.METHODS):
        assert re.search(rf"`[^`]*\b{name}\b[^`]*`", PAGE), f"{name} is not documented"
    for one in DEFAULTS:
        row = re.search(rf"^\| `{one.measure}` \|.*$", PAGE, re.MULTILINE)[0]
        assert f"`{one.state}` {one.enter:g}, {one.leave:g}, {one.hold:g} s" in row
    assert f"the last {HISTORY} are" in PAGE
    assert WINDOW_SECONDS == 60
