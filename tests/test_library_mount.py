"""The shipped automations on a real mount, used as a person uses them: cp, mv, cat."""

import gzip
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.mounting import SCRATCH_PREFIX, mounted
from tests.patience import eventually

pytestmark = pytest.mark.mount

SHIPPED = Path(__file__).parent.parent / "workflows"


@pytest.fixture
def definitions(tmp_path):
    """The shipped definitions, as they are but for the waiting."""
    folder = tmp_path / "definitions"
    shutil.copytree(SHIPPED, folder)
    for file in folder.glob("*.yaml"):
        text = file.read_text()
        file.write_text(text.replace("settle: 2s", "settle: 100ms").replace("settle: 1s", "settle: 100ms"))
    return folder


@pytest.fixture
def mount(tmp_path, definitions):
    """A mount with the shipped automations; nothing of them may fail unseen."""
    source = tmp_path / f"{SCRATCH_PREFIX}source"
    source.mkdir()
    with mounted(source, arguments=["--workflows", str(definitions)]) as one:
        yield one


def sh(command: str, cwd: Path) -> str:
    return subprocess.run(
        ["sh", "-eu", "-c", command], cwd=cwd, check=True, capture_output=True, timeout=180
    ).stdout.decode()


def runs(mount, workflow: str) -> list[dict]:
    """The finished runs of a workflow, as `/.vexfs/runs` shows them."""
    folder = mount.mountpoint / ".vexfs" / "runs"
    found = []
    for name in os.listdir(folder):
        try:
            found.append(json.loads((folder / name / "trace").read_text()))
        except (FileNotFoundError, json.JSONDecodeError):
            continue
    return [run for run in found if run["workflow"] == workflow]


def test_a_copied_file_is_ingested(mount):
    """By whoever copied it; the run and its events can be read."""
    sh(
        "mkdir inbox; cp /bin/true inbox/tool.bin; echo hello > inbox/a.txt; echo two > x.md; mv x.md inbox/",
        mount.mountpoint,
    )
    catalogue = mount.mountpoint / "sorted" / "catalog.jsonl"
    eventually(lambda: catalogue.exists() and len(catalogue.read_text().splitlines()) == 3)
    lines = {os.path.basename(line["from"]): line for line in map(json.loads, catalogue.read_text().splitlines())}
    assert set(lines) == {"tool.bin", "a.txt", "x.md"} and lines["tool.bin"]["program"] == "cp"
    assert lines["x.md"]["program"] == "mv" and lines["a.txt"]["uid"] == os.getuid()
    for line in lines.values():
        assert sh(f"sha256sum < '{line['path']}'", mount.mountpoint).split()[0] == line["sha256"]
        assert os.getxattr(mount.mountpoint / line["path"], "user.sha256").decode() == line["sha256"]
    assert os.listdir(mount.mountpoint / "inbox") == []


def test_a_slow_upload_is_taken_when_it_is_complete(mount):
    """However long the writer pauses."""
    (mount.mountpoint / "inbox").mkdir()
    with (mount.mountpoint / "inbox" / "slow.csv").open("w") as file:
        file.write("first,")
        file.flush()
        time.sleep(1)
        assert (mount.mountpoint / "inbox" / "slow.csv").exists()
        file.write("second")
    eventually(lambda: list(mount.mountpoint.glob("sorted/tables/*/slow.csv")))
    (stored,) = mount.mountpoint.glob("sorted/tables/*/slow.csv")
    assert stored.read_text() == "first,second"


def test_text_is_extracted_by_a_command_that_works_on_the_mount(mount):
    """The command's own files in the watched folder trigger nothing."""
    sh("mkdir texts; printf 'words within' | gzip > texts/letter.gz", mount.mountpoint)
    plain = mount.mountpoint / "texts" / ".plain" / "letter.gz.txt"
    eventually(plain.exists)
    assert plain.read_text() == "words within"
    eventually(lambda: [run["status"] for run in runs(mount, "text")] == ["succeeded"])
    time.sleep(0.5)
    assert os.listdir(plain.parent) == ["letter.gz.txt"] and len(runs(mount, "text")) == 1


def test_each_saved_state_is_kept(mount):
    """Whether a program writes in place or renames a new file over the old."""
    folder = mount.mountpoint / "versioned" / ".versions" / "plan"
    sh("mkdir versioned; echo one > versioned/plan", mount.mountpoint)
    eventually(lambda: folder.is_dir() and len(os.listdir(folder)) == 1)
    sh("echo two > versioned/plan", mount.mountpoint)
    eventually(lambda: len(os.listdir(folder)) == 2)
    sh("echo three > versioned/plan.tmp; mv versioned/plan.tmp versioned/plan; cat versioned/plan", mount.mountpoint)
    eventually(lambda: len(os.listdir(folder)) == 3)
    assert [one.read_text() for one in sorted(folder.iterdir())] == ["one\n", "two\n", "three\n"]


