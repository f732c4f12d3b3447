"""Going into the background: the parent waits at a pipe until the mount answers, then leaves with its verdict."""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

_READY: Final = b"\0"
_INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM)


class Ready:
    """The child's end of the pipe. `tell()` once, when all works: the parent then exits with status 0.

    A process that ends without it, in whatever way, makes the parent exit with the child's status.
    """

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    def tell(self) -> None:
        """Let the parent go, and let go of its terminal: the standard streams become /dev/null."""
        if self._fd is None:
            return
        null = os.open(os.devnull, os.O_RDWR)
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        if null > 2:
            os.close(null)
        os.write(self._fd, _READY)
        os.close(self._fd)
        self._fd = None


def detach() -> Ready:
    """Fork. Returns in the child, in its own session and at `/`; the parent stays until `Ready.tell` and never returns.

    Call it before any thread or event loop exists.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)  # one that comes now waits for who passes it on
    child = os.fork()
    if child:
        os.close(writer)
        os._exit(_await(reader, child))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(reader)
    os.setsid()
    os.chdir("/")
    return Ready(writer)


def _await(reader: int, child: int) -> int:
    """Exit status for the parent. An interrupt meanwhile is the child's to obey."""
    for one in _INTERRUPTS:
        signal.signal(one, lambda number, _frame: os.kill(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
    if os.read(reader, 1) == _READY:
        return 0
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code or 1  # it ended well, yet the mount never answered
    print(f"vexfs: the server was killed by {signal.Signals(-code).name} before the mount answered", file=sys.stderr)
    return 1
