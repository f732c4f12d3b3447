"""The eight scenarios. Each plays on a stage and says in a sentence what was seen; AssertionError when it was not."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Final

from bench.demonstration.stage import REPOSITORY, TENANTS, Service, Stage, definition, until


def event_processing(stage: Stage) -> str:
    """A pattern over the events of one process: ten renames within five seconds."""
    stage.install("burst.yaml")
    folder = stage.write("documents/0.txt").parent
    for i in range(1, 12):
        (folder / f"{i}.txt").write_text("x")
    moves = 'cd "$1"; for i in 0 1 2 3 4 5 6 7 8 9 10; do mv $i.txt $i.locked; done'  # each mv is a process of its own
    subprocess.run(["sh", "-c", moves, "sh", str(folder)], check=True)
    subprocess.run(["python3", "-c", RENAMES, str(folder)], check=True)
    alarm = json.loads(until(lambda: _text(stage, "alarms/burst.json"), "the alarm"))
    assert alarm["renames"] == 10 and alarm["program"].startswith("python"), alarm
    who = f"{alarm['program']} (pid {alarm['pid']})"
    return f"{alarm['renames']} renames by {who} raised an alarm, 11 by 11 processes did not"


RENAMES: Final = """
import os, sys
os.chdir(sys.argv[1])
for name in sorted(os.listdir())[:10]:
    os.rename(name, name + ".enc")
"""


def workflow_automation(stage: Stage) -> str:
    """Steps at the same time, one that waits for both, seen in the trace."""
    stage.install("intake.yaml")
    stage.write("arrivals/letter.txt", "Dear Ada\n")
    (trace,) = stage.ended("intake")
    assert trace["status"] == "succeeded", trace
    assert _text(stage, "kept/letter.txt") == "Dear Ada\n"
    assert len(_text(stage, "kept/catalogue").split()) == 2
    steps = {step["name"]: step for step in trace["steps"]}
    assert steps["catalogue"]["started_ns"] >= max(steps["digest"]["ended_ns"], steps["keep"]["ended_ns"])
    return f"digest and copy side by side, then the catalogue, in {trace['duration_ms']:.0f} ms"


def state_management(stage: Stage) -> str:
    """The seed's backup workflow on `disk_usage > 0.8`; Maintenance makes a folder read-only."""
    (stage.control / "workflows" / "backup.yaml").write_text((REPOSITORY / "workflows" / "backup.yaml").read_text())
    stage.write("videos/large.bin", "")
    with (stage.mount / "videos" / "large.bin").open("r+b") as file:
        file.truncate(200_000_000)
    (stage.control / "state").write_text("disk_usage = 0.5\n")
    (stage.control / "state").write_text("disk_usage = 0.85\n")
    (trace,) = stage.ended("Automated Backup Workflow")
    assert trace["status"] == "succeeded", trace
    (found,) = json.loads(_text(stage, "backup/large-files.json"))
    stage.install("maintenance.yaml")
    shared = stage.write("shared/plan.txt")
    (stage.control / "state").write_text('system.state = "Maintenance"\n')
    refused = _errno(lambda: shared.write_text("changed"))
    (stage.control / "state").write_text('system.state = "auto"\n')
    shared.write_text("changed")
    assert refused == errno.EROFS, refused
    return f"disk_usage 0.85 listed {found['path']} for backup; Maintenance answered a write with EROFS"


def analytics(stage: Stage) -> str:
    """A burst is an anomaly in windows of saves; a forecast is made of each."""
    stage.install("load.yaml")
    stage.install("overload.yaml")
    for i in range(14):
        stage.write(f"spool/calm{i}")
        time.sleep(0.25)
    for i in range(80):
        stage.write(f"spool/burst{i}")
    alarm = json.loads(until(lambda: _text(stage, "alarms/overload.json"), "the anomaly"))
    predictions = stage.metric('vexfs_events_total{type="prediction.made"}')
    assert predictions > 0
    return f"{alarm['files']:.0f} saves in a window ({alarm['severity']}), {predictions:.0f} forecasts"


def fault_tolerance(stage: Stage) -> str:
    """A service that is down: retried, left alone by a breaker, what was done undone; later all is well."""
    with Service() as service:
        stage.install("order.yaml", url=service.url)
        first = stage.write("orders/1", "one\n")
        failed = stage.ended("order")[0]
        assert failed["status"] == "compensated", failed
        assert first.read_text() == "one\n" and not (stage.mount / "taken" / "1").exists()
        attempts = next(step["attempts"] for step in failed["steps"] if step["name"] == "announce")
        breaker = until(lambda: "open" in (stage.control / "breakers").read_text(), "the breaker to open")
        time.sleep(1.1)
        service.well = True
        stage.write("orders/2", "two\n")
        second = stage.ended("order", 2)[0]
        assert second["status"] == "succeeded" and _text(stage, "taken/2") == "two\n" and breaker
    return f"{attempts} attempts, then the order lay where it was and a breaker was open; the next order went through"


