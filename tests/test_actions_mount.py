"""Effects through a real mount: they are seen at once, know their cause, and do not feed themselves."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.mounting import Mount, mounted, scratch
from tests.patience import eventually

pytestmark = pytest.mark.mount

DEFINITIONS = {
    "act": [
        {"type": "copy", "from": "{{ event.path }}", "to": "act/copies/{{ event.name }}", "overwrite": True},
        {"type": "write", "path": "act/log", "content": "{{ event.path }}\n", "append": True},
    ],
    "script": [
        {
            "type": "lua",
            "script": "write('script/seen', event.path)"
            " return command{'cp', event.path, 'script/by-child'}.exit_code + stat('script/by-child').size",
        }
    ],
    "program": [
        {"type": "command", "argv": ["program/bin/tool", "{{ event.path }}"], "timeout": 20},
    ],
    "chained": [{"type": "write", "path": "end/{{ event.name }}", "content": "{{ event.path }}"}],
}
PATHS = {"act": "act/**", "script": "script/**", "program": "program/in/**", "chained": "act/copies/**"}


@pytest.fixture(scope="module")
def mount() -> Iterator[Mount]:
    with scratch() as directory:
        source, workflows = directory / "source", directory / "workflows"
        for path in (source / "act", source / "script", source / "program/in", source / "program/bin", workflows):
            path.mkdir(parents=True)
        tool = source / "program/bin/tool"
        shutil.copy("/bin/cp", source / "program/bin/copy")
        tool.write_text('#!/bin/sh\nprogram/bin/copy "$1" program/in/again\n(echo late > program/in/late)\n')
        tool.chmod(0o755)
        for name, actions in DEFINITIONS.items():
            trigger = {"types": ["file.closed"], "written": True, "path": PATHS[name]}
            steps = [{"name": f"s{i}", "action": action} for i, action in enumerate(actions)]
            (workflows / f"{name}.json").write_text(json.dumps({"name": name, "triggers": [trigger], "steps": steps}))
        with mounted(source, arguments=("--workflows", str(workflows))) as one:
            yield one


def runs(mount: Mount, workflow: str) -> list[dict]:
    """The runs of a workflow that have ended."""
    found = []
    for name in os.listdir(mount.mountpoint / ".vexfs/runs"):
        trace = json.loads((mount.mountpoint / ".vexfs/runs" / name / "trace").read_text())
        if trace["workflow"] == workflow:
            found.append(trace)
    return found


def ended(mount: Mount, workflow: str, count: int) -> list[dict]:
    """The runs, once there are so many, and none more half a second later."""
    eventually(lambda: sum(run["status"] not in ("pending", "running") for run in runs(mount, workflow)) >= count)
    time.sleep(0.5)
    found = runs(mount, workflow)
    assert len(found) == count, found
    assert [run["status"] for run in found] == ["succeeded"] * count, found
    return found


def test_an_action_that_writes_where_it_watches_runs_once(mount):
    """The copy and the line are effects of the run: they do not trigger it again, but they trigger another workflow."""
    (mount.mountpoint / "act/a.txt").write_text("hello")
    ended(mount, "act", 1)
    assert (mount.mountpoint / "act/copies/a.txt").read_text() == "hello"
    assert (mount.mountpoint / "act/log").read_text() == "act/a.txt\n"
    ended(mount, "chained", 1)
    assert (mount.mountpoint / "end/a.txt").read_text() == "act/copies/a.txt"


def test_an_effect_is_seen_where_a_name_was_known_to_be_missing(mount):
    """The kernel forgets what it knew: a negative entry, old content, an old size."""
    late = mount.mountpoint / "end/b.txt"
    assert not late.exists()
    (mount.mountpoint / "act/copies").mkdir(exist_ok=True)
    (mount.mountpoint / "act/copies/b.txt").write_text("1")
    eventually(late.exists)
    assert late.read_text() == "act/copies/b.txt"


def test_lua_and_its_command_do_not_trigger_their_workflow(mount):
    """An effect of a script and a child process started by it both carry the cause."""
    (mount.mountpoint / "script/x").write_text("12345")
    (run,) = ended(mount, "script", 1)
    assert run["steps"][0]["result"] == 5
    assert (mount.mountpoint / "script/seen").read_text() == "script/x"


def test_a_program_that_lies_on_the_mount_runs_and_knows_its_cause(mount):
    """Starting it needs the mount that waits for it; grandchildren belong to the run too."""
    (mount.mountpoint / "program/in/x").write_text("payload")
    ended(mount, "program", 1)
    assert (mount.mountpoint / "program/in/again").read_text() == "payload"
    assert (mount.mountpoint / "program/in/late").read_text() == "late\n"


def test_a_person_still_triggers_what_an_automation_did_not(mount):
    """The same write by another process starts a run: it is the cause that counts, not the path."""
    before = len(runs(mount, "program"))
    subprocess.run(["cp", "program/in/x", "program/in/y"], cwd=mount.mountpoint, check=True, timeout=120)
    ended(mount, "program", before + 1)
