"""Who is calling: process, command name, and the automation that started it.

The kernel names the calling thread. While it waits for our answer its /proc entry is certain to be there, so the first
request of a thread reads it once (name, process, session, parent) and keeps /proc/TID/comm open: a later `pread` costs
1.3 µs, sees a new name after exec(2), and fails once the thread is gone, which is how a reused number is noticed.
What was read less than `FRESH_NS` ago is believed: no program ends, or begins as another one, in that time.
"""

from __future__ import annotations

import functools
import os
import time
from typing import Final, Protocol

from automation.events import Cause

FRESH_NS: Final = 100_000
_FORKNOEXEC: Final = 0x40  # PF_FORKNOEXEC of linux/sched.h: it was forked and has not called exec(2) since
_KEPT: Final = 256  # threads remembered; the oldest goes


class Who(Protocol):
    """The caller as the kernel names it: pyfuse3's RequestContext, the native library's request, or an opener."""

    @property
    def pid(self) -> int:
        """Thread."""
        ...

    @property
    def uid(self) -> int:
        """Effective user."""
        ...

    @property
    def gid(self) -> int:
        """Effective group."""
        ...


class Asking(Protocol):
    """A caller (`Who`) of what makes something."""

    @property
    def pid(self) -> int:
        """Thread."""
        ...

    @property
    def uid(self) -> int:
        """Effective user."""
        ...

    @property
    def gid(self) -> int:
        """Effective group."""
        ...

    @property
    def umask(self) -> int:
        """Bits that a new object's mode lacks."""
        ...


class Commands(Protocol):
    """What the automation side knows of its own child processes."""

    @property
    def active(self) -> bool:
        """Whether a child may be running."""
        ...

    def cause_of_session(self, sid: int) -> Cause | None:
        """The cause of the child that leads session `sid`."""
        ...

    def cause_of_run(self, run: str) -> Cause | None:
        """The cause that the children of a run have, if it has any."""
        ...


