"""Workflows on a real mount: a person drops files, waits, answers, and looks at what goes on under /.vexfs."""

import json
from pathlib import Path

import pytest

from tests.mounting import mounted, scratch
from tests.patience import eventually

pytestmark = pytest.mark.mount

APPROVAL = """
name: approval
workflow_type: state_machine
triggers: {path: "requests/*"}
let: {request: "{{ event.target }}", answer: "answers/{{ event.name }}"}
steps:
  - name: asked
    write: {path: "{{ vars.answer }}.open", content: "?"}
    transitions:
      - {to: granted, on: {types: file.closed, path: "{{ vars.answer }}", where: event.size > 0}}
      - {to: expired, after: 1d}
  - name: granted
    parallel:
      - name: file
        move: {source: "{{ vars.request }}", target: "granted/{{ basename(vars.request) }}"}
        compensate: auto
      - {name: close, delete: {path: "{{ vars.answer }}.open"}, depends_on: file, compensate: auto}
    transitions: [{to: told}]
  - name: told
    trigger_workflow: {workflow: tell, input: {what: "{{ steps.granted.file.path }}"}}
    transitions: [{to: end}, {to: expired, error: true}]
  - {name: end, final: succeeded}
  - {name: expired, final: failed}
"""
TELL = """
name: tell
inputs: {what: {type: path, required: true}}
steps:
  - decision:
      if: input.what.endsWith('bad')
      then: {delete: {path: "no/such/file"}}
      else: {write: {path: told, content: "{{ input.what }}"}}
"""


def runs(control: Path, workflow: str) -> list[dict]:
    """The traces of a workflow's runs, oldest first."""
    traces = [json.loads((control / "runs" / name / "trace").read_text()) for name in (control / "runs").iterdir()]
    return sorted((t for t in traces if t["workflow"] == workflow), key=lambda t: t["started_ns"])


def test_a_request_waits_for_its_answer():
    """A state machine with parallel steps and a sub-workflow; one that fails at the end is undone."""
    with scratch() as directory:
        for name in ("source/requests", "source/answers", "workflows"):
            (directory / name).mkdir(parents=True)
        (directory / "workflows" / "tell.yaml").write_text(TELL)
        with mounted(directory / "source", arguments=("--workflows", str(directory / "workflows"))) as mount:
            here, control = mount.mountpoint, mount.mountpoint / ".vexfs"
            (control / "workflows" / "approval.yaml").write_text(APPROVAL)
            (here / "requests" / "good").write_text("please")
            eventually(lambda: [run["status"] for run in runs(control, "approval")] == ["waiting"])
            (run,) = runs(control, "approval")
            status = (control / "runs" / run["id"] / "status").read_text()
            assert "waiting" in status and "asked" in status and (here / "answers" / "good.open").exists()
            (here / "answers" / "good").write_text("yes")
            eventually(lambda: runs(control, "approval")[0]["status"] == "succeeded")
            (run,) = runs(control, "approval")
            assert (here / "told").read_text().strip() == "granted/good" and not (here / "requests" / "good").exists()
            assert [step["name"] for step in run["steps"]] == ["asked", "granted", "told", "end"]
            assert [step["place"] for step in run["steps"][1]["steps"]] == ["granted[1].file", "granted[1].close"]
            assert runs(control, "tell")[0]["parent"]["run"] == run["id"]

            (here / "requests" / "bad").write_text("please")
            eventually(
                lambda: len(runs(control, "approval")) == 2 and runs(control, "approval")[1]["status"] == "waiting"
            )
            (here / "answers" / "bad").write_text("yes")
            eventually(lambda: runs(control, "approval")[1]["status"] == "compensated")
            assert (here / "requests" / "bad").read_text() == "please" and (here / "answers" / "bad.open").exists()