def test_a_dangerous_file_is_locked_away(mount):
    """With its reason."""
    sh("mkdir screened; echo MZ > screened/setup.exe; echo fine > screened/fine.txt", mount.mountpoint)
    eventually(lambda: list(mount.mountpoint.glob("quarantine/*.why")))
    (why,) = mount.mountpoint.glob("quarantine/*-setup.exe.why")
    eventually(lambda: "extension .exe" in why.read_text())
    assert (mount.mountpoint / "quarantine" / why.stem).stat().st_mode & 0o777 == 0
    assert os.listdir(mount.mountpoint / "screened") == ["fine.txt"]


def test_people_are_told_who_saved_moved_and_deleted(mount):
    """One line for each, in Lua, naming the program that did it."""

    def told() -> list[str]:
        return [line for log in mount.mountpoint.glob("notices/*.log") for line in log.read_text().splitlines()]

    for number, (command, verb) in enumerate(
        [
            ("mkdir shared; cp /etc/hostname shared/plan", "(cp) saved shared/plan"),
            ("mv shared/plan shared/new", "(mv) moved shared/plan to shared/new"),
            ("rm shared/new", "(rm) deleted shared/new"),
        ]
    ):
        sh(command, mount.mountpoint)
        eventually(lambda number=number: len(told()) > number)
        assert [verb in line for line in told()] == [False] * number + [True], told()


def test_old_files_are_archived_on_demand(mount):
    """By `run` through ctl; at night the schedule does it."""
    sh(
        "mkdir archive; echo notes > archive/notes; touch -d 2001-01-01 archive/notes; echo new > archive/new",
        mount.mountpoint,
    )
    (mount.mountpoint / ".vexfs" / "ctl").write_text("run archive\n")
    eventually(lambda: [run["status"] for run in runs(mount, "archive")] == ["succeeded"])
    assert not (mount.mountpoint / "archive" / "notes").exists()
    (packed,) = mount.mountpoint.glob("archive/packed/*/notes.gz")
    assert gzip.decompress(packed.read_bytes()) == b"notes\n" and (mount.mountpoint / "archive" / "new").exists()


LOOP = """
triggers: {path: loop/**, types: [file, dir], settle: 50ms, key: workflow}
steps:
  - write: {path: loop/by-action, content: x}
  - command:
      shell: true
      argv: "echo x > loop/by-command; mv loop/by-command loop/renamed; (sleep 0.3; echo x > loop/by-background) &"
  - lua: {script: 'write{path = "loop/by-lua", content = "x"}'}
"""


def test_large_files_are_listed_for_a_backup(mount):
    """By hand, as the head of the definition says; the script in Python asks for what it needs, and is answered."""
    top = mount.mountpoint
    sh("mkdir videos; head -c 2000000 /dev/zero > videos/a.mkv; echo small > b", top)
    sh("echo 'run Automated Backup Workflow {\"least\": 1000000}' > .vexfs/ctl", top)
    eventually((top / "backup/large-files.json").exists)
    assert json.loads((top / "backup/large-files.json").read_text()) == [{"path": "videos/a.mkv", "size": 2_000_000}]


def test_an_automation_that_writes_where_it_watches_runs_once(mount, definitions):
    """By an action, by Lua, by a command and by what the command leaves running."""
    (definitions / "loop.yaml").write_text(LOOP)
    eventually(lambda: "loop" in os.listdir(mount.mountpoint / ".vexfs" / "workflows"))
    sh("mkdir loop; echo x > loop/by-hand", mount.mountpoint)
    eventually((mount.mountpoint / "loop" / "by-background").exists)
    time.sleep(1)
    found = runs(mount, "loop")
    assert {run["status"] for run in found} == {"succeeded"} and {run["event"]["path"] for run in found} <= {
        "loop",
        "loop/by-hand",
    }
    assert set(os.listdir(mount.mountpoint / "loop")) == {"by-hand", "by-action", "renamed", "by-background", "by-lua"}


def test_definitions_may_lie_in_the_mounted_directory_itself(tmp_path):
    """Edited through the mount that covers them; they are read behind it."""
    source = tmp_path / f"{SCRATCH_PREFIX}itself"
    folder = source / "workflows"
    folder.mkdir(parents=True)
    with mounted(source, mountpoint=source, arguments=["--workflows", str(folder)]):
        text = "triggers: {path: in/}\nsteps: [{copy: {source: '{{ event.target }}', target: out/}}]\n"
        (folder / "copy.yaml").write_text(text)
        eventually((source / ".vexfs" / "workflows" / "copy").is_dir)
        sh("mkdir in; echo x > in/file", source)
        eventually((source / "out" / "file").exists)
        (folder / "copy.yaml").write_text(text.replace("steps", "stps"))
        eventually(lambda: "did you mean 'steps'" in (source / ".vexfs" / "workflows" / "copy" / "status").read_text())
        sh("echo x > in/other", source)
        eventually((source / "out" / "other").exists)
