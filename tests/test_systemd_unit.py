"""The unit of docs/systemd.md under a real systemd: start, reload, stop, kill, mistakes, hardening, fstab."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mounting import REPOSITORY
from tests.systemd_rig import Systemd, booted

pytestmark = pytest.mark.mount

UNIT, NEEDS_IT, HARDENING = re.findall(r"```ini\n(.*?)```", (REPOSITORY / "docs/systemd.md").read_text(), re.DOTALL)
FSTAB = re.search(r"^/srv/data .*fuse\.vexfs.*$", (REPOSITORY / "docs/installation.md").read_text(), re.MULTILINE)
NAME = "vexfs@srv-data.service"
DROP_IN = f"/etc/systemd/system/{NAME}.d/test.conf"
CONFIGURATION = 'source = "/srv/data"\nworkflows = "workflows"\noptions = ["allow_other"]\ngrace = 20\n'
SLOW = """\
name: slow
triggers: [{types: file.closed, path: slow, written: true}]
steps: [{name: sleep, action: {type: command, command: [sh, -c, 'echo > begun; sleep 5; echo > slept']}}]
"""
ALL = """\
name: all
triggers: [{types: file.closed, path: go, written: true}]
steps:
  - {name: command, action: {type: command, command: [sh, -c, ': > theirs; chown 1:1 theirs; mknod device c 1 3']}}
  - {name: lua, action: {type: script, language: lua, script: 'return {one = 1}'}}
  - {name: javascript, action: {type: script, language: javascript, script: '1'}}
  - {name: python, action: {type: script, language: python, script: '1'}}
  - {name: done, action: {type: write, path: done, content: yes}}
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """One systemd for all tests here."""
    with booted(tmp_path_factory.mktemp("systemd")) as systemd:
        systemd.write("/etc/systemd/system/vexfs@.service", UNIT)
        yield systemd


@pytest.fixture
def systemd(machine: Systemd) -> Iterator[Systemd]:
    """With the unit as documented, nothing started, a source with a file and an empty directory of workflows."""
    machine.run("rm -rf /srv/data /etc/vexfs; mkdir -p /srv/data /etc/vexfs/workflows; echo content > /srv/data/file")
    machine.write("/etc/vexfs/srv-data.toml", CONFIGURATION)
    machine.run("systemctl daemon-reload")
    yield machine
    machine.run(
        f"systemctl stop {NAME}; rm -rf {DROP_IN}; systemctl reset-failed; systemctl daemon-reload", check=False
    )
    assert "/srv/data" not in machine.run("cat /proc/self/mounts")


