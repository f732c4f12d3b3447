"""Commands of a tenant leave nothing behind, whatever they make of themselves, and all that they compute counts."""

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from automation.errors import QuotaExceeded, WorldError
from automation.scripts.quota import WorkerQuota
from tests.effects import acting_in
from tests.mounting import mounted, scratch
from tests.patience import comes_true, eventually
from tests.tenant_rig import ALICE, NEEDS_ROOT, town

pytestmark = NEEDS_ROOT

BUSY = "while :; do :; done"
HIDE = "setsid -f env -i /bin/sh -c 'echo $$ > \"$0\"; {then}' {pid}"  # no session, no parent, no name of the run
CONFIGURATION = """
[tenants.ann]
uids = ["daemon"]
paths = ["ann"]
[tenants.ann.limits]
cpu-seconds = 2
"""
LEAVE = """
name: leave
triggers: {{path: "ann/go", types: file.closed}}
steps: [{{command: {{argv: "{argv}", shell: true, cwd: ann}}}}]
"""


@pytest.fixture
def place():
    with town() as one:
        yield one


@pytest.fixture
def ground():
    """Source, state and configuration of a mount with the tenant ann."""
    with scratch() as directory:
        (directory / "source/ann").mkdir(parents=True)
        os.chown(directory / "source/ann", 1, 1)
        (directory / "state/tenants/ann/workflows").mkdir(parents=True)
        (directory / "workflows").mkdir()
        (directory / "vexfs.toml").write_text(CONFIGURATION)
        yield directory


def running(ground: Path, argv: str, **options):
    """A mount where a file `ann/go` starts the command."""
    text = LEAVE.format(argv=argv.replace("\\", "\\\\").replace('"', '\\"'))
    (ground / "state/tenants/ann/workflows/leave.yaml").write_text(text)
    arguments = ["--config", str(ground / "vexfs.toml"), "--state-dir", str(ground / "state")]
    return mounted(ground / "source", arguments=[*arguments, "--workflows", str(ground / "workflows")], **options)


def left(ground: Path) -> int:
    """The process that the command has hidden, once it has said its number."""
    path = ground / "source/ann/pid"
    return int(eventually(lambda: path.exists() and path.read_text(), "the hidden process"))


def lives(pid: int) -> bool:
    """Whether there is a process of that number that has not ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


def used(mountpoint: Path) -> float:
    """Seconds of CPU that are ann's."""
    metrics = (mountpoint / ".vexfs/metrics").read_text()
    found = re.search(r'vexfs_tenant_use\{tenant="ann",what="cpu_seconds"\} (\S+)', metrics)
    assert found is not None
    return float(found[1])


@pytest.mark.mount
def test_what_a_command_leaves_behind_is_ended_with_it(ground: Path):
    """In a session of its own, without a parent and without its environment too; the run succeeds."""
    with running(ground, HIDE.format(then="exec sleep 1000", pid="pid") + "; while ! [ -s pid ]; do :; done") as live:
        (live.mountpoint / "ann/go").write_text("x")
        pid = left(ground)
        eventually(lambda: not lives(pid), "the end of what was left")
        status = live.mountpoint / ".vexfs/tenants/ann/workflows/leave/status"
        eventually(lambda: "succeeded" in status.read_text(), "the end of the run")


@pytest.mark.mount
def test_what_hides_counts_and_ends_when_the_quota_does(ground: Path):
    """Its seconds are the tenant's while the command goes on, and end it, the command and what follows."""
    hidden = HIDE.format(then=f"({BUSY}) & {BUSY}", pid="pid")
    with running(ground, f"echo $$ > own; {hidden}; exec sleep 1000") as live:
        (live.mountpoint / "ann/go").write_text("x")
        pid = left(ground)
        own = int((ground / "source/ann/own").read_text())
        eventually(lambda: not lives(pid), "the end of what hides")
        eventually(lambda: used(live.mountpoint) >= 2.0, "the end of the quota")
        assert used(live.mountpoint) < 4.0
        eventually(lambda: not lives(own), "the end of the command")


@pytest.mark.mount
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_of_a_command_outlives_the_mount(ground: Path, how: signal.Signals):
    """Whether it is unmounted or the process is killed."""
    hidden = HIDE.format(then="exec sleep 1000", pid="pid")
    argv = f"trap '' TERM; echo $$ > own; {hidden}; exec sleep 1000"
    with running(ground, argv, exit_code=None) as live:
        (live.mountpoint / "ann/go").write_text("x")
        pids = [left(ground), int((ground / "source/ann/own").read_text())]
        assert all(map(lives, pids))
        live.process.send_signal(how)
        live.process.wait()
        for pid in pids:
            eventually(lambda pid=pid: not lives(pid), "the end of all")


async def test_children_that_nobody_waits_for_count(place: Path):
    """A parent that ignores SIGCHLD is not told what they used, and the kernel forgets it."""
    quota = WorkerQuota(cpu_seconds=100.0)
    assert quota.cpu is not None
    count = "i=0; while [ $i -lt 3000000 ]; do i=$((i+1)); done"
    async with acting_in(place, identity=ALICE, quota=quota) as act:
        script = f"trap '' CHLD; sh -c '{count}' & child=$!; while kill -0 $child 2>/dev/null; do sleep 0.1; done"
        began = time.monotonic()
        await act("command", argv=script, shell=True)
        assert time.monotonic() - began > 1.5, "it was to take longer than the time between two looks"
        assert quota.cpu.used > 0.4


async def test_a_bomb_of_processes_is_ended(place: Path):
    """However fast they multiply."""
    bomb = "b() { while :; do (b) & done; }; echo $$ > alice/bomb; b & sleep 0.5"
    async with acting_in(place, identity=ALICE) as act:
        await act("command", argv=bomb, shell=True, limits={"processes": 300})
        await comes_true(lambda: not _of(ALICE.uid), "the end of the bomb")


def _of(uid: int) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if path.stat().st_uid == uid and lives(int(path.name)):
                found.append(path.name)
    return found


async def test_a_command_ends_as_its_program_does(place: Path):
    """By its exit code or a signal, with the usual signals, and after what it does on SIGTERM."""
    async with acting_in(place, identity=ALICE) as act:
        assert (await act("command", argv="exit 200", shell=True, exit_codes=[200]))["exit_code"] == 200
        with pytest.raises(WorldError, match="signal 9"):
            await act("command", argv="kill -9 $$", shell=True)
        with pytest.raises(WorldError, match="signal 13"):
            await act("command", argv="kill -PIPE $$", shell=True)
        told = (await act("command", argv=["cat", "/proc/self/status"]))["stdout"]
        ignored = int(re.search(r"SigIgn:\t(\w+)", told)[1], 16)
        assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)  # as Python does
        assert "SigBlk:\t0000000000000000" in told
        with pytest.raises(WorldError, match="took longer"):
            await act("command", argv="trap 'echo x > alice/said; exit' TERM; sleep 50", shell=True, timeout=0.5)
        assert (place / "top/alice/said").exists()


async def test_a_quota_that_many_processes_use_is_not_overrun(place: Path):
    """All of them together come to an end soon after it is used up."""
    quota = WorkerQuota(cpu_seconds=1.0)
    assert quota.cpu is not None
    async with acting_in(place, identity=ALICE, quota=quota) as act:
        with pytest.raises(QuotaExceeded):
            await act("command", argv=f"for i in 1 2 3 4; do {BUSY} & done; wait", shell=True)
    assert 1.0 <= quota.cpu.used < 2.0
