"""Real mounts for tests: start `mount.py` in a child process, wait until it answers, and leave nothing behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
# Names carry this process's id, so that a leftover can be told from a parallel run's mount.
MOUNT_PREFIX = f"vexfs-mount-{os.getpid()}-"
SCRATCH_PREFIX = f"vexfs-test-{os.getpid()}-"
START_SECONDS = 90.0
STOP_SECONDS = 90.0


@dataclass(slots=True)
class Mount:
    """One live mount: `mountpoint` is where the tests work, `source` the bare directory, `log` the process's output."""

    source: Path
    mountpoint: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        """Whether the serving process still runs."""
        return self.process.poll() is None

    def text(self) -> str:
        """What the process has written to stdout and stderr so far."""
        return self.log.read_text(errors="replace")


def mount_table() -> dict[str, str]:
    """Mountpoint → filesystem type, as the kernel has it now (the topmost mount of each point)."""
    table = {}
    for line in Path("/proc/self/mounts").read_bytes().split(b"\n")[:-1]:
        _, point, kind, *_ = line.split(b" ")
        table[os.fsdecode(point.decode("unicode_escape").encode("latin-1"))] = kind.decode()
    return table


def is_mounted(point: Path) -> bool:
    """Whether something of type fuse is mounted on `point`; never touches the mount itself."""
    return mount_table().get(str(point), "").startswith("fuse")


def answers(path: Path, seconds: float = 20.0) -> bool:
    """Whether `path` can be read now. A child reads, so a hung mount costs `seconds` and not this process."""
    try:
        done = subprocess.run(["cat", str(path)], capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and bool(done.stdout)


@contextlib.contextmanager
def mounted(
    source: Path,
    options: Sequence[str] = ("allow_other",),
    *,
    arguments: Sequence[str] = (),
    mountpoint: Path | None = None,
    environment: Mapping[str, str] | None = None,
    exit_code: int | None = 0,
    prefix: Sequence[str] = (),
) -> Iterator[Mount]:
    """Mount `source` with `-o options` and further command-line `arguments`; yields a `Mount` that answers.

    `mountpoint` defaults to a new directory; pass `source` itself for an in-place mount. `prefix` is a program that
    starts the mount in its own place (prlimit, strace). At the end it is unmounted and
    the process must be gone with `exit_code` (None: any), the mount too, and the log must hold no traceback.
    """
    point = mountpoint or Path(tempfile.mkdtemp(prefix=MOUNT_PREFIX))
    if mountpoint is None:
        point.chmod(0o755)
    command = [
        *prefix,
        sys.executable,
        str(REPOSITORY / "mount.py"),
        "--foreground",
        str(source),
        str(point),
        *arguments,
    ]
    command += ["-o", ",".join(options)] if options else []
    try:
        with serving(command, source, point, point / ".vexfs" / "README", environment) as mount:
            yield mount
    finally:
        if mountpoint is None:
            point.rmdir()
    code, text = mount.process.returncode, mount.text()
    mount.log.unlink()
    assert exit_code is None or code == exit_code, f"the mount ended with {code}, not {exit_code}:\n{text}"
    assert "Traceback" not in text, f"the mount logged a traceback:\n{text}"


@contextlib.contextmanager
def serving(
    command: Sequence[str], source: Path, point: Path, ready: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Mount]:
    """Run any FUSE server's `command` until the block ends; `ready` is a file that answers once it serves."""
    descriptor, name = tempfile.mkstemp(prefix="vexfs-log-", suffix=".txt")
    with os.fdopen(descriptor, "wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    mount = Mount(source, point, process, Path(name))
    try:
        wait_until_ready(mount, ready)
        yield mount
    except BaseException as error:
        _abandon(mount)
        error.add_note(f"the log of the mount ends with:\n{mount.text()[-4000:]}")
        mount.log.unlink()
        raise
    _stop(mount)


def wait_until_ready(mount: Mount, ready: Path) -> None:
    """Return when `ready` answers through the mount; raise AssertionError with the log if it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert mount.alive, f"the mount ended with {mount.process.returncode} before it answered:\n{mount.text()}"
        if is_mounted(mount.mountpoint) and answers(ready):
            return
        time.sleep(0.02)
    raise AssertionError(f"the mount did not answer within {START_SECONDS} s:\n{mount.text()}")


def _stop(mount: Mount) -> None:
    """Unmount and demand that the process and the mount are gone in time."""
    if is_mounted(mount.mountpoint):
        done = subprocess.run(
            ["fusermount3", "-u", str(mount.mountpoint)],
            capture_output=True,
            text=True,
            timeout=STOP_SECONDS,
            check=False,
        )
        if done.returncode != 0 and is_mounted(mount.mountpoint):
            _abandon(mount)
            raise AssertionError(f"unmounting failed: {done.stderr}\n{mount.text()}")
    try:
        mount.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _abandon(mount)
        raise AssertionError(f"the process outlived its mount by {STOP_SECONDS} s:\n{mount.text()}") from None
    assert not is_mounted(mount.mountpoint), f"{mount.mountpoint} is still mounted"


def _abandon(mount: Mount) -> None:
    """Tear a failed mount down by force, so that the failure that is being reported stays the only one."""
    abort_connection(mount.mountpoint)
    if mount.alive:
        mount.process.send_signal(signal.SIGKILL)
        mount.process.wait()
    while is_mounted(mount.mountpoint):
        subprocess.run(["fusermount3", "-u", "-z", str(mount.mountpoint)], capture_output=True, check=False)


def abort_connection(point: Path) -> None:
    """Make every call that hangs in the mount at `point` fail, through the kernel's fusectl filesystem if it is there.

    The device number comes from /proc/self/mountinfo: a stat of the mountpoint would hang as well.
    """
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[4] == str(point) and " - fuse" in line:
            abort = Path("/sys/fs/fuse/connections") / fields[2].partition(":")[2] / "abort"
            with contextlib.suppress(OSError):
                abort.write_text("1")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A new directory that every user may traverse (pytest's own are closed to others); removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=False)


@contextlib.contextmanager
def filesystem(kind: str) -> Iterator[Path]:
    """A fresh filesystem of `kind`, "ext4" (a loop image of 4 GiB, sparse) or "tmpfs", mounted; yields its root."""
    with scratch() as directory:
        root = directory / kind
        root.mkdir()
        if kind == "ext4":
            image = directory / "image"
            with image.open("wb") as file:
                file.truncate(4 << 30)
            run("mkfs.ext4", "-q", "-F", "-N", "400000", "-O", "^has_journal", "-E", "lazy_itable_init=1", str(image))
            run("mount", "-o", "loop", str(image), str(root))
        else:
            run("mount", "-t", "tmpfs", "-o", "size=2g,mode=755", "vexfs-test", str(root))
        try:
            yield root
        finally:
            run("umount", str(root))


def run(*command: str) -> str:
    """Run a command that must succeed; its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout
