"""The journal on a real mount: runs go on after a kill, old ones stay readable, the trail can be asked and verified."""

import json
import signal
import subprocess
import sys

import pytest

from tests.mounting import REPOSITORY, mounted, scratch
from tests.patience import eventually

pytestmark = pytest.mark.mount

FLOW = """
triggers: {path: in/*}
steps:
  - {name: first, write: {path: "log/{{ event.name }}", content: "first ", append: true}}
  - {name: rest, wait: 6s}
  - {name: last, write: {path: "log/{{ event.name }}", content: "last ", append: true}}
"""
BAD = """
triggers: {path: bad/*}
steps: [{name: miss, read: {path: "need/{{ event.name }}"}}]
"""


def vexfs(*words, code=0):
    done = subprocess.run(
        [sys.executable, "mount.py", *map(str, words)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def statuses(mount):
    runs = mount.mountpoint / ".vexfs" / "runs"
    return {json.loads((run / "trace").read_text())["status"] for run in runs.iterdir()}


def test_a_run_outlives_the_process(tmp_path):
    """Killed while runs wait and remounted, each goes on where it was and does nothing twice; then it is readable,
    can be listed, drawn, retried, and the audit trail of both lives is whole.
    """
    with scratch() as place:
        source = place / "source"
        for name in ("in", "log", "bad", "need"):
            (source / name).mkdir(parents=True)
        (place / "workflows").mkdir()
        (place / "workflows" / "flow.yaml").write_text(FLOW)
        (place / "workflows" / "bad.yaml").write_text(BAD)
        options = ["--workflows", str(place / "workflows"), "--state-dir", str(place / "state")]
        with mounted(source, arguments=options, exit_code=-signal.SIGKILL) as mount:
            for name in "abc":
                (mount.mountpoint / "in" / name).write_text("x")
            eventually(lambda: len(list((source / "log").iterdir())) == 3)
            eventually(lambda: statuses(mount) == {"waiting"})
            before = vexfs("runs", mount.mountpoint)
            mount.process.kill()
            mount.process.wait()
        assert "flow" in before and "◔ waiting" in before
        with mounted(source, arguments=options) as mount:
            eventually(lambda: statuses(mount) == {"succeeded"})
            for name in "abc":
                assert (source / "log" / name).read_text() == "first last "
            runs = [json.loads(line) for line in vexfs("runs", mount.mountpoint, "--json").splitlines()]
            assert len(runs) == 3
            text = vexfs("trace", mount.mountpoint, runs[0]["id"])
            assert "✓ succeeded  flow" in text and "✓ first" in text and "because of file.closed in/" in text
            _fail_and_retry(mount, source)
        with mounted(source, arguments=options) as mount:
            control = mount.mountpoint / ".vexfs"
            trace = json.loads((control / "runs" / runs[0]["id"] / "trace").read_text())
            assert trace["status"] == "succeeded" and [s["name"] for s in trace["steps"]] == ["first", "rest", "last"]
            assert {"started", "ended", "finished"} <= {record["kind"] for record in trace["records"]}
            assert trace["events"][0]["path"].startswith("in/") and trace["events"][0]["comm"]
            assert "succeeded" in (control / "runs" / runs[0]["id"] / "status").read_text()
            assert runs[0]["id"] in (control / "workflows" / "flow" / "runs").read_text()
            assert "are as they were written" in vexfs("verify", mount.mountpoint)
            asked = vexfs("journal", mount.mountpoint, "--run", runs[0]["id"]).splitlines()
            assert {json.loads(line)["kind"] for line in asked} >= {"workflow.started", "workflow.succeeded"}
        assert "are as they were written" in vexfs("verify", place / "state")


def _fail_and_retry(mount, source):
    """A failed run is started again by its file, once what was missing is there."""
    (mount.mountpoint / "bad" / "x").write_text("x")
    failed = eventually(lambda: vexfs("runs", mount.mountpoint, "--status", "failed", "--json").strip())
    first = json.loads(failed)["id"]
    (mount.mountpoint / "need" / "x").write_text("now it is here")
    (mount.mountpoint / ".vexfs" / "runs" / first / "retry").write_text("\n")
    eventually(lambda: vexfs("runs", mount.mountpoint, "--workflow", "bad", "--status", "succeeded", "--json").strip())
    done = json.loads(vexfs("runs", mount.mountpoint, "--workflow", "bad", "--status", "succeeded", "--json"))
    assert done["again"] == first and done["events"][0]["path"] == "bad/x"


def test_a_run_is_started_from_the_command_line():
    """`vexfs run` prints the identity, waits and tells by its status; a dry run does nothing; what is wrong is said."""
    with scratch() as place:
        source = place / "source"
        (source / "need").mkdir(parents=True)
        (place / "workflows").mkdir()
        text = "steps: [{name: out, write: {path: 'out', content: '{{ input.word }}'}}]"
        (place / "workflows" / "hand.yaml").write_text(text)
        (place / "workflows" / "bad.yaml").write_text("steps: [{name: miss, read: {path: nowhere}}]")
        options = ["--workflows", str(place / "workflows"), "--state-dir", str(place / "state")]
        with mounted(source, arguments=options) as mount:
            drawn = vexfs("run", mount.mountpoint, "hand", '{"word": "hi"}', "--dry-run")
            assert "✓ succeeded  hand" in drawn and not (source / "out").exists()
            identity = vexfs("run", mount.mountpoint, "hand", '{"word": "hi"}').strip()
            eventually(lambda: (source / "out").exists() and (source / "out").read_text() == "hi")
            assert json.loads((mount.mountpoint / ".vexfs" / "runs" / identity / "input").read_text()) == {"word": "hi"}
            assert "✗ failed  bad" in vexfs("run", mount.mountpoint, "bad", "--wait", code=1)
            vexfs("run", mount.mountpoint, "nobody", code=2)
            vexfs("run", mount.mountpoint, "hand", "[1]", code=2)