def performance(stage: Stage) -> str:
    """A thousand files: the events are counted, latency and load are measured against their targets."""
    before = stage.metric("vexfs_events_total")
    began = time.monotonic()
    for i in range(1000):
        stage.write(f"many/{i}")
    seconds = time.monotonic() - began
    after = sum(
        float(line.rpartition(" ")[2])
        for line in (stage.control / "metrics").read_text().splitlines()
        if line.startswith("vexfs_events_total{")
    )
    assert after > before
    status = (stage.control / "status").read_text()
    latency = next(line for line in status.splitlines() if line.startswith("latency"))
    assert "of 100 ms" in latency, status
    return f"1,000 files in {seconds:.1f} s; {' '.join(latency.split()[1:6])}"


def multi_tenancy(stage: Stage) -> str:
    """Two users, each a tenant with a definition that names the files of both: it reacts to its own, as itself, and
    neither sees anything of the other's.
    """
    for user in TENANTS:
        folder = stage.mount / user / "in"
        folder.mkdir(parents=True)
        for path in (folder.parent, folder):
            shutil.chown(path, user, user)
        stage.as_user(user, "cat > .vexfs/self/workflows/keep.yaml", definition("tenant.yaml", user=user))
    for i in range(5):
        for user in TENANTS:
            stage.as_user(user, f"echo x > {user}/in/{i}")
    for user in TENANTS:
        until(lambda: all((stage.mount / user / f"kept-{i}").exists() for i in range(5)), "what is kept")  # noqa: B023
        assert {path.owner() for path in (stage.mount / user).glob("kept-*")} == {user}
        runs = stage.as_user(user, "cat .vexfs/self/runs/*/trace")
        assert runs.count('"workflow": "keep"') == 5 and runs.count(f'"path": "{user}/in') >= 5, runs
        assert not [other for other in TENANTS if other != user and other in runs], runs
    one, other = TENANTS
    for look in (f"cat .vexfs/tenants/{other}/status", f"echo pause > .vexfs/tenants/{other}/ctl", "cat .vexfs/state"):
        refused = stage.as_user(one, f"({look}) 2>&1 || echo refused")
        assert "ermission denied" in refused and refused.endswith("refused\n"), refused
    trail = until(lambda: f'"path":"tenants/{other}"' in (stage.control / "journal").read_text(), "the denial")
    assert trail and not stage.runs("keep")
    return f"5 runs as {one} and 5 as {other}, each of its own files; {one} was denied {other}'s, which the trail tells"


def hot_reload(stage: Stage) -> str:
    """A definition changes while mounted; a bad one is refused with its line; the last good one is brought back."""
    stage.install("greet.yaml", word="hello")
    stage.write("greet/a")
    until(lambda: _text(stage, "greeted/a") == "hello", "the first version")
    stage.install("greet.yaml", word="good evening")
    stage.write("greet/b")
    until(lambda: _text(stage, "greeted/b") == "good evening", "the second version")
    installed, wrong = stage.control / "workflows" / "greet.yaml", "name: greet\nsteps: [{rite: {}}]\n"
    refused = _errno(lambda: installed.write_text(wrong))
    assert refused == errno.EINVAL
    reason = (stage.control / "error").read_text().splitlines()[0]
    stage.write("greet/c")
    until(lambda: _text(stage, "greeted/c") == "good evening", "the version that was good")
    stage.command("rollback greet 1")
    stage.write("greet/d")
    until(lambda: _text(stage, "greeted/d") == "hello", "the version of before")
    where = next((word for word in reason.split() if word.startswith("greet.yaml")), "")
    return f"two versions and back; a mistake was refused at {where.rstrip(':') or 'its line'}"


def _text(stage: Stage, path: str) -> str:
    with contextlib.suppress(FileNotFoundError):
        return (stage.mount / path).read_text()
    return ""


def _errno(attempt: Callable[[], object]) -> int:
    try:
        attempt()
    except OSError as error:
        return error.errno or 0
    return 0


SCENARIOS: Final[dict[str, Callable[[Stage], str]]] = {
    "Event processing": event_processing,
    "Workflow automation": workflow_automation,
    "State management": state_management,
    "Analytics": analytics,
    "Fault tolerance": fault_tolerance,
    "Performance monitoring": performance,
    "Multi-tenancy": multi_tenancy,
    "Hot reload": hot_reload,
}
"""The seed's eight, in its order."""
