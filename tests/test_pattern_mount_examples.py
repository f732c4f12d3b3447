"""The documented patterns on a real mount, used by plain programs: upload complete, ransomware burst, a silent log."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.mounting import SCRATCH_PREFIX, mounted
from tests.patience import eventually

pytestmark = pytest.mark.mount

MOUNT_PY = Path(__file__).parent.parent / "mount.py"
PATTERNS = """
patterns:
  upload: >
    created(file.created, "inbox/**") -> !removed(file.deleted) ->> closed(file.closed where written > 0)
    ->[1500ms] !more(file.opened|file.written|file.deleted) by path
  burst: >
    (renamed(file.renamed) | scrambled(file.written where entropy > 7.5)){5} within 10s by pid skip past last
  silent: >
    grew(file.written, "var/log/*.log") ->[1500ms] !again(file.written, "var/log/*.log") by path
"""
ACTING = """
triggers: {{type: pattern, pattern: {pattern}}}
steps:
  - write: {{path: "found/{pattern}", append: true, content: "{{{{ event.target }}}} {{{{ match.count }}}}\\n"}}
"""


@pytest.fixture
def mount(tmp_path):
    """A mount with the three patterns, each with a workflow that notes its matches."""
    folder = tmp_path / "definitions"
    folder.mkdir()
    (folder / "patterns.yaml").write_text(PATTERNS)
    for pattern in ("upload", "burst", "silent"):
        (folder / f"on_{pattern}.yaml").write_text(ACTING.format(pattern=pattern))
    source = tmp_path / f"{SCRATCH_PREFIX}source"
    for name in ("inbox", "docs", "var/log", "found"):
        (source / name).mkdir(parents=True)
    with mounted(source, arguments=["--workflows", str(folder)]) as one:
        yield one


def found(mount, pattern: str) -> list[str]:
    path = mount.mountpoint / "found" / pattern
    return path.read_text().splitlines() if path.exists() else []


def status(mount, pattern: str) -> dict:
    return yaml.safe_load((mount.mountpoint / ".vexfs" / "patterns" / pattern / "status").read_text())


def vexfs(*words):
    return subprocess.run(
        [sys.executable, MOUNT_PY, *map(str, words)], capture_output=True, text=True, timeout=180, check=False
    )


def test_upload_complete(mount):
    """A file that is written in two goes is taken once, after the second and the silence; one that is deleted never."""
    inbox = mount.mountpoint / "inbox"
    (inbox / "a").write_text("first")
    (inbox / "gone").write_text("first")
    os.unlink(inbox / "gone")
    begin = time.monotonic()
    with (inbox / "a").open("a") as file:
        file.write("second")
    eventually(lambda: found(mount, "upload"))
    assert time.monotonic() - begin > 1.4
    time.sleep(0.5)
    assert found(mount, "upload") == ["inbox/a 2"]


def test_ransomware_burst(mount):
    """Five renames by one process are a burst, the same number by two are none."""
    docs = mount.mountpoint / "docs"
    for name in "abcdefgh":
        (docs / name).write_text("x")
    script = "import os, sys\nfor name in sys.argv[1]: os.rename(name, name + '.locked')"
    for names in ("fgh", "abcde"):
        subprocess.run([sys.executable, "-c", script, names], cwd=docs, check=True)
    eventually(lambda: found(mount, "burst"))
    assert found(mount, "burst") == ["docs/e.locked 5"] and status(mount, "burst")["matched"] == 1


def test_log_stopped_growing(mount):
    """By the clock alone; writes elsewhere are not even asked for."""
    log = mount.mountpoint / "var" / "log" / "app.log"
    with log.open("w") as file:
        for _ in range(4):
            file.write("line\n")
            file.flush()
            time.sleep(0.15)
        assert found(mount, "silent") == []
        eventually(lambda: found(mount, "silent"))
    assert found(mount, "silent") == ["var/log/app.log 1"]


def test_the_files_of_a_pattern(mount):
    """Its text, its status and its switch; what is off finds nothing; one that is removed is gone."""
    folder = mount.mountpoint / ".vexfs" / "patterns"
    assert {"upload", "burst", "silent"} == set(os.listdir(folder))
    assert (folder / "upload" / "definition").read_text().startswith('created(file.created, "inbox/**") -> !removed')
    (folder / "upload" / "enabled").write_text("0")
    assert (folder / "upload" / "enabled").read_text() == "0\n" and status(mount, "upload")["state"] == "disabled"
    (mount.mountpoint / "inbox" / "b").write_text("x")
    time.sleep(1.8)
    assert found(mount, "upload") == []
    with pytest.raises(OSError):
        (folder / "upload" / "enabled").write_text("maybe")
    os.unlink(mount.mountpoint / ".vexfs" / "workflows" / "patterns.yaml")
    assert os.listdir(folder) == []


def test_recorded_replayed_and_explained(mount, tmp_path):
    """What a mount's events were is found again in replay; and the mount says where a match stands."""
    lines = tmp_path / "events.jsonl"
    (mount.mountpoint / ".vexfs" / "state").write_text("limits.size = 3\n")
    recorder = subprocess.Popen([sys.executable, MOUNT_PY, "record", mount.mountpoint, lines])
    try:
        eventually(lines.exists)
        (mount.mountpoint / "inbox" / "r").write_text("x")
        eventually(lambda: found(mount, "upload"))
        eventually(lambda: "pattern.matched" in lines.read_text())
    finally:
        recorder.terminate()
        assert recorder.wait(90) == 0
    replayed = vexfs("replay", "--definitions", tmp_path / "definitions", lines)
    records = [json.loads(line) for line in replayed.stdout.splitlines()]
    matches = [one for one in records if one["kind"] == "match" and one["pattern"] == "upload"]
    recorded = [json.loads(line) for line in lines.read_text().splitlines()]
    assert "advance_to_ns" in recorded[0]  # nothing falls due before it
    assert recorded[1]["state"]["limits"] == {"size": 3}  # so that conditions on it hold in replay as well
    (told,) = [one["attrs"]["id"] for one in recorded if one.get("type") == "pattern.matched"]
    assert [one["id"] for one in matches] == [told]
    assert [one["workflow"] for one in records if one["kind"] == "run"] == ["on_upload"]
    explained = vexfs("explain", mount.mountpoint, "on_upload")
    assert explained.returncode == 0 and told[:16] in explained.stdout and "fired" in explained.stdout
    assert "on_upload" in vexfs("explain", mount.mountpoint).stdout.split()
    unknown = vexfs("explain", mount.mountpoint, "nosuch")
    assert unknown.returncode == 1 and "there is no workflow, pattern or rule called 'nosuch'" in unknown.stderr
    none = vexfs("record", tmp_path)
    assert none.returncode == 2 and f"{tmp_path} is no mount of VexFS" in none.stderr
    mistaken = vexfs("record", mount.mountpoint, "--types", "usre", "--seconds", "0.2")
    assert mistaken.returncode == 2 and "--types usre: no such types" in mistaken.stderr
    few = vexfs("record", mount.mountpoint, "--types", "user", "--seconds", "0.2")
    assert few.returncode == 0 and "advance_to_ns" in few.stdout
