"""A systemd of our own, as the first process of namespaces of its own, on a copy-on-write view of this machine's files.

Nothing that it does reaches this machine: mounts, processes, cgroups, network and written files end with it.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mounting import REPOSITORY

SYSTEMD = Path("/lib/systemd/systemd")
BOOT_SECONDS = 180.0
BOOTING = "now systemd"  # on the console: what the script below prepares is prepared

# What a container has no use for, and what would look at this machine's devices and network.
MASKED = """systemd-timesyncd.service systemd-udevd.service systemd-networkd.service systemd-resolved.service
systemd-logind.service getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
fstrim.timer"""

PREPARE = r"""
set -eu
mount -t tmpfs -o mode=755 tmpfs "$SCRATCH"
mkdir "$SCRATCH/up" "$SCRATCH/work" "$SCRATCH/root"
root="$SCRATCH/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$SCRATCH/up,workdir=$SCRATCH/work" "$root"
mkdir -p "$root/opt/vexfs" "$root$REPOSITORY" "$root/srv"
mount --bind "$REPOSITORY" "$root$REPOSITORY"
mount --bind "$REPOSITORY" "$root/opt/vexfs"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs sysfs "$root/sys" -o ro
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for place in run tmp srv dev; do mount -t tmpfs tmpfs "$root/$place" -o mode=755; done
for device in null zero full random urandom tty fuse; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
ln -s /proc/self/fd "$root/dev/fd"
rm -rf "$root"/etc/systemd/system/*.wants "$root/var/log/journal"
rm -rf "$root/etc/fstab" "$root/etc/vexfs" "$root/var/lib/vexfs"
: > "$root/etc/machine-id"
for unit in $MASKED; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
mkdir "$root/old"
cd "$root"
pivot_root . old
cd /
umount -l /old
echo "$BOOTING"
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set -sys_module,-sys_time,-syslog /lib/systemd/systemd --unit=basic.target
"""


@dataclass(frozen=True, slots=True)
class Systemd:
    """One that runs; `pid` is its first process as this machine counts."""

    pid: int

    def run(self, script: str, *, check: bool = True) -> str:
        """What a shell script inside writes; AssertionError when it fails."""
        inside = ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-n", "-C", "--wd=/"]
        command = [*inside, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "sh", "-c", script]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd="/",
            start_new_session=True,
        )
        assert done.returncode == 0 or not check, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def property(self, unit: str, name: str) -> str:
        """What `systemctl show` knows of a unit."""
        return self.run(f"systemctl show -P {name} {unit}").strip()

    def write(self, path: str, text: str) -> None:
        """A file inside, with the directories above it."""
        inside = Path(f"/proc/{self.pid}/root{path}")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_text(text)

    def log(self, unit: str, options: str = "") -> list[str]:
        """The lines of the journal of a unit."""
        return self.run(f"journalctl --sync; journalctl --no-pager -o cat -u {unit} {options}").splitlines()


@contextlib.contextmanager
def booted(scratch: Path) -> Iterator[Systemd]:
    """Start one and end it with all that it started; skips where there is none, or namespaces are not to be had."""
    needed = ("unshare", "nsenter", "setpriv", "pivot_root", "systemctl", "journalctl")
    if os.geteuid() != 0 or not SYSTEMD.exists() or not all(shutil.which(program) for program in needed):
        pytest.skip("it takes root and systemd's programs")
    if "VEXFS_SYSTEMD" not in os.environ:
        pytest.skip("`make systemd` runs it: not every machine lets a second systemd be started")
    if REPOSITORY.is_relative_to("/tmp"):
        pytest.skip("the project lies beneath /tmp, of which that systemd has its own")
    group = _control_group()
    console = scratch / "console"
    place = scratch / "place"
    place.mkdir()
    spaces = ["--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net", "--propagation", "private"]
    joined = ["sh", "-c", 'echo $$ > "$GROUP/cgroup.procs"; exec "$@"', "sh"]
    known = {"SCRATCH": str(place), "REPOSITORY": str(REPOSITORY), "MASKED": MASKED, "BOOTING": BOOTING}
    try:
        with console.open("wb") as out:
            process = subprocess.Popen(
                [*joined, "unshare", "--fork", "--kill-child", *spaces, "sh", "-c", PREPARE],
                env={**os.environ, **known, "GROUP": str(group)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield _awaited(process, console)
        finally:
            first = _first(process)
            process.kill()
            process.wait()
            with contextlib.suppress(ChildProcessError):  # it is ours by now, if this process is a subreaper
                if first:
                    os.waitpid(first, 0)
    finally:
        _remove(group)


def _control_group() -> Path:
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    root = next((point for _, point, kind, *_ in lines if kind == "cgroup2"), None)
    if root is None:
        pytest.skip("there is no cgroup2")
    group = Path(root) / f"vexfs-test-{os.getpid()}"
    group.mkdir()
    return group


def _awaited(process: subprocess.Popen[bytes], console: Path) -> Systemd:
    deadline = time.monotonic() + BOOT_SECONDS
    while BOOTING not in console.read_text():
        if process.poll() is not None:
            pytest.skip(f"no namespaces here: {console.read_text()[-300:]}")
        assert time.monotonic() < deadline
        time.sleep(0.05)
    systemd = Systemd(_first(process))
    while "running" not in systemd.run("systemctl is-system-running 2>&1", check=False):
        assert process.poll() is None and time.monotonic() < deadline, console.read_text()
        time.sleep(0.1)
    return systemd


def _first(process: subprocess.Popen[bytes]) -> int:
    """The child of unshare; 0 where there is none."""
    try:
        return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    except (OSError, IndexError):
        return 0


def _remove(group: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            for directory, _, _ in os.walk(group, topdown=False):
                os.rmdir(directory)
            return
        except OSError:  # its processes are just ending
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
