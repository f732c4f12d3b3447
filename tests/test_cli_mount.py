"""The mount command on real mounts: start, stop in every way, background, mount(8), systemd, dead mounts."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mounting import REPOSITORY, answers, is_mounted, scratch
from tests.patience import eventually
from vexfs_fuse import mountinfo, unmounting

pytestmark = pytest.mark.mount
VEXFS = [sys.executable, str(REPOSITORY / "mount.py")]
SECONDS = 90.0

SLEEPER = """
name: sleeper
triggers: [{types: file.closed, path: "start-*", written: true}]
steps: [{name: sleep, action: {type: command, command: [sleep, "63.25"], timeout: 100}}]
"""


@dataclass(slots=True)
class Place:
    """A scratch directory with a source, a mountpoint and an empty directory of workflows."""

    root: Path

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def mount(self) -> Path:
        return self.root / "mount"

    @property
    def workflows(self) -> Path:
        return self.root / "workflows"  # beside the source: found by default


@pytest.fixture
def place() -> Iterator[Place]:
    with scratch() as root:
        found = Place(root)
        for directory in (found.source, found.mount, found.workflows):
            directory.mkdir()
        (found.source / "file").write_text("content\n")
        try:
            yield found
        finally:
            for point in (found.mount, found.source):
                while is_mounted(point):
                    subprocess.run(["fusermount3", "-uz", point], check=False)


def vexfs(*words: object, **more) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [*VEXFS, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, **more)


@contextlib.contextmanager
def server(place: Place, *words: object, point: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A mount in the foreground, ready by its own word to $NOTIFY_SOCKET; killed if the test forgot to end it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor, (place.root / "log").open("ab") as log:
        address = place.root / "notify"
        address.unlink(missing_ok=True)
        supervisor.bind(str(address))
        supervisor.settimeout(SECONDS)
        command = [*VEXFS, "mount", *map(str, words or (place.source, place.mount))]
        environment = {**os.environ, "NOTIFY_SOCKET": str(address)}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            assert b"READY=1" in supervisor.recv(4096), logged(place)
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            address.unlink()


def logged(place: Place) -> str:
    return (place.root / "log").read_text()


def ended(place: Place, process: subprocess.Popen[bytes], point: Path) -> None:
    """The process ends well, and leaves no mount, no process and no traceback."""
    assert process.wait(SECONDS) == 0, logged(place)
    assert not is_mounted(point)
    assert "Traceback" not in logged(place)


def running(word: str) -> list[int]:
    """The processes that have `word` among their arguments."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(int(pid))
    return found


def sleepers() -> list[int]:
    return running("63.25")


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "fusermount3", "umount", "quit", "vexfs unmount"])
def test_every_way_of_ending_is_clean(place, how):
    """Exit status 0, the mount gone, the source whole; the command line of each way returns without complaint."""
    with server(place) as process:
        assert (place.mount / "file").read_text() == "content\n"
        match how:
            case "fusermount3" | "umount":
                subprocess.run([how, *(["-u"] if how == "fusermount3" else []), place.mount], check=True)
            case "quit":
                (place.mount / ".vexfs/ctl").write_text("quit\n")
            case "vexfs unmount":
                done = vexfs("unmount", place.mount)
                assert (done.returncode, done.stderr) == (0, "")
                assert process.poll() is not None or process.wait(5) == 0, "it returns when the process is gone"
            case _:
                process.send_signal(signal.Signals[how])
        ended(place, process, place.mount)
    assert (place.source / "file").read_text() == "content\n"


def test_a_directory_is_mounted_over_itself(place):
    """Existing paths become the mount; its workflows, inside it, are read beneath it, and so are later changes."""
    inside = place.source / "workflows"
    inside.mkdir()
    (inside / "one.yaml").write_text(SLEEPER)
    with server(place, place.source, "--workflows", inside) as process:
        assert is_mounted(place.source)
        assert (place.source / "file").read_text() == "content\n"
        listed = place.source / ".vexfs/workflows"
        assert "sleeper" in os.listdir(listed)
        (inside / "two.yaml").write_text(SLEEPER.replace("sleeper", "second"))  # through the mount
        eventually(lambda: "second" in os.listdir(listed), "a definition written through the mount is loaded")
        (place.source / "new").write_text("x")
        process.send_signal(signal.SIGTERM)
        ended(place, process, place.source)
    assert (place.source / "new").read_text() == "x"


