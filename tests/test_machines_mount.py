"""A machine on a real mount, dropped in and used as a person does it."""

import json
from pathlib import Path

import pytest

from tests.mounting import SCRATCH_PREFIX, mounted
from tests.patience import eventually

pytestmark = pytest.mark.mount

UPLOAD = """
kind: machine
path: inbox/**
vars: {writes: 0}
states:
  quiet: {on: {file.opened: growing}}
  growing:
    on:
      file.written: {do: {assign: {writes: "{{ vars.writes + 1 }}"}}}
      file.closed: [{when: vars.writes > 1, target: copying}, quiet]
  copying:
    entry: {copy: {source: "{{ event.path }}", target: "done/{{ event.name }}"}}
    on: {done.action: copied}
  copied: {type: final}
"""


@pytest.fixture
def mount(tmp_path):
    source = tmp_path / f"{SCRATCH_PREFIX}source"
    source.mkdir()
    (tmp_path / "definitions").mkdir()
    with mounted(source, arguments=["--workflows", str(tmp_path / "definitions")]) as one:
        yield one


def history(control: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (control / "machines" / name / "history").read_text().splitlines()]


def test_a_machine_follows_a_file_through_the_mount(mount):
    """Every write counts, since the machine asks for writes; the copy is made when the file is complete."""
    control = mount.mountpoint / ".vexfs"
    (control / "workflows" / "upload.yaml").write_text(UPLOAD)
    (mount.mountpoint / "inbox").mkdir()
    with open(mount.mountpoint / "inbox" / "a", "wb", buffering=0) as file:
        file.write(b"one ")
        file.write(b"two")
    copy = mount.mountpoint / "done" / "a"
    eventually(lambda: copy.exists() and any(one.get("finished") for one in history(control, "upload")))
    assert copy.read_bytes() == b"one two"
    assert [one["after"] for one in history(control, "upload")][-2:] == [["copying"], ["copied"]]


def test_the_system_state_is_set_and_shown_on_the_mount(mount):
    """By its own file and by the shared state; both show the same."""
    control = mount.mountpoint / ".vexfs"
    (control / "machines" / "system" / "state").write_text("maintenance\n")
    assert json.loads((control / "state").read_text())["system"]["state"] == "Maintenance"
    (control / "state").write_text('system.state = "auto"\n')
    assert json.loads((control / "machines" / "system" / "state").read_text())["held"] is False
    assert [one["by"] for one in map(json.loads, (control / "machines/system/history").read_text().splitlines())] == [
        "hand",
        "hand",
    ]
    with pytest.raises(OSError, match="Invalid argument"):
        (control / "state").write_text('system.state = "Panic"\n')
