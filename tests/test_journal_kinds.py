"""Every kind of record of the audit trail, brought about on a real mount: each says who, and why."""

import json
import subprocess

import pytest

from tests.mounting import mounted, scratch
from tests.patience import eventually
from tests.test_journal_mount import vexfs

pytestmark = pytest.mark.mount

USER = 1000
FLOW = """
triggers: {path: "in/*", types: file.closed}
steps: [{name: look, log: {message: hi}}, {name: tell, emit_event: {event: user.told}}]
"""
FAILING = "steps: [{name: miss, read: {path: nowhere}}]"
LONG = "steps: [{name: rest, wait: 60s}]"
BOOK = """
rules: {watch: {on: file.closed, paths: ["in/**"], actions: [{log: {message: hi}}]}}
guards: [{name: sealed, operations: [modify], paths: ["sealed/**"], errno: EROFS}]
"""
PATTERN = "patterns: {pair: 'a(file.created) -> b(file.closed) within 1m by path'}"
GATE = "kind: machine\nkey: none\nstates: {shut: {on: {user.told: open}}, open: {on: {user.shut: shut}}}"
DEFINITIONS = {"flow": FLOW, "failing": FAILING, "long": LONG, "book": BOOK, "pair": PATTERN, "gate": GATE}


def as_user(script):
    """What a plain user does in a shell; its exit status."""
    return subprocess.run(["sh", "-c", script], user=USER, group=USER, capture_output=True, check=False).returncode


def cause_everything(mount, workflows):
    """Let each kind of thing happen."""
    point, control = mount.mountpoint, mount.mountpoint / ".vexfs"
    assert as_user(f"echo x > {point}/in/a.csv") == 0
    assert as_user(f"echo x > {point}/sealed/b") != 0
    eventually(lambda: "open" in (control / "machines" / "gate" / "state").read_text())
    (control / "machines" / "gate" / "event").write_text("user.shut\n")
    (control / "state").write_text("limits.size = 10\n")
    for line in ("pause", "resume", "run failing", "run long"):
        (control / "ctl").write_text(f"{line}\n")
    failed = eventually(lambda: vexfs("runs", point, "--workflow", "failing", "--status", "failed", "--json").strip())
    (control / "runs" / json.loads(failed)["id"] / "retry").write_text("\n")
    waiting = eventually(lambda: vexfs("runs", point, "--workflow", "long", "--status", "waiting", "--json").strip())
    (control / "runs" / json.loads(waiting)["id"] / "cancel").write_text("\n")
    eventually(lambda: vexfs("runs", point, "--workflow", "long", "--status", "cancelled", "--json").strip())
    with pytest.raises(OSError, match="Invalid"):
        (control / "ctl").write_text("dance\n")
    (control / "workflows" / "new.yaml").write_text(FAILING)
    with pytest.raises(OSError, match="Invalid"):
        (control / "workflows" / "bad.yaml").write_text("steps: 7")
    (control / "workflows" / "new.yaml").rename(control / "workflows" / "newer.yaml")
    (control / "workflows" / "newer.yaml").unlink()
    (workflows / "dropped.yaml").write_text(FAILING)
    eventually((control / "workflows" / "dropped").exists)
    (control / "workflows" / "dropped" / "enabled").write_text("0")


@pytest.fixture(scope="module")
def trail():
    """The records of a mount on which all of it happened, and the last verdict."""
    with scratch() as place:
        source, workflows = place / "source", place / "workflows"
        for name in ("in", "sealed"):
            (source / name).mkdir(parents=True)
            (source / name).chmod(0o777)
        workflows.mkdir()
        for name, text in DEFINITIONS.items():
            (workflows / f"{name}.yaml").write_text(text)
        options = ["--workflows", str(workflows), "--state-dir", str(place / "state")]
        with mounted(source, arguments=options) as mount:
            cause_everything(mount, workflows)
        assert "are as they were written" in vexfs("verify", place / "state")
        yield [json.loads(line) for line in vexfs("journal", place / "state").splitlines()]


def because(event_type):
    return lambda record: record["data"]["because"]["type"] == event_type and record["data"]["because"]["event"] > 0


