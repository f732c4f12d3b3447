"""The walls around a worker, put up by the worker itself before it reads the first script.

Each wall stands where the system allows it; the limits always do. Nothing here is undone, so it holds for whatever
runs in the process afterwards, even for machine code.
"""

from __future__ import annotations

import ctypes
import os
import resource
import time
from contextlib import suppress
from typing import Final

from automation.scripts.seccomp import refuse_system_calls

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_PR_SET_NO_NEW_PRIVS: Final = 38
USER: Final = "VEXFS_WORKER_USER"
_NOBODY: Final = 65534
_SLACK: Final = 96 << 20  # for the interpreter itself and the messages


def confine(memory: int) -> None:
    """No network, no privileges, no new files or processes, and at most `memory` bytes for a script.

    Everything that the worker needs must be open and imported.
    """
    drop_rights()
    close_off(memory)


def drop_rights() -> None:
    """No network, no privileges, nothing written to files: what a process that is yet to be started inherits too."""
    time.tzset()  # reads the time zone while files can be opened
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as stream:
        stream.write("1000")  # if memory runs out, this process goes first
    libc = ctypes.CDLL(None, use_errno=True)
    root = os.geteuid() == 0
    libc.unshare(_CLONE_NEWNET if root else _CLONE_NEWUSER | _CLONE_NEWNET)  # quietly not, where it is not allowed
    if root:
        with suppress(OSError):
            uid, gid = user()
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, 0)


def user() -> tuple[int, int]:
    """Whose rights a worker is left with: user and group, nobody's unless it was told otherwise."""
    uid, _, gid = os.environ.get(USER, f"{_NOBODY}:{_NOBODY}").partition(":")
    return int(uid) or _NOBODY, int(gid) or _NOBODY


def close_off(memory: int) -> None:
    """Bound the memory of this process; refuse it new files, processes and most system calls, in all its threads."""
    limit(resource.RLIMIT_AS, _vm_size() + 2 * memory + _SLACK)
    limit(resource.RLIMIT_NPROC, 0)
    limit(resource.RLIMIT_NOFILE, 3)
    refuse_system_calls()


def limit_cpu(seconds: float) -> None:
    """End the process by SIGXCPU once it has used that much more CPU: for when nobody is left to kill it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime + seconds) + 2
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def limit(what: int, value: int, pid: int = 0) -> None:
    """Set a limit of this process, or of another one, for good, where that is allowed."""
    with suppress(ValueError, OSError):
        resource.prlimit(pid, what, (value, value))


def _vm_size() -> int:
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[0]) * resource.getpagesize()