class Caller:
    """One thread that called: `pid` is its process, `cause` the automation it descends from."""

    __slots__ = ("_comm", "_fd", "_raw", "_read_ns", "cause", "checked", "pid")

    def __init__(self, pid: int, comm: str, fd: int, cause: Cause | None, checked: bool) -> None:
        self.pid: Final = pid
        self.cause = cause
        self.checked = checked  # whether `cause` was looked for
        self._comm = comm
        self._raw = b""
        self._read_ns = 0
        self._fd = fd

    def comm(self) -> str:
        """The last known name."""
        return self._comm

    def refresh(self) -> bool:
        """Read the name anew, unless that was done just now; False if the thread is gone."""
        now = time.monotonic_ns()
        if now < self._read_ns + FRESH_NS:
            return True
        if self._fd < 0:
            return False
        try:
            name = os.pread(self._fd, 16, 0)
        except OSError:
            return False
        self._read_ns = now
        if name != self._raw:
            self._raw = name
            self._comm = name.rstrip(b"\n").decode(errors="replace")
        return True

    def close(self) -> None:
        """Let go of /proc."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


KERNEL: Final = Caller(0, "kernel", -1, None, True)


class Callers:
    """The threads seen lately. All methods must be called before the request's first await."""

    def __init__(self, commands: Commands | None) -> None:
        self._commands: Final = commands
        self._known: Final[dict[int, Caller]] = {}

    def at(self, tid: int) -> Caller:
        """The caller, its name read at this moment (for what changes or opens something)."""
        if tid == 0:
            return KERNEL
        caller = self._known.get(tid)
        if caller is None or not caller.refresh():
            return self._meet(tid)
        if not caller.checked:
            self._find_cause(caller, tid)
        return caller

    def seen(self, tid: int) -> Caller:
        """The caller with the name it had when last read (for what only looks)."""
        caller = self._known.get(tid)
        if caller is None:
            return self.at(tid)
        if not caller.checked:
            self._find_cause(caller, tid)
        return caller

    def close(self) -> None:
        """Let go of all."""
        for caller in self._known.values():
            caller.close()
        self._known.clear()

    def _meet(self, tid: int) -> Caller:
        stale = self._known.pop(tid, None)
        if stale is not None:
            stale.close()
        try:
            fd = os.open(f"/proc/{tid}/comm", os.O_RDONLY | os.O_CLOEXEC)
            status = _read(f"/proc/{tid}/status")
        except OSError:  # a thread of another pid namespace, or gone
            return Caller(tid, "", -1, None, True)
        comm, pid = _field(status, b"Name:"), int(_field(status, b"Tgid:") or tid)
        caller = Caller(pid, comm, fd, None, self._commands is None)
        if not caller.checked:
            self._find_cause(caller, tid)
        if len(self._known) >= _KEPT:
            oldest = next(iter(self._known))
            self._known.pop(oldest).close()
        self._known[tid] = caller
        return caller

    def _find_cause(self, caller: Caller, tid: int) -> None:
        """A child of a command leads or belongs to its session; one that left it still carries the variable."""
        if self._commands is None or not self._commands.active:
            return  # not checked: a command may start this thread's process anew, but never adopt it
        caller.checked = True
        try:
            fields = _read(f"/proc/{tid}/stat").rsplit(b") ", 1)[1].split()
            caller.cause = self._commands.cause_of_session(int(fields[3])) or self._declared(caller, tid)
        except (OSError, IndexError, ValueError):
            caller.cause = None

    def _declared(self, caller: Caller, tid: int) -> Cause | None:
        """By the environment (`VEXFS_CAUSE=run:workflow:depth`), which only a run that has commands may claim."""
        assert self._commands is not None
        environment = _read(f"/proc/{tid}/environ")
        if not environment:  # in the midst of an execve, perhaps: ask again at its next request
            caller.checked = False
        for item in environment.split(b"\0"):
            if item.startswith(b"VEXFS_CAUSE="):
                return self._commands.cause_of_run(item[12:].split(b":", 1)[0].decode(errors="replace"))
        return None


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65_536)
    finally:
        os.close(fd)


def opens_for_itself(tid: int, comm: str) -> bool:
    """Whether what a thread opens is for its own program: not where that is a shell, which opens the files of its
    commands, nor a child that has yet to become another program by exec(2).
    """
    if comm in _shells():
        return False
    try:
        flags = int(_read(f"/proc/{tid}/stat").rsplit(b") ", 1)[1].split()[6])
    except (OSError, IndexError, ValueError):
        return False
    return not flags & _FORKNOEXEC


@functools.cache
def _shells() -> frozenset[str]:
    """The names of those that the machine knows."""
    try:
        lines = _read("/etc/shells").decode(errors="replace").splitlines()
    except OSError:
        lines = []
    return frozenset(("sh", *(os.path.basename(line.strip()) for line in lines if line.startswith("/"))))


def command_name(pid: int) -> str:
    """The command name of a process, empty when it is gone."""
    try:
        return _read(f"/proc/{pid}/comm").rstrip(b"\n").decode(errors="surrogateescape")
    except OSError:
        return ""


def groups_of(who: Who) -> tuple[int, ...]:
    """The caller's supplementary groups."""
    try:
        status = _read(f"/proc/{who.pid}/status")
    except OSError:
        return ()
    line = next((line for line in status.split(b"\n") if line.startswith(b"Groups:")), b"Groups:")
    return tuple(map(int, line.split()[1:]))


def in_group(who: Who, gid: int) -> bool:
    """Whether the caller belongs to a group, by its effective group or a supplementary one."""
    return who.gid == gid or gid in groups_of(who)


def _field(status: bytes, name: bytes) -> str:
    for line in status.split(b"\n", 5):
        if line.startswith(name):
            return line[len(name) :].strip().decode(errors="replace")
    return ""