def test_what_starts_with_the_mount_already_uses_the_mount(place):
    """A command that a backfill starts at once goes through the mount, not beneath it, and counts as its workflow's."""
    (place.workflows / "early.yaml").write_text(
        "name: early\n"
        "triggers: [{types: file.closed, path: file, backfill: existing}]\n"
        "steps: [{name: copy, action: {type: command, command: [cp, file, copy]}}]\n"
    )
    (place.workflows / "follow.yaml").write_text(
        "name: follow\n"
        "triggers: [{types: file.closed, path: copy, written: true}]\n"
        "steps: [{name: note, action: {type: write, path: by, content: '{{ event.cause.workflow }}'}}]\n"
    )
    with server(place) as process:
        eventually((place.mount / "by").exists, "the copy was seen, and whose it is")
        assert (place.mount / "by").read_text() == "early"
        process.send_signal(signal.SIGTERM)
        ended(place, process, place.mount)


def test_sighup_reads_the_definitions_anew(place):
    """The mount stays, systemd hears of it, a changed definition counts."""
    with server(place) as process:
        (place.workflows / "late.yaml").write_text(SLEEPER)
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "sleeper" in os.listdir(place.mount / ".vexfs/workflows"), "the definition is loaded")
        process.send_signal(signal.SIGTERM)
        ended(place, process, place.mount)


def test_grace_lets_runs_finish_and_a_second_signal_ends_it(place):
    """While a workflow runs the mount goes on answering; the second SIGTERM ends workflow, child process and mount."""
    (place.workflows / "sleeper.yaml").write_text(SLEEPER)
    with server(place, place.source, place.mount, "--grace", "60s") as process:
        (place.mount / "start-1").write_text("x")
        eventually(sleepers, "the command runs")
        process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert (place.mount / "file").read_text() == "content\n", "it answers during the grace time"
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        ended(place, process, place.mount)
        assert time.monotonic() - begun < 40
    assert not sleepers()


def test_the_grace_time_ends_by_itself(place):
    """A workflow that runs on is cancelled after the stated time."""
    (place.workflows / "sleeper.yaml").write_text(SLEEPER)
    with server(place, place.source, place.mount, "--grace", "1") as process:
        (place.mount / "start-1").write_text("x")
        eventually(sleepers, "the command runs")
        begun = time.monotonic()
        done = vexfs("unmount", place.mount)
        assert done.returncode == 0, done.stderr
        assert 0.9 < time.monotonic() - begun < 50
        ended(place, process, place.mount)
    assert not sleepers()


def test_background_returns_when_the_mount_answers(place):
    """At that moment the mount answers; its process has left the terminal, logs to the file, and ends by unmount."""
    log = place.root / "logs/vexfs.log"
    done = vexfs(place.source, place.mount, "--background", "--log-file", log, "--log-format", "json")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (place.mount / "file").read_text() == "content\n"
    entry = unmounting.find(str(place.mount))
    pid = unmounting.server_of(entry)
    assert pid is not None and os.getsid(pid) == pid
    assert entry.source == str(place.source)
    assert os.readlink(f"/proc/{pid}/fd/0") == os.readlink(f"/proc/{pid}/fd/2") == "/dev/null"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert any("mounted on" in line["message"] for line in lines)
    assert vexfs("unmount", place.mount).returncode == 0
    assert not is_mounted(place.mount)
    assert not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


def test_a_background_start_that_fails_says_so(place):
    """The sentence comes to the terminal, the exit status is not 0, and nothing is left."""
    (place.workflows / "notes.txt").write_text("not ours")
    done = vexfs(
        place.source, place.mount, "--background", "-o", "fsname=" + "x" * 5000, "--log-file", place.root / "log"
    )
    assert done.returncode == 1, done.stderr
    assert "could not be mounted" in done.stderr
    assert "Traceback" not in done.stderr
    assert not is_mounted(place.mount)


def test_refusals_exit_with_2_and_one_sentence(place):
    """Already mounted, a place inside the source, an unknown option: one line on stderr."""
    with server(place) as process:
        said = vexfs(place.source, place.mount)
        assert said.returncode == 2 and "is already mounted" in said.stderr
        process.send_signal(signal.SIGINT)
        ended(place, process, place.mount)
    (place.source / "sub").mkdir()
    wrong = place.root / "wrong.toml"
    wrong.write_text('options = ["foo"]\n')
    for words, expected in (
        ((place.source, place.source / "sub"), "lies inside the source"),
        ((place.source, place.mount, "-o", "foo"), "no such mount option"),
        ((place.source, place.mount, "--grace", "x"), "--grace: "),
        ((place.source, place.mount, "--show-contrl"), "no such option; did you mean --show-control?"),
        ((place.source, place.mount, place.root), "one argument too many"),
        (("status", "--jsn"), "did you mean --json?"),
        ((place.source, place.mount, "--workflows", place.root / "none"), "the directory of workflows"),
        ((place.source, place.mount, "--config", place.root / "none"), "cannot read the configuration file"),
        ((place.source, place.mount, "--config", wrong), f"{wrong}: options: -o foo: there is no such mount option"),
        ((place.source, place.mount, "--listen", "127.0.0.1:99999"), "a port is a number up to 65535, not 99999"),
        (("stauts", place.mount), "stauts: there is no such command or directory; did you mean status?"),
        (("graph", place.mount, "lineage", "x"), "is no mount of VexFS"),
        (("runs", place.mount, "--status", "lost"), "--status lost: a run is one of pending, running"),
        (("test", place.root / "none"), "does not exist"),
        (("replay", place.root / "none", "--definitions", place.workflows), "none: No such file"),
        ((), "say what to mount"),
        (("unmount", place.mount), "is not a mount of VexFS"),
        (("status", place.mount), "is not a mount of VexFS"),
    ):
        said = vexfs(*words)
        assert (said.returncode, said.stderr.count("\n")) == (2, 1), said.stderr
        assert expected in said.stderr


