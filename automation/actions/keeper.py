"""What stands between VexFS and a tenant's command: `python keeper.py FD PROGRAM ARGUMENT…`, with VexFS's rights.

    VexFS ─► keeper ─► the command ─► its children, and theirs, whatever they make of themselves

It adopts those of them that lose their parent (`PR_SET_CHILD_SUBREAPER`). When the command has ended, or FD has, it
ends what is left, and then itself as the command did. FD is the reading end of a pipe: its first byte lets the command
begin, each further one is a signal for its process group, and it ends with VexFS, however that ends. What the command's
user runs can neither signal nor trace a process of root.

Each command waits until this has started, behind others: to import `os`, `ctypes` and `contextlib` would double that.
"""

import _ctypes
import posix as os
import sys
from time import sleep

PR_SET_CHILD_SUBREAPER = 36
PR_SET_DUMPABLE = 4
SIG_DFL = 0
SIGKILL = 9
IGNORED = (13, 25)  # SIGPIPE and SIGXFSZ, by Python
LIBC = _ctypes.dlopen(None, 2)  # type: ignore[arg-type]  # all that is loaded


class Unless:
    """Goes on where the kernel refuses, since what was meant has ended or is not ours to have."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> bool:
        return kind is not None and issubclass(kind, OSError)


def call(name: str, *arguments: int) -> int:
    """A function of the C library."""
    return int(_ctypes.call_function(_ctypes.dlsym(LIBC, name), arguments))


def main(fd: int, argv: list[str]) -> None:
    """Keep a command."""
    if call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("the kernel lets no process adopt the children of its children")
    if not os.read(fd, 1):
        sys.exit("VexFS has ended")
    os.set_inheritable(fd, False)
    for number in IGNORED:
        call("signal", number, SIG_DFL)
    command = os.fork()
    if command == 0:
        become(argv)
    settle(command)
    listener = os.fork()
    if listener == 0:
        listen(fd, command)
    die_like(kept(command, listener))


def become(argv: list[str]) -> None:
    """Be the program, in a group of its own."""
    try:
        os.setpgid(0, 0)
        os.execv(argv[0], argv)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode(errors="surrogateescape"))
    os._exit(127)


def settle(command: int) -> None:
    """See to the command's group, leave its pipes to it alone, and no longer come after others as it does."""
    null = os.open("/dev/null", os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    with Unless():  # it was quicker
        os.setpgid(command, command)
    with Unless():  # not root
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def listen(fd: int, command: int) -> None:
    """Pass signals on until the pipe ends; that this process has ended says so."""
    while told := os.read(fd, 1) or bytes([SIGKILL]):
        with Unless():
            os.killpg(command, told[0])
        if told[0] == SIGKILL:
            os._exit(0)


def kept(command: int, listener: int) -> int:
    """Wait for the end of either, and leave nothing. How the command ended, as wait(2) says it."""
    status = ended = 0
    while ended not in (command, listener):
        ended, how = os.wait()
        status = how if ended == command else status
    while True:
        for pid in descendants(os.getpid()):
            with Unless():
                os.kill(pid, SIGKILL)
        try:
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                status = found[1] if found[0] == command else status
        except ChildProcessError:
            return status
        sleep(0.001)


def descendants(pid: int) -> list[int]:
    """Those that there are now."""
    found = []
    with Unless():
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as children:
                for child in map(int, children.read().split()):
                    found += [child, *descendants(child)]
    return found


def die_like(status: int) -> None:
    """End as the command did, without a core of our own."""
    if os.WIFSIGNALED(status):
        call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
        call("signal", os.WTERMSIG(status), SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