def until(holds: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait for what another process brings about."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it never came about: {what}"
        time.sleep(0.1)


def inside(systemd: Systemd, path: str) -> Path:
    """A path inside, for looking at."""
    return Path(f"/proc/{systemd.pid}/root{path}")


def test_start_reload_and_stop(systemd):
    """start returns when the mount answers, reload reads definitions, stop unmounts though somebody works in there."""
    assert systemd.run("systemd-analyze verify /etc/systemd/system/vexfs@.service 2>&1") == ""
    assert "mounted on" not in systemd.run("systemctl status vexfs@srv-data", check=False)
    assert systemd.run(f"systemctl start {NAME}; cat /srv/data/file; ls /srv/data/.vexfs/README").split() == [
        "content",
        "/srv/data/.vexfs/README",
    ]
    assert systemd.property(NAME, "StatusText") == "/srv/data is mounted"
    assert systemd.property("srv-data.mount", "ActiveState") == "active"
    systemd.write("/etc/vexfs/workflows/slow.yaml", SLOW)
    systemd.run(f"systemctl reload {NAME}")
    until(lambda: inside(systemd, "/srv/data/.vexfs/workflows/slow").exists(), "the definition is loaded")
    systemd.run(f"cd /srv/data; sleep 60 & systemctl stop {NAME}; kill $!")
    assert systemd.property(NAME, "Result") == "success"
    assert systemd.property(NAME, "ActiveState") == "inactive"


def test_the_journal_knows_how_grave_a_line_is(systemd):
    """Warnings are found by -p warning, without a time of their own."""
    systemd.write("/etc/vexfs/workflows/wrong.yaml", "name: [")
    systemd.run(f"systemctl start {NAME}")
    warnings = systemd.log(NAME, "-p warning -t vexfs -n 1")
    assert [line.partition(":")[0] for line in warnings] == ["automation.library"]
    assert any(line.startswith("vexfs_fuse.session: mounted on") for line in systemd.log(NAME, "-p info -t vexfs"))


def test_after_a_kill_it_is_started_anew(systemd):
    """The dead mount lets nobody write past VexFS; then the mount answers again."""
    systemd.run(f"systemctl start {NAME}")
    systemd.run(f"systemctl kill --kill-whom=main -s KILL {NAME}")
    assert systemd.run("echo past > /srv/data/new", check=False) == ""
    until(lambda: systemd.property(NAME, "NRestarts") == "1", "it is started again")
    until(lambda: systemd.property(NAME, "SubState") == "running", "it is running again")
    assert systemd.run("cd /srv/data; ls; ls -d .vexfs").split() == ["file", ".vexfs"]


def test_an_unmount_ends_the_service(systemd):
    """For good, and in order."""
    for command in ("umount /srv/data", "/opt/vexfs/.venv/bin/vexfs unmount /srv/data"):
        systemd.run(f"systemctl start {NAME}; {command}")
        until(lambda: systemd.property(NAME, "ActiveState") == "inactive", "it has ended")
        assert systemd.property(NAME, "Result") == "success"


def test_a_mistake_is_told_once(systemd):
    """Exit status 2, an error in the journal that names the line, and no second try."""
    systemd.write("/etc/vexfs/srv-data.toml", CONFIGURATION + "grase = 3\n")
    systemd.run(f"systemctl start {NAME}", check=False)
    assert systemd.property(NAME, "ActiveState") == "failed"
    assert systemd.property(NAME, "ExecMainStatus") == "2"
    assert systemd.log(NAME, "-p err -t vexfs -n 1") == [
        "vexfs: /etc/vexfs/srv-data.toml:5: grase: there is no such setting; did you mean grace?"
    ]


def test_the_grace_time_may_be_longer_than_the_units(systemd):
    """systemd waits for what the mount asks for, though TimeoutStopSec is over."""
    systemd.write("/etc/vexfs/workflows/slow.yaml", SLOW)
    systemd.write(DROP_IN, "[Service]\nTimeoutStopSec=1\n")
    systemd.run(f"systemctl daemon-reload; systemctl start {NAME}; echo > /srv/data/slow")
    until((inside(systemd, "/srv/data/begun")).exists, "the workflow runs")
    systemd.run(f"systemctl stop {NAME}")
    assert systemd.property(NAME, "Result") == "success"
    assert inside(systemd, "/srv/data/slept").exists()


def test_a_service_that_needs_the_mount(systemd):
    """It starts the mount, sees it, and is stopped before it."""
    look = "test -d /srv/data/.vexfs && echo"
    service = f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c '{look} sees it'\n"
    systemd.write("/etc/systemd/system/needs.service", f"{NEEDS_IT}{service}ExecStop=/bin/sh -c '{look} still'\n")
    systemd.run(f"systemctl daemon-reload; systemctl start needs; systemctl stop {NAME}")
    assert systemd.log("needs", "-t sh") == ["sees it", "still"]
    assert systemd.property("needs", "ActiveState") == "inactive"


def test_hardened_it_does_all_that_it_did(systemd):
    """With the documented drop-in: the same speed and watch, commands, owners, devices, scripts."""
    systemd.write("/etc/vexfs/workflows/all.yaml", ALL)
    systemd.run(f"systemctl start {NAME}")
    facts = "grep -E '^(io|watch)' /srv/data/.vexfs/status"
    plain = systemd.run(f"{facts}; systemctl stop {NAME}")
    systemd.write(DROP_IN, HARDENING)
    systemd.run(f"systemctl daemon-reload; systemctl start {NAME}; echo > /srv/data/go")
    assert systemd.run(facts) == plain
    until((inside(systemd, "/srv/data/done")).exists, "the workflow is done")
    assert systemd.run("cd /srv/data; stat -c '%F %u' theirs device").splitlines() == [
        "regular empty file 1",
        "character special file 0",
    ]


def test_a_mount_that_nobody_would_see_is_refused(systemd):
    """With PrivateTmp= the service would be active, and the directory bare."""
    systemd.write(DROP_IN, "[Service]\nPrivateTmp=yes\n")
    systemd.run(f"systemctl daemon-reload; systemctl start {NAME}", check=False)
    assert systemd.property(NAME, "ActiveState") == "failed"
    assert "mount namespace of its own" in systemd.log(NAME, "-p err -t vexfs -n 1")[0]


def test_a_line_of_fstab(systemd):
    """The unit that systemd makes of it mounts, is found by path, and mounts anew after a kill."""
    assert FSTAB is not None
    systemd.write("/usr/local/bin/vexfs", '#!/bin/sh\nexec /opt/vexfs/.venv/bin/vexfs "$@"\n')
    needs = "[Unit]\nRequiresMountsFor=/srv/data\n[Service]\nType=oneshot\nExecStart=/bin/ls -d /srv/data/.vexfs\n"
    systemd.write("/etc/systemd/system/by-path.service", needs)
    try:
        systemd.write("/etc/fstab", FSTAB[0] + "\n")
        systemd.run("chmod 755 /usr/local/bin/vexfs; systemctl daemon-reload; systemctl start by-path")
        assert systemd.log("by-path", "-t ls") == ["/srv/data/.vexfs"]
        assert "remote-fs.target" in systemd.property("srv-data.mount", "Before")
        systemd.run("kill -9 $(cat /sys/fs/cgroup/system.slice/srv-data.mount/cgroup.procs)")
        assert systemd.run("systemctl restart srv-data.mount; ls -d /srv/data/.vexfs") == "/srv/data/.vexfs\n"
        systemd.run("systemctl stop srv-data.mount")
        systemd.write("/etc/fstab", FSTAB[0].replace("grace", "grase") + "\n")
        systemd.run("systemctl daemon-reload; systemctl start srv-data.mount", check=False)
        told = "vexfs: -o grase=30: there is no such mount option; did you mean grace?"
        assert systemd.log("srv-data.mount", "-p err -t mount") == [told]
    finally:
        systemd.run("systemctl stop srv-data.mount; rm /etc/fstab; systemctl reset-failed", check=False)
