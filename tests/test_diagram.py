"""The picture of a workflow shows every step, and what follows what."""

import re
from pathlib import Path

import pytest

from automation.diagram import diagram
from automation.loading import load
from automation.targets import Automation
from tests.automation_rig import rig

DOCS = (Path(__file__).parent.parent / "docs" / "workflows.md").read_text()
EXAMPLES = [text for text in re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL) if "steps:" in text and "name:" in text]
SORT = """
name: sort
triggers: {path: "in/*"}
steps:
- name: where
  decision:
    switch: event.suffix
    cases:
      .jpg: {name: image, move: {source: "{{ event.target }}", target: images/}}
    default: {name: other, move: {source: "{{ event.target }}", target: others/}}
- name: note
  log: {message: "it's \\"sorted\\""}
"""


def edges(text):
    return re.findall(r"^  (\w+) (?:-->|-\.->)(?:\|\"([^\"]*)\"\|)? (\w+)", text, re.MULTILINE)


def test_decisions_branch_and_meet():
    """Each case has its arrow, and both lead on to what follows."""
    text = diagram(load("sort.yaml", SORT))
    nodes = dict(re.findall(r'^  (n\d+)[\[({>/]+"([^"<]*)', text, re.MULTILINE))
    found = {(nodes[a], label, nodes[b]) for a, label, b in edges(text)}
    assert found == {
        ("event", "", "where"),
        ("where", ".jpg", "image"),
        ("where", "else", "other"),
        ("image", "", "note"),
        ("other", "", "note"),
    }


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_of_the_documentation_is_drawn(text):
    """A node for each step that acts, no arrow from or to nowhere, no quote that ends a label early."""
    workflow = load("example.yaml", text)
    drawn = diagram(workflow)
    assert drawn.startswith("flowchart TD\n")
    nodes = set(re.findall(r"^  (n\d+)[\[({>]", drawn, re.MULTILINE)) | {"failed"}
    assert all({a, b} <= nodes for a, _, b in edges(drawn))
    assert all(line.count('"') in (0, 2) for line in drawn.splitlines())
    for step in workflow.steps:
        assert step.name in drawn or step.step_type not in (None, "action")


async def test_pictures_can_be_switched_off(tmp_path, autojump_clock):
    """And sentences; whose runs take turns too."""
    switches = Automation(enable_natural_language_rules=False, enable_multi_tenant_isolation=False)
    async with rig(tmp_path, switches, w=f"{SORT}tenant_id: red\n") as one:
        with pytest.raises(Exception, match="enable_natural_language_rules"):
            await one.service.language.write("when a file arrives in inbox, log it", 0)
        run = await one.service.dispatcher.run_by_hand("sort", {})
        await one.settled()
        assert run.tenant == ""
