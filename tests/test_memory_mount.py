"""A mount that is killed, and mounted again: what had begun goes on."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.mounting import mounted
from tests.patience import eventually

pytestmark = pytest.mark.mount

DEFINITIONS = {
    "pair.yaml": """
patterns: {pair: 'a(file.created, "in/*.a") -> b(file.created, "in/*.b") within 1h'}
triggers: [{type: pattern, pattern: pair}]
steps: [{write: {path: 'out/pair-{{ run.id }}', content: x}}]
""",
    "quiet.yaml": """
triggers: [{types: file.closed, path: 'in/*.txt', settle: 2s}]
steps: [{write: {path: 'out/quiet-{{ run.id }}', content: '{{ run.count }}'}}]
""",
    "gone.yaml": """
patterns: {gone: 'a(file.created, "in/*.x") -> !b(file.deleted) within 1s'}
triggers: [{type: pattern, pattern: gone}]
steps: [{write: {path: 'out/gone-{{ run.id }}', content: x}}]
""",
    "slow.yaml": """
triggers: [{types: file.created, path: 'in/*.slow'}]
steps:
  - {name: first, action: {type: command, argv: [sh, -c, 'echo x >> "out/first-$0"', "{{ run.id }}"]}}
  - {name: rest, wait: 5s}
  - {name: last, write: {path: 'out/slow-{{ run.id }}', content: x}}
""",
    "door.yaml": """
kind: machine
name: door
key: none
states:
  shut: {on: {user.open: ajar}}
  ajar: {after: {1h: shut}}
""",
}


class Source:
    """A directory, its definitions and its state."""

    def __init__(self, path: Path):
        self.path, self.workflows, self.state = path / "source", path / "workflows", path / "state"
        for made in (self.path, self.path / "in", self.path / "out", self.workflows):
            made.mkdir()
        for name, text in DEFINITIONS.items():
            (self.workflows / name).write_text(text)

    def mounted(self, *arguments: str, exit_code: int | None = 0):
        given = ("--workflows", str(self.workflows), "--state-dir", str(self.state), *arguments)
        return mounted(self.path, arguments=given, exit_code=exit_code)

    def made(self, kind: str) -> list[str]:
        return sorted(name for name in os.listdir(self.path / "out") if name.startswith(kind))

    def wait_for(self, kind: str, count: int = 1) -> None:
        eventually(lambda: len(self.made(kind)) >= count, kind)
        time.sleep(0.2)  # and no more than that
        assert len(self.made(kind)) == count


def kill(mount) -> None:
    """As the kernel does when memory is short."""
    os.kill(mount.process.pid, signal.SIGKILL)
    mount.process.wait()
    subprocess.run(["umount", "-l", str(mount.mountpoint)], check=False, capture_output=True)


def test_what_had_begun_goes_on_after_a_kill(tmp_path):
    """Half a pattern, a settling file, an absence whose time passes meanwhile, a statechart, the shared state, a run,
    the versions of a definition. Detection hands the run's firing over again, and the journal knows it.
    """
    source = Source(tmp_path)
    file = source.workflows / "gone.yaml"
    text = file.read_text()
    with source.mounted(exit_code=None) as mount:
        inside = mount.mountpoint
        (inside / ".vexfs/workflows/gone.yaml").write_text(text.replace("within 1s", "within 900ms"))
        (inside / "in/1.a").write_text("")
        (inside / "in/1.x").write_text("")
        (inside / ".vexfs/state").write_text("seen.count = 3")
        (inside / ".vexfs/machines/door/event").write_text("user.open")
        assert "ajar" in (inside / ".vexfs/machines/door/state").read_text()
        (inside / "in/1.txt").write_text("x")
        (inside / "in/1.slow").write_text("")
        source.wait_for("first")
        kill(mount)
    assert source.made("slow") == []
    time.sleep(1)
    with source.mounted(exit_code=None) as mount:
        inside = mount.mountpoint
        for kind in ("gone", "quiet", "slow"):
            source.wait_for(kind)
        assert '"count": 3' in (inside / ".vexfs/state").read_text()
        assert "ajar" in (inside / ".vexfs/machines/door/state").read_text()
        assert "recovered" in (inside / ".vexfs/status").read_text()
        (inside / "in/1.b").write_text("")
        source.wait_for("pair")
        (inside / ".vexfs/ctl").write_text("rollback gone\n")
        assert file.read_text() == text
        kill(mount)
    with source.mounted() as mount:
        assert "vexfs_event_log_on 1.0" in (mount.mountpoint / ".vexfs/metrics").read_text()
        (mount.mountpoint / "in/2.b").write_text("")
        time.sleep(0.5)
    kinds = ("pair", "quiet", "gone", "first", "slow")
    assert [len(source.made(kind)) for kind in kinds] == [1, 1, 1, 1, 1]
    (first,) = source.made("first")
    assert (source.path / "out" / first).read_text() == "x\n"


def test_damaged_files_cost_what_they_held_and_never_the_mount(tmp_path):
    """The newest snapshot and the log are noise: a warning, an event, and a mount that works."""
    source = Source(tmp_path)
    with source.mounted(exit_code=None) as mount:
        (mount.mountpoint / "in/1.a").write_text("")
        kill(mount)
    files = sorted((source.state / "detection").iterdir())
    for file in files:
        file.write_bytes(b"noise" + file.read_bytes()[5:])
    with source.mounted() as mount:
        assert "is damaged" in mount.text()
        assert "event log on" in (mount.mountpoint / ".vexfs/status").read_text()
        (mount.mountpoint / "in/2.a").write_text("")
        (mount.mountpoint / "in/2.b").write_text("")
        source.wait_for("pair")


def test_a_full_disk_switches_the_log_off_and_never_stops_the_mount(tmp_path):
    """Operations and automations go on; the log and status say what is missing."""
    source = Source(tmp_path)
    place = source.state / "detection"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "vexfs-test", str(place)], check=True)
    try:
        with source.mounted() as mount:
            inside = mount.mountpoint
            with contextlib.suppress(OSError), (place / "ballast").open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            for number in range(10):
                (inside / f"in/{number}.a").write_text("x")
                (inside / f"in/{number}.b").write_text("x")
            source.wait_for("pair", 10)
            assert "event log off" in (inside / ".vexfs/status").read_text()
            assert "the event log is off" in mount.text()
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_without_the_log_a_clean_stop_is_survived_and_a_kill_is_not(tmp_path):
    """`--no-event-log`."""
    source = Source(tmp_path)
    with source.mounted("--no-event-log") as mount:
        (mount.mountpoint / "in/1.a").write_text("")
        time.sleep(0.5)
        assert "event log off" in (mount.mountpoint / ".vexfs/status").read_text()
    with source.mounted("--no-event-log", exit_code=None) as mount:
        (mount.mountpoint / "in/1.b").write_text("")
        source.wait_for("pair")
        (mount.mountpoint / "in/2.a").write_text("")
        time.sleep(0.5)
        kill(mount)
    with source.mounted("--no-event-log") as mount:
        (mount.mountpoint / "in/2.b").write_text("")
        time.sleep(0.5)
    assert len(source.made("pair")) == 1
