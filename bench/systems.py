"""The systems under test: each serves one backing directory at a place of its own, and goes away without a trace."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from bench import commands
from bench.commands import Place, UnavailableError

START_SECONDS: Final = 180.0  # 10,000 rules take a while on a busy machine
STOP_SECONDS: Final = 15.0
DISK_BYTES: Final = 3 << 30


@dataclass(frozen=True, slots=True)
class System:
    """One system under test. `command` builds and names the server's command line; None is the bare directory.
    `answers` is a path below the mountpoint that can be read once it serves; `groups` is what it takes part in.
    """

    name: str
    meaning: str
    command: Callable[[Place], list[str]] | None
    answers: str = ""
    groups: tuple[str, ...] = ("metadata", "io", "traced", "workloads")


SYSTEMS: Final = (
    System("native", "the backing directory itself", None, groups=("metadata", "io", "workloads", "disk")),
    System(
        "minimal", "pyfuse3's own way of passthrough (bench/minimal.py)", commands.minimal, groups=("metadata", "io")
    ),
    System("bindfs", "bindfs, as packaged", commands.bindfs),
    System("mergerfs", "mergerfs over one branch, as packaged", commands.mergerfs),
    System("passthrough_ll", "libfuse's low-level C example, multi-threaded, cache=auto", commands.passthrough_ll),
    System("passthrough_hp", "libfuse's newest example, C++, built from the source package", commands.passthrough_hp),
    System("vexfs", "VexFS without automations", commands.vexfs, ".vexfs/status", ("metadata", "io", "workloads")),
    System(
        "vexfs+rules",
        f"VexFS with {commands.RULES:,} rules that do not match",
        commands.vexfs_rules,
        ".vexfs/status",
        groups=("metadata", "io", "workloads", "disk"),
    ),
    System(
        "vexfs traced",
        "VexFS with a rule that looks at each read and write",
        commands.vexfs_traced,
        ".vexfs/status",
        ("traced",),
    ),
)


class Running:
    """A system that serves, between `start` and `stop`; a context manager for both."""

    def __init__(self, system: System, source: str, scratch: str) -> None:
        self.system: Final = system
        self.name: Final = system.name
        self._place: Final = Place(source, os.path.join(scratch, "mount"), scratch)
        self._log: Final = os.path.join(scratch, "log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def directory(self) -> str:
        """Where the backing directory appears."""
        return self._place.source if self.system.command is None else self._place.mountpoint

    @property
    def source(self) -> str:
        """The backing directory, which is this system's alone."""
        return self._place.source

    @property
    def pid(self) -> int:
        """The server's process; that of who asks where there is none."""
        return os.getpid() if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still serves."""
        return self._process is None or self._process.poll() is None

    def start(self) -> None:
        """Serve; returns when it answers, or raises UnavailableError."""
        if self.system.command is None:
            return
        os.makedirs(self._place.mountpoint)
        command = self.system.command(self._place)
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Unmount and end the server, by force if it must be."""
        process, self._process = self._process, None
        if process is None:
            return
        if self._mounted():
            subprocess.run(["fusermount3", "-u", self._place.mountpoint], capture_output=True, check=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS / 3)
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        if process.poll() is None:
            process.kill()
            process.wait()
        if self._mounted():
            subprocess.run(["fusermount3", "-uz", self._place.mountpoint], capture_output=True, check=False)

    def last_words(self) -> str:
        """The end of what the server said."""
        with contextlib.suppress(OSError), open(self._log, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:].strip()
        return ""

    def _mounted(self) -> bool:
        with open("/proc/self/mounts", encoding="utf-8") as table:
            return any(line.split(" ", 2)[1] == self._place.mountpoint for line in table)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.alive:
            if self._mounted() and self._answers():
                return
            time.sleep(0.05)
        state = "does not answer" if self.alive else "ended at once"
        raise UnavailableError(f"{self.name} {state}: {self.last_words() or 'it said nothing'}")

    def _answers(self) -> bool:
        """Whether a child can read what is there when the system serves; a mount that hangs costs a child, not us."""
        path = os.path.join(self._place.mountpoint, self.system.answers)
        ask = ["cat", path] if self.system.answers else ["ls", path]
        try:
            done = subprocess.run(ask, capture_output=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def __enter__(self) -> Running:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextlib.contextmanager
def scratch(parent: str) -> Iterator[str]:
    """A directory that is gone afterwards."""
    path = tempfile.mkdtemp(prefix="vexfs-bench-", dir=parent)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def filesystem(backing: str) -> Iterator[str]:
    """A directory to serve: the root of a new "tmpfs" or "ext4" of its own, else one in the directory `backing`.

    With one filesystem for all, VexFS would be told of what the others do there, and act on it while they are measured.
    """
    if os.geteuid() != 0 and backing in ("tmpfs", "ext4"):
        backing = "/dev/shm" if backing == "tmpfs" and os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
    if backing not in ("tmpfs", "ext4"):
        with scratch(backing) as path:
            yield path
        return
    with scratch(tempfile.gettempdir()) as inside, scratch("/dev/shm") as memory:
        root, image = os.path.join(inside, "root"), os.path.join(memory, "image")
        os.mkdir(root)
        if backing == "ext4":  # in memory too: what the disk does meanwhile for others is not what is measured
            with open(image, "wb") as file:
                file.truncate(DISK_BYTES)
            commands.output([commands.found("mkfs.ext4"), "-q", "-F", image])
            commands.output(["mount", "-o", "loop,noatime", image, root])
        else:
            commands.output(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755", "vexfs-bench", root])
        try:
            yield root
        finally:
            subprocess.run(["umount", root], check=False)


@contextlib.contextmanager
def serving(names: list[str], backing: str, missing: Callable[[str, str], None]) -> Iterator[list[Running]]:
    """Start the named systems, each on a filesystem of its own; `missing(name, reason)` is told of those that cannot
    be.
    """
    with contextlib.ExitStack() as stack:
        running = []
        for system in SYSTEMS:
            if system.name not in names:
                continue
            try:
                source = stack.enter_context(filesystem(backing))
                one = Running(system, source, stack.enter_context(scratch(tempfile.gettempdir())))
                running.append(stack.enter_context(one))
            except UnavailableError as error:
                missing(system.name, str(error))
        yield running
