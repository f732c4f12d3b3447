"""The systems under test: each serves one backing directory at a place of its own, and goes away without a trace."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from bench.definitions import write_rules

REPOSITORY: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXAMPLES: Final = "/usr/share/doc/libfuse3-dev/examples"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 15.0
RULES: Final = 1000


class UnavailableError(Exception):
    """A system cannot be measured here; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a system works: the shared backing directory, its mountpoint, and a directory for what it builds."""

    source: str
    mountpoint: str
    scratch: str


@dataclass(frozen=True, slots=True)
class System:
    """One system under test. `command` builds and names the server's command line; None is the bare directory.
    `answers` is a path below the mountpoint that can be read once it serves.
    """

    name: str
    meaning: str
    command: Callable[[Place], list[str]] | None
    answers: str = ""


def _vexfs(place: Place, workflows: str) -> list[str]:
    mount = os.path.join(REPOSITORY, "mount.py")
    if not os.path.exists(mount):
        raise UnavailableError("there is no mount.py yet")
    return [sys.executable, mount, "--foreground", place.source, place.mountpoint, "--workflows", workflows]


def _vexfs_idle(place: Place) -> list[str]:
    workflows = os.path.join(place.scratch, "none")
    os.mkdir(workflows)
    return _vexfs(place, workflows)


def _vexfs_rules(place: Place) -> list[str]:
    workflows = os.path.join(place.scratch, "rules")
    os.mkdir(workflows)
    write_rules(workflows, RULES)
    return _vexfs(place, workflows)


def _minimal(place: Place) -> list[str]:
    return [sys.executable, os.path.join(REPOSITORY, "bench", "minimal.py"), place.source, place.mountpoint]


def _bindfs(place: Place) -> list[str]:
    return [_found("bindfs"), "-f", place.source, place.mountpoint]


def _passthrough_ll(place: Place) -> list[str]:
    source = os.path.join(EXAMPLES, "passthrough_ll.c")
    if not os.path.exists(source) and os.path.exists(source + ".gz"):
        source = os.path.join(place.scratch, "passthrough_ll.c")
        for name in ("passthrough_ll.c", "passthrough_helpers.h"):
            _unpack(os.path.join(EXAMPLES, name), os.path.join(place.scratch, name))
    if not os.path.exists(source):
        raise UnavailableError(f"{source} is missing: install libfuse3-dev")
    flags = shlex.split(_output(["pkg-config", "--cflags", "--libs", "fuse3"]))
    binary = compile_c(source, os.path.join(place.scratch, "passthrough_ll"), flags)
    return [binary, "-f", "-o", f"source={place.source},cache=auto", place.mountpoint]


def _unpack(path: str, to: str) -> None:
    with open(to, "wb") as out:
        if os.path.exists(path):
            shutil.copyfile(path, to)
        else:
            subprocess.run(["gzip", "-dc", path + ".gz"], stdout=out, check=True)


SYSTEMS: Final = (
    System("native", "the backing directory itself", None),
    System("minimal", "pyfuse3's own way of passthrough (bench/minimal.py)", _minimal),
    System("bindfs", "bindfs, as packaged", _bindfs),
    System("passthrough_ll", "libfuse's low-level C example, multi-threaded, cache=auto", _passthrough_ll),
    System("vexfs", "VexFS without automations", _vexfs_idle, ".vexfs/status"),
    System("vexfs+rules", f"VexFS with {RULES:,} rules that do not match", _vexfs_rules, ".vexfs/status"),
)


def compile_c(source: str, binary: str, flags: list[str]) -> str:
    """Compile one C file; returns `binary`."""
    compiler = os.environ.get("CC") or _found("cc")
    done = subprocess.run(
        [compiler, "-O2", "-o", binary, source, *flags], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise UnavailableError(f"{source} does not compile: {done.stderr.strip()}")
    return binary


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise UnavailableError(f"{program} is not installed")
    return path


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError as error:
        raise UnavailableError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise UnavailableError(done.stderr.strip())
    return done.stdout


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
def serving(names: list[str], source: str, parent: str, missing: Callable[[str, str], None]) -> Iterator[list[Running]]:
    """Start the named systems on one backing directory; `missing(name, reason)` is told of those that cannot be."""
    with contextlib.ExitStack() as stack:
        running = []
        for system in SYSTEMS:
            if system.name not in names:
                continue
            one = Running(system, source, stack.enter_context(scratch(parent)))
            try:
                running.append(stack.enter_context(one))
            except UnavailableError as error:
                missing(system.name, str(error))
        yield running