def test_a_dead_mount_of_ours_is_cleared_away(place):
    """After kill -9 the mountpoint answers `Transport endpoint is not connected`; the next start just works."""
    for point, words in ((place.mount, (place.source, place.mount)), (place.source, (place.source,))):
        with server(place, *words) as process:
            process.kill()
            process.wait()
            eventually(lambda point=point: not answers(point / "file", 2), "the mount is dead")
            assert is_mounted(point)
        done = vexfs("status")
        assert done.returncode == 1 and "dead" in done.stdout
        with server(place, *words) as process:
            assert (point / "file").read_text() == "content\n"
            assert len([m for m in mountinfo.mounts() if m.mountpoint == str(point)]) == 1
            process.send_signal(signal.SIGTERM)
            ended(place, process, point)
    assert "clearing away a dead mount" in logged(place)


@pytest.mark.parametrize("how", ["SIGTERM", "a dead mount"])
def test_a_recording_ends_well(place, how):
    """What it has is whole, whether it is told to stop or the mount dies."""
    lines = place.root / "events.jsonl"
    command = [*VEXFS, "record", place.mount, lines]
    with server(place) as process, subprocess.Popen(command, stderr=subprocess.PIPE) as recorder:
        eventually(lambda: lines.exists() and lines.stat().st_size, "the first line")
        (place.mount / "new").write_text("x")
        eventually(lambda: "file.closed" in lines.read_text(), "the last event")
        if how == "SIGTERM":
            recorder.terminate()
        else:
            process.kill()
            process.wait()
        assert recorder.communicate(timeout=SECONDS)[1] == b""
        assert recorder.returncode == 0
        assert list(json.loads(lines.read_text().splitlines()[-1])) == ["advance_to_ns"]
    vexfs("unmount", place.mount)


def test_unmount_clears_a_dead_mount(place):
    """`vexfs unmount` needs no server."""
    with server(place) as process:
        process.kill()
        process.wait()
        done = vexfs("unmount", place.mount)
        assert (done.returncode, done.stderr) == (0, "")
    assert not is_mounted(place.mount)


def test_a_server_that_hangs_hangs_nobody_else(place):
    """status, a second mount and unmount come to an end, and say what they met; the mount goes at least."""
    with server(place) as process:
        process.send_signal(signal.SIGSTOP)
        try:
            assert (done := vexfs("status")).returncode == 1 and "hangs" in done.stdout
            assert (done := vexfs(place.source, place.mount)).returncode == 2 and "does not answer" in done.stderr
            assert (done := vexfs("unmount", "--timeout", "1", place.mount)).returncode == 1
            assert f"its process {process.pid} still runs" in done.stderr
            assert not is_mounted(place.mount)
        finally:
            process.send_signal(signal.SIGCONT)
        ended(place, process, place.mount)


def test_a_mount_in_use_is_not_unmounted_unless_forced(place):
    """The refusal names the user; --force takes the mount away from it."""
    with server(place) as process, (place.mount / "file").open() as held:
        user = subprocess.Popen(["sleep", "60"], cwd=place.mount)
        try:
            done = vexfs("unmount", place.mount)
            assert done.returncode == 1
            assert f"sleep (pid {user.pid})" in done.stderr and f"(pid {os.getpid()})" in done.stderr
            assert held.read() == "content\n"
            assert vexfs("unmount", "--force", place.mount).returncode == 0
            ended(place, process, place.mount)
        finally:
            user.kill()
            user.wait()


BY_TYPE = """
mount --bind "$PROGRAMS" /usr/local/sbin  # mount(8) forgets PATH; in this mount namespace only
for step in type table; do
    case $step in
        type) mount -t fuse.vexfs -o "$OPTIONS" "$SOURCE" "$MOUNT" ;;
        table) mount --fstab "$FSTAB" "$MOUNT" ;;
    esac
    cat "$MOUNT/file"
    ls -a "$MOUNT" | grep vexfs
    grep -o "noatime.* - fuse.vexfs $SOURCE" /proc/self/mountinfo
    umount "$MOUNT"
done
"""


