"""Ending a mount from outside: ask the server to stop, or take the mount off; then wait until nothing is left."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Final

from automation.errors import CallerError, TimedOut, WorldError
from vexfs_fuse import mountinfo, mounting
from vexfs_fuse.mountinfo import Mounted

CONNECTION: Final = "fuse_connection:"
CHILD_MARK: Final = b"VEXFS_CAUSE="  # in the environment of every process that an automation started


def find(path: str) -> Mounted:
    """The VexFS mount at `path`, found without touching the mount; CallerError when there is none."""
    plain = os.path.abspath(path)
    parent, name = os.path.split(plain)
    table = mountinfo.mounts()
    # The name itself is resolved last: where a mount lies on it, its server would have to answer.
    spellings: tuple[Callable[[], str], ...] = (
        lambda: plain,
        lambda: os.path.join(mounting.resolve(parent), name),
        lambda: mounting.resolve(plain),
    )
    for spelling in spellings:
        entry = mountinfo.topmost(spelling(), table)
        if entry is not None and entry.ours:
            return entry
    kind = next((e.fstype for e in table if e.mountpoint == plain), None)
    raise CallerError(f"{path} is not a mount of VexFS" + (f" but of type {kind}" if kind else ""))


def unmount(path: str, *, force: bool = False, timeout: float = 60.0) -> None:
    """End the mount at `path` and its server; returns when both are gone.

    The server is asked through its control file, so that running workflows get their grace time; where that cannot be,
    fusermount3 takes the mount off and the server notices. A mount in use is refused (WorldError names the users)
    unless `force`. TimedOut after `timeout` seconds.
    """
    entry = find(path)
    server = server_of(entry)
    if not force and (users := users_of(entry, besides=server)):
        shown = ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
        raise WorldError(f"{entry.mountpoint} is in use by {shown}; --force unmounts it all the same")
    until = time.monotonic() + timeout
    with _watched(server) as ended:
        try:
            if not ask_to_quit(entry):
                mounting.detach(entry.mountpoint, lazy=force)
        except TimedOut:
            mounting.detach(entry.mountpoint)  # it hangs, and our own question keeps it busy
        for _ in mountinfo.changes(until):
            if all(other.id != entry.id for other in mountinfo.mounts() if other.mountpoint == entry.mountpoint):
                break
        else:
            raise TimedOut(
                f"{entry.mountpoint} is still mounted after {timeout:g} s: its workflows may still be running"
            )
        if ended is not None and not _ends(ended, until):
            raise TimedOut(f"the mount is gone, but its process {server} still runs after {timeout:g} s")


def ask_to_quit(entry: Mounted) -> bool:
    """Write `quit` to the mount's control file; False where it is dead or this user may not, TimedOut if it hangs."""
    ctl = os.path.join(entry.mountpoint, mounting.CONTROL_NAME, "ctl")

    def write() -> bool:
        fd = os.open(ctl, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"quit\n")
        finally:
            os.close(fd)
        return True

    try:
        return mounting.within(mounting.PROBE_SECONDS, write)
    except OSError:
        return False


def server_of(entry: Mounted) -> int | None:
    """The process that serves a mount, by the connection number of its /dev/fuse; None when it is dead or hidden.

    Older kernels do not tell the number; there it is None too.
    """
    for pid in _processes():
        for fd in _listed(f"/proc/{pid}/fd"):
            try:
                if os.readlink(f"/proc/{pid}/fd/{fd}") != mounting.DEVICE:
                    continue
                info = _read(f"/proc/{pid}/fdinfo/{fd}").split()
            except OSError:
                continue
            if CONNECTION in info and info[info.index(CONNECTION) + 1] == str(entry.device):
                return pid
    return None


def users_of(entry: Mounted, besides: int | None = None) -> list[str]:
    """Who keeps a mount busy, as `bash (pid 42)` or `a mount on /x/y`; not its server, this process or automations.

    Compares mount ids only, so that a hung mount does not hang this.
    """
    users = [
        f"a mount on {other.mountpoint}"
        for other in mountinfo.mounts()
        if other.parent == entry.id and mounting.beneath(other.mountpoint, entry.mountpoint)
    ]
    for pid in _processes():
        if pid in (besides, os.getpid()) or not _holds(pid, entry.id):
            continue
        with contextlib.suppress(OSError):
            if CHILD_MARK not in _read_bytes(f"/proc/{pid}/environ"):
                users.append(f"{_read(f'/proc/{pid}/comm').strip()} (pid {pid})")
    return users


def _holds(pid: int, mount: int) -> bool:
    """Whether a process has its working directory, root, program or an open file in a mount."""
    wanted = f"mnt_id:\t{mount}\n"
    for fd in _listed(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(OSError):
            if wanted in _read(f"/proc/{pid}/fdinfo/{fd}"):
                return True
    for link in ("cwd", "root", "exe"):
        with contextlib.suppress(OSError):
            place = os.open(f"/proc/{pid}/{link}", os.O_PATH | os.O_CLOEXEC)
            try:
                if wanted in _read(f"/proc/self/fdinfo/{place}"):
                    return True
            finally:
                os.close(place)
    return False


@contextlib.contextmanager
def _watched(pid: int | None) -> Iterator[int | None]:
    """A descriptor that becomes readable when the process ends; None when there is nothing to watch."""
    try:
        fd = None if pid is None else os.pidfd_open(pid)
    except OSError:
        fd = None
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


def _ends(pidfd: int, until: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0.0, until - time.monotonic()) * 1000))


def _processes() -> list[int]:
    return [int(name) for name in _listed("/proc") if name.isdecimal()]


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _read(path: str) -> str:
    return _read_bytes(path).decode(errors="replace")


def _read_bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
