"""The JSON Schema for editors takes what VexFS takes, of every kind, and marks what is misspelt."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from automation.actions import ACTIONS
from automation.errors import DefinitionError
from automation.loading import load
from automation.schemas import schema
from automation.sources import read_source
from tests.json_schema import wrong

ROOT = Path(__file__).parents[1]
SCHEMA = schema()
FENCED = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
WHOLE = ("steps", "rules", "guards", "lists", "kind", "patterns", "pattern", "expect", "cases", "system")


def judged(value):
    return wrong(value, SCHEMA, SCHEMA)


def examples():
    """Every shipped definition, and those in the documentation that are whole files."""
    for file in sorted((ROOT / "workflows").glob("*.yaml")):
        yield pytest.param(read_source(str(file), file.read_text()).value, id=file.name)
    for file in sorted((ROOT / "docs").glob("*.md")):
        for at, text in enumerate(FENCED.findall(file.read_text())):
            value = read_source(str(file), text).value
            alone = isinstance(value, dict) and any(key in value for key in WHOLE)
            if alone and set(value) != {"steps", "by", "within"}:
                yield pytest.param(value, id=f"{file.name}-{at}")


@pytest.mark.parametrize("value", [*examples()])
def test_what_is_shipped_and_documented_is_right(value):
    """Workflows, books, machines, patterns, expectations."""
    assert judged(value) == []


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"steps": [{"copy": {"sauce": "a", "target": "b"}}]}, "sauce"),
        ({"triggers": [{"types": "file.closed", "pth": "x"}], "steps": [{"log": {"message": "x"}}]}, "fits none"),
        ({"rules": [{"name": "a", "condition": "true", "action": []}]}, "action"),
        ({"guards": [{"name": "a", "operations": "write", "deni": "EACCES"}]}, "deni"),
        ({"kind": "machine", "states": {"a": {"enter": []}}}, "enter"),
        ({"kind": "system", "threshold": {}}, "threshold"),
        ({"pattern": {"steps": [{"step": "a", "evnt": "file.closed"}]}}, "fits none"),
        ({"patterns": {"a": 7}}, "fits none"),
        ({"cases": [{"event": []}]}, "event"),
        ({"events": [], "expect": {}}, "expect"),
        ({"name": "nothing"}, "steps"),
    ],
)
def test_what_is_wrong_is_marked(value, what):
    """With the place, for each kind of file."""
    found = judged(value)
    assert found and any(what in one for one in found), found


def test_every_action_is_there_in_its_short_form():
    """And where it wants a number, a template is as good."""
    for name in ACTIONS:
        assert name in SCHEMA["$defs"]["automation__step_forms__Step"]["properties"], name
    assert judged({"steps": [{"http": {"url": "http://a", "timeout": "{{ vars.t }}"}}]}) == []
    assert judged({"steps": [{"set_mode": {"path": "a", "mode": []}}]})


def test_a_line_in_the_log_may_be_its_text_alone():
    """For the schema, and when it is loaded; an error in it has its line."""
    assert judged({"steps": [{"log": "hello {{ event.path }}"}]}) == []
    text = "steps:\n- {log: first}\n- log: second\n  when: event.size > 1\n"
    assert [step.action for step in load("w.yaml", text).steps] == [
        {"type": "log", "message": "first"},
        {"type": "log", "message": "second"},
    ]
    with pytest.raises(DefinitionError, match=r"w\.yaml:3"):
        load("w.yaml", text.replace("second", "'{{ x'"))


def test_it_is_printed_for_a_file():
    """`make schema`."""
    done = subprocess.run([sys.executable, "-m", "automation.schemas"], cwd=ROOT, capture_output=True, check=True)
    assert json.loads(done.stdout) == json.loads(json.dumps(SCHEMA))
