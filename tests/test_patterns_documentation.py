"""The examples of `docs/patterns.md` are run, in the compact form and as YAML."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from automation.patterns.correlation import Correlation
from automation.patterns.loading import read_definition, render
from automation.patterns.model import Pattern, Step
from automation.replay import replay

TEXT = (Path(__file__).parents[1] / "docs" / "patterns.md").read_text()
EXAMPLES = re.findall(
    r"### ([^\n]+)\n.*?```pattern\n(.*?)```\n```events\n(.*?)```\n```found\n(.*?)```", TEXT, re.DOTALL
)


def found(definition, events):
    """Matches of a replay, with events by number."""
    for record in replay([definition], events.splitlines()):
        if record["kind"] == "match":
            steps = {name: [event["seq"] for event in events] for name, events in record["steps"].items()}
            yield {"at": record["at"], "on": record["on"], "steps": steps}
        assert record["kind"] in ("match", "end")


def test_there_are_ten_examples():
    """The documentation has the ten worked examples."""
    assert len(EXAMPLES) == 10


@pytest.mark.parametrize("example", EXAMPLES, ids=[example[0] for example in EXAMPLES])
def test_example_finds_what_it_says(example):
    """Each example finds exactly what stands below it, from its text and from the YAML made of it."""
    _, text, events, expected = example
    wanted = [json.loads(line) for line in expected.splitlines()]
    definition = read_definition("example", text)
    assert list(found(definition, events)) == wanted
    as_yaml = yaml.safe_load(yaml.safe_dump(definition.as_dict()))
    again = read_definition(as_yaml.pop("name"), as_yaml)
    assert again == definition
    assert read_definition("example", render(again)) == definition


def test_text_and_yaml_of_the_introduction_are_the_same():
    """The first pattern of the document is the same in both forms."""
    text = re.search(r"```\n(create\(.*?)```", TEXT, re.DOTALL)[1]
    mapping = yaml.safe_load(re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[1])
    assert read_definition("p", text) == read_definition("p", mapping)


def test_correlation_of_the_document_is_read():
    """The correlation in the document is one."""
    text = re.search(r"```\n(pearson\(.*?)```", TEXT, re.DOTALL)[1]
    assert isinstance(read_definition("c", text), Correlation)


@pytest.mark.parametrize("model", [Step, Pattern, Correlation])
def test_every_field_is_documented(model):
    """Each field of the models appears in the document."""
    for name, field in model.model_fields.items():
        assert re.search(rf"\b{field.alias or name}\b", TEXT), name
