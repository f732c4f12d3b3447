"""Actions are validated as far as possible when a definition is loaded, and fully before they run."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from automation.actions import ACTIONS, ALIASES, build_action, check_action, describe

DOCS = Path(__file__).parent.parent / "docs" / "actions.md"


def section(name: str) -> str:
    """The part of docs/actions.md about one action."""
    found = re.search(rf"^## `{name}`\n(.*?)(?=^## |\Z)", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"docs/actions.md has no section about {name}"
    return found[1]


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_and_field_is_documented(name):
    """Each action has a section in docs/actions.md that names each of its fields and what it results in."""
    text = section(name)
    for field in ACTIONS[name].model_fields:
        if field != "type":
            assert f"`{field}`" in text, f"docs/actions.md does not explain {name}.{field}"
    assert "Result:" in text


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_has_an_example_that_is_right(name):
    """And its section says what a dry run makes of it and how it is undone."""
    text = section(name)
    examples = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    raws = [one["action"] for one in examples if isinstance(one, dict) and "action" in one]
    raws = [raw for raw in raws if ALIASES.get(raw["type"], raw["type"]) == name]
    assert raws, f"docs/actions.md has no example of {name}"
    for raw in raws:
        check_action(raw)
    assert "dry run" in text.lower() and "undo" in text.lower().replace("undone", "undo"), name


def test_every_other_name_is_documented():
    """The seed's names of actions and of fields appear in docs/actions.md."""
    text = DOCS.read_text()
    for name in ALIASES:
        assert f"`{name}`" in text
    for model in ACTIONS.values():
        for field in model.model_fields.values():
            for alias in getattr(field.validation_alias, "choices", []):
                assert f"`{alias}`" in text, alias


@pytest.mark.parametrize("name", ACTIONS)
def test_the_type_of_each_model_is_its_name(name):
    """The table's key is the model's own `type`, so that a definition and its result agree."""
    assert ACTIONS[name].model_fields["type"].default == name


@pytest.mark.parametrize(
    ("raw", "field", "says"),
    [
        ({}, "type", "needs a 'type'"),
        ({"type": "cpoy", "from": "a", "to": "b"}, "type", "did you mean 'copy'"),
        ({"type": 3}, "type", "there is no action"),
        ({"type": ["copy"]}, "type", "there is no action"),
        ({"type": "copy", "from": "a"}, "target", "required"),
        ({"type": "copy", "from": "a", "to": "b", "force": True}, "force", "not permitted"),
        ({"type": "copy", "from": "{{ event.path }}", "to": "b", "force": "{{ x }}"}, "force", "not permitted"),
        ({"type": "copy", "from": "{{ event.path }}", "to": "b", "overwrite": "perhaps"}, "overwrite", "boolean"),
        ({"type": "delete", "path": "/"}, "path", "path within the mount is missing"),
        ({"type": "set_mode", "path": "a", "mode": "0999"}, "mode", "octal"),
        ({"type": "set_mode", "path": "a", "mode": 99999}, "mode", "octal"),
        ({"type": "checksum", "path": "a", "algorithm": "crc"}, "algorithm", "sha256"),
        ({"type": "command", "argv": "ls -l"}, "", "list of words"),
        ({"type": "command", "argv": []}, "argv", "at least 1"),
        ({"type": "command", "argv": ["ls"], "timeout": "soon"}, "timeout", "5s"),
        ({"type": "http", "url": "http://x", "body": 1, "upload": "f"}, "", "not both"),
        ({"type": "http", "url": "http://x", "method": "GET /"}, "method", "pattern"),
        ({"type": "emit_event", "event": "file.created"}, "event", "cannot be made up"),
        ({"type": "emit_event", "event": "report"}, "event", "user.report"),
        ({"type": "execute_script", "script_language": "Perl", "script_content": "x"}, "script_language", "wasm"),
        ({"type": "script", "script": "x"}, "", "'language' of the script is missing"),
        ({"type": "script", "language": "lua"}, "", "give either 'script'"),
        ({"type": "script", "file": "a.pl"}, "", "does not tell its language"),
        ({"type": "lua", "script": "x", "timeout": "{{"}, "timeout", ""),
    ],
)
def test_a_wrong_action_is_refused_at_load(raw, field, says):
    """The error names the field and says what would be right."""
    if field == "timeout" and says == "":
        check_action(raw)  # a template is judged once it is rendered
        return
    with pytest.raises(ValidationError) as caught:
        check_action(raw)
    problems = caught.value.errors()
    assert any(".".join(map(str, p["loc"])) == field and says in p["msg"] for p in problems), problems
    assert says in describe(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "copy", "from": "{{ event.path }}", "to": "out/{{ event.name }}", "overwrite": "{{ vars.force }}"},
        {"type": "set_mode", "path": "a", "mode": "{{ vars.mode }}"},
        {"type": "command", "argv": "{{ vars.argv }}"},
        {"type": "http", "url": "{{ vars.url }}", "timeout": "{{ vars.wait }}", "headers": {"a": "{{ x }}"}},
        {"type": "call_api", "url": "http://x", "method": "POST", "headers": {}, "body": {"a": 1}},
        {"type": "execute_script", "script_language": "Lua", "script_content": "return {{1}}", "parameters": {}},
        {"type": "script", "file": "scripts/a.py", "function": "run"},
        {"type": "update_state", "state_path": "a.b", "new_value": None},
        {"type": "emit_event", "event_type": "user.x", "event_data": {}},
    ],
)
def test_templates_are_judged_when_rendered(raw):
    """A field that holds a template passes at load, whatever its type; the seed's names pass too."""
    check_action(raw)


def test_a_rendered_action_is_judged_in_full():
    """What a template left behind is refused before it runs."""
    with pytest.raises(ValidationError):
        build_action({"type": "set_mode", "path": "a", "mode": "{{ vars.mode }}"})
    assert build_action({"type": "copy", "from": "a", "to": "b"}).type == "copy"