def data(**wanted):
    return lambda record: wanted.items() <= record["data"].items()


# kind, who, and what must be true of one record of it: why it happened, or by what it was asked for
WANTED = [
    ("audit.begun", 0, data(published=0)),
    ("system.mounted", 0, lambda record: record["data"]["mountpoint"]),
    ("rule.fired", USER, lambda r: r["data"]["trigger"] == "file.closed" and r["path"] == "in/a.csv" and r["pid"]),
    ("rule.denied", USER, data(rule="sealed", answer="EROFS", mode="enforce", comm="sh")),
    ("pattern.matched", USER, lambda r: r["data"]["pattern"] == "pair" and r["data"]["steps"]["b"]),
    ("workflow.started", USER, because("file.closed")),
    ("workflow.started", 0, because("user.run")),
    ("workflow.started", 0, lambda r: "again" in r["data"]["because"]),
    ("workflow.step", USER, data(workflow="flow", step="look", status="succeeded")),
    ("workflow.step", 0, lambda r: r["data"]["status"] == "failed" and r["data"]["error"]),
    ("workflow.succeeded", USER, lambda r: len(r["run"]) == 16),
    ("workflow.failed", 0, lambda r: "nowhere" in r["data"]["error"]),
    ("workflow.cancelled", 0, lambda r: "cancelled by hand" in r["data"]["error"]),
    ("machine.changed", 0, data(machine="gate", before=["shut"], after=["open"])),
    ("machine.changed", 0, data(machine="gate", via=".vexfs/machines/gate/event", after=["shut"])),
    ("system.state", 0, data(path="limits.size", via=".vexfs/state")),
    ("system.state", 0, data(path="paused", new=True, via=".vexfs/ctl")),
    ("system.definition", 0, data(name="flow", status="loaded", via="mount")),
    ("system.definition", 0, data(name="new", status="loaded", via=".vexfs/workflows/new.yaml")),
    ("system.definition", 0, lambda r: r["data"]["status"] == "refused" and r["data"]["reason"]),
    ("system.definition", 0, data(name="newer", status="removed", via=".vexfs/workflows/newer.yaml")),
    ("system.definition", 0, data(name="dropped", status="loaded", via="directory")),
    ("system.definition", 0, data(name="dropped", status="disabled", via=".vexfs/workflows/dropped/enabled")),
    ("control.command", 0, lambda r: r["data"]["line"] == "pause" and r["pid"] and r["data"]["comm"]),
    ("control.write", 0, lambda r: r["path"] == "machines/gate/event" and r["pid"] and r["data"]["comm"]),
    ("control.write", 0, lambda r: r["path"].endswith("/cancel") and r["pid"]),
    ("control.refused", 0, lambda r: "dance" in r["data"]["said"] and r["path"] == "ctl"),
    ("control.renamed", 0, data(dest="workflows/newer.yaml")),
    ("control.removed", 0, lambda r: r["path"] == "workflows/newer.yaml"),
    ("system.unmounted", 0, lambda record: record["data"]["mountpoint"]),
]


@pytest.mark.parametrize(("kind", "uid", "why"), WANTED, ids=[f"{i} {kind}" for i, (kind, *_) in enumerate(WANTED)])
def test_it_is_written_down_with_who_and_why(trail, kind, uid, why):
    """One record of the kind, of that user, with its reason."""
    found = [record for record in trail if record["kind"] == kind]
    assert any(why(record) and record["uid"] == uid for record in found), json.dumps(found, indent=1)[:4000]


def test_the_chain_of_causes_can_be_followed(trail):
    """From a move of the machine to the run that told it, and to the user whose file started that run."""
    moved = next(r for r in trail if r["kind"] == "machine.changed" and r["data"]["after"] == ["open"])
    told = [r for r in trail if r["kind"] == "workflow.step" and r["data"]["step"] == "tell"]
    assert moved["data"]["trigger"] == "user.told" and len(told) == 1
    started = next(r for r in trail if r["kind"] == "workflow.started" and r["run"] == told[0]["run"])
    assert started["uid"] == USER and started["path"] == "in/a.csv" and started["data"]["because"]["event"] > 0