def test_mount_8_and_fstab_find_us_by_type(place):
    """`mount -t fuse.vexfs`, through mount.fuse3, returns with the mount in place; an fstab line works by itself."""
    programs = place.root / "bin"
    programs.mkdir()
    bare = "import sys, mount; sys.argv[0] = 'vexfs'; sys.exit(mount.main())"
    (programs / "vexfs").write_text(f'#!/bin/sh\ncd {REPOSITORY}\nexec {sys.executable} -c "{bare}" "$@"\n')
    (programs / "vexfs").chmod(0o755)
    log = place.root / "by-mount.log"
    options = f"noatime,show_control,log_file={log},workflows={place.workflows},x-systemd.automount"
    fstab = place.root / "fstab"
    fstab.write_text(f"{place.source} {place.mount} fuse.vexfs {options},noauto,_netdev 0 0\n")
    names = {"PROGRAMS": programs, "OPTIONS": options, "SOURCE": place.source, "MOUNT": place.mount, "FSTAB": fstab}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", BY_TYPE],
        env={**os.environ, **{name: str(value) for name, value in names.items()}},
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.splitlines() == ["content", ".vexfs", f"noatime - fuse.vexfs {place.source}"] * 2
    eventually(lambda: not running(str(place.mount)), "umount ended the servers too")
    assert log.read_text().count("is unmounted") == 2


def test_a_configuration_file_is_the_whole_command(place):
    """Everything from the file, the command line on top; paths relative to the file."""
    config = place.root / "vexfs.toml"
    config.write_text(
        'source = "source"\nmountpoint = "mount"\nworkflows = "workflows"\noptions = "ro"\nshow-control = true\n'
    )
    with server(place, "--config", config, "--no-show-control") as process:
        assert ".vexfs" not in os.listdir(place.mount)
        with pytest.raises(OSError, match="Read-only"):
            (place.mount / "new").touch()
        assert f"mount     {place.mount}" in vexfs("status", place.mount).stdout
        overview = json.loads(vexfs("status", "--json").stdout)
        mine = next(report for report in overview if report["mountpoint"] == str(place.mount))
        assert mine == {
            "mountpoint": str(place.mount),
            "source": str(place.source),
            "pid": process.pid,
            "state": "answers",
        }
        process.send_signal(signal.SIGTERM)
        ended(place, process, place.mount)


def test_names_may_be_awkward(place):
    """Spaces, commas, newlines and bytes that are no UTF-8, in source and mountpoint."""
    for name in ("with space, comma\\", "new\nline", "ümläut", os.fsdecode(b"\xff\xfe"), "-dash"):
        source, point = place.root / f"{name}.source", place.root / f"{name}.mount"
        source.mkdir()
        point.mkdir()
        (source / "x").write_text(name.encode("utf-8", "surrogateescape").hex())
        with server(place, source, point) as process:
            assert (point / "x").read_text() == name.encode("utf-8", "surrogateescape").hex()
            states = {one["mountpoint"]: one["state"] for one in json.loads(vexfs("status", "--json").stdout)}
            assert states[str(point)] == "answers"
            assert vexfs("unmount", point).returncode == 0
            ended(place, process, point)


AS_USER = """
mknod "$ROOT/fuse" c 10 229
chmod 666 "$ROOT/fuse"
mount --bind "$ROOT/fuse" /dev/fuse  # as on most systems; in this mount namespace only
# The one capability lets this user reach a Python that lies in root's home, and has no part in mounting.
user="setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
cd /
$user env -u XDG_STATE_HOME HOME="$ROOT" "$@" mount -b "$ROOT/source" "$ROOT/mount"
$user cat "$ROOT/mount/file"
cat "$ROOT/mount/file" 2>&1 | grep -o "Permission denied"
$user env HOME="$ROOT" "$@" unmount "$ROOT/mount"
grep "$ROOT/mount" /proc/self/mountinfo || cat "$ROOT"/.local/state/vexfs/*.log
"""


def test_a_user_who_is_not_root_can_mount(place):
    """Through fusermount3, on a directory of their own; the log is in their home; other users stay out, even root."""
    for path in (place.root, place.source, place.mount, place.workflows, place.source / "file"):
        os.chown(path, 65534, 65534)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", AS_USER, "sh", *VEXFS],
        env={**os.environ, "ROOT": str(place.root)},
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not running(str(place.mount))
    first, second, *log = done.stdout.splitlines()
    assert (first, second) == ("content", "Permission denied")
    assert any("mounted on" in line for line in log)
