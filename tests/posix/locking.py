"""fcntl locks, among processes."""

import fcntl
import os
import signal
import struct
import time
from pathlib import Path

from tests.posix.calls import attempt, make, opened
from tests.posix.children import ALICE, Child, Steps, as_user, in_child

RECORD = struct.Struct("@hhqqi4x")  # type, whence, start, length, pid
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
NOW = fcntl.LOCK_NB


def posix(fd: int, kind: int, start: int = 0, length: int = 0, *, wait: bool = False) -> object:
    """F_SETLK or F_SETLKW: None, or the errno's name (EACCES counts as EAGAIN, as POSIX allows both)."""
    record = RECORD.pack(kind, os.SEEK_SET, start, length, 0)
    result = attempt(fcntl.fcntl, fd, fcntl.F_SETLKW if wait else fcntl.F_SETLK, record)
    return {"EACCES": "EAGAIN"}.get(result, result) if isinstance(result, str) else None


def ofd(fd: int, kind: int, start: int = 0, length: int = 0, *, wait: bool = False) -> object:
    """The same for a lock of the open file description."""
    record = RECORD.pack(kind, os.SEEK_SET, start, length, 0)
    result = attempt(fcntl.fcntl, fd, F_OFD_SETLKW if wait else F_OFD_SETLK, record)
    return result if isinstance(result, str) else None


def blocker(fd: int, kind: int, start: int = 0, length: int = 0) -> tuple[int, int, int, int, int]:
    """F_GETLK: the lock that is in the way; type F_UNLCK if none."""
    found = fcntl.fcntl(fd, fcntl.F_GETLK, RECORD.pack(kind, os.SEEK_SET, start, length, 0))
    return RECORD.unpack(found)  # type: ignore[return-value]


READ, WRITE, NONE = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK


def from_another_process(path: Path, kind: int, start: int = 0, length: int = 0) -> object:
    """What a new process gets that tries this fcntl lock."""

    def work() -> object:
        with opened(path, os.O_RDWR) as fd:
            return posix(fd, kind, start, length)

    return in_child(work)


def check_exclusive(directory: Path) -> object:
    """A write lock keeps other processes' locks of both kinds out, until it is released."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        result = [posix(fd, WRITE)]
        result += [from_another_process(path, kind) for kind in (READ, WRITE)]
        result += [posix(fd, NONE), from_another_process(path, WRITE)]
    assert result == [None, "EAGAIN", "EAGAIN", None, None]
    return result


def check_shared(directory: Path) -> object:
    """A read lock keeps writers out and lets readers in."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        result = [posix(fd, READ)] + [from_another_process(path, kind) for kind in (READ, WRITE)]
    assert result == [None, None, "EAGAIN"]
    return result


def check_ranges(directory: Path) -> object:
    """Locks of ranges that do not touch do not conflict; those that do, do."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        result = [posix(fd, WRITE, 10, 10)]
        result += [from_another_process(path, WRITE, *where) for where in ((0, 10), (20, 5), (19, 1), (9, 2), (0, 0))]
    assert result == [None, None, None, "EAGAIN", "EAGAIN", "EAGAIN"]
    return result


def check_splitting(directory: Path) -> object:
    """Unlocking the middle of a range leaves both ends locked."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        result = [posix(fd, WRITE, 0, 30), posix(fd, NONE, 10, 10)]
        result += [from_another_process(path, WRITE, *where) for where in ((5, 1), (15, 1), (25, 1))]
    assert result == [None, None, "EAGAIN", None, "EAGAIN"]
    return result


def check_who_is_in_the_way(directory: Path) -> object:
    """F_GETLK tells the type, range and process of the lock in the way."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        assert posix(fd, WRITE, 5, 7) is None
        mine = os.getpid()

        def work() -> object:
            with opened(path, os.O_RDWR) as other:
                kind, whence, start, length, pid = blocker(other, READ)
                return (kind, whence, start, length, pid == mine), blocker(other, READ, 50, 1)[0]

        result = in_child(work)
    assert result == ((WRITE, 0, 5, 7, True), NONE)
    return result


def check_closing_any_descriptor_releases(directory: Path) -> object:
    """Closing any descriptor of the file releases the process's fcntl locks."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        result = [posix(fd, WRITE), from_another_process(path, WRITE)]
        with opened(path, os.O_RDONLY):
            pass
        result.append(from_another_process(path, WRITE))
    assert result == [None, "EAGAIN", None]
    return result


def check_not_inherited(directory: Path) -> object:
    """A forked child does not have its parent's fcntl locks."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        posix(fd, WRITE)
        result = in_child(lambda: posix(fd, WRITE))
    assert result == "EAGAIN"
    return result


def check_released_by_death(directory: Path) -> object:
    """A process killed by SIGKILL loses its locks at once."""
    path = make(directory / "file", b"x")

    def work() -> None:
        fd = os.open(path, os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX)  # waits: the parent may hold the lock for a moment, looking
        fcntl.flock(fd, fcntl.LOCK_EX)
        time.sleep(60)

    child = Child(work)
    with opened(path, os.O_RDWR) as fd:
        while posix(fd, WRITE) is None:
            posix(fd, NONE)
            time.sleep(0.005)
        while attempt(fcntl.flock, fd, fcntl.LOCK_EX | NOW) is None:
            fcntl.flock(fd, fcntl.LOCK_UN)
            time.sleep(0.005)
        before = posix(fd, WRITE)
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        after = posix(fd, WRITE), attempt(fcntl.flock, fd, fcntl.LOCK_EX | NOW)
    assert (before, after) == ("EAGAIN", (None, None))
    return before, after


def check_waiting(directory: Path) -> object:
    """F_SETLKW waits until the lock is free."""
    path = make(directory / "file", b"x")
    fd = os.open(path, os.O_RDWR)
    posix(fd, WRITE)

    def work() -> object:
        with opened(path, os.O_RDWR) as other:
            return posix(other, WRITE, wait=True)

    with Steps([work]) as other:
        other.begin()
        waited = other.waits()
        posix(fd, NONE)
        result = waited, other.finish()
    os.close(fd)
    assert result == (True, None)
    return result


def check_deadlock(directory: Path) -> object:
    """Two processes that wait for each other: one gets EDEADLK."""
    path = make(directory / "file", b"x")
    fd = os.open(path, os.O_RDWR)
    other_fd: list[int] = []

    def first() -> object:
        other_fd.append(os.open(path, os.O_RDWR))
        return posix(other_fd[0], WRITE, 1, 1)

    with Steps([first, lambda: posix(other_fd[0], WRITE, 0, 1, wait=True)]) as other:
        result = [posix(fd, WRITE, 0, 1), other.step()]
        other.begin()
        assert other.waits()
        result.append(posix(fd, WRITE, 1, 1, wait=True))
        posix(fd, NONE)
        result.append(other.finish())
    os.close(fd)
    assert result == [None, None, "EDEADLK", None]
    return result


def check_interrupted_wait(directory: Path) -> object:
    """A signal ends the wait for a lock with EINTR."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        posix(fd, WRITE)

        def work() -> object:
            def handler(*_: object) -> None:
                raise InterruptedError(4, "interrupted")

            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with opened(path, os.O_RDWR) as other:
                return posix(other, WRITE, wait=True)

        result = in_child(work)
    assert result == "EINTR"
    return result


def check_conversion(directory: Path) -> object:
    """A lock of the same process replaces its own: upgrade and downgrade."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        result = [posix(fd, READ), posix(fd, WRITE), from_another_process(path, READ)]
        result += [posix(fd, READ), from_another_process(path, READ)]
    assert result == [None, None, "EAGAIN", None, None]
    return result


def check_access_mode(directory: Path) -> object:
    """A read lock needs a descriptor for reading, a write lock one for writing: EBADF."""
    path = make(directory / "file", b"x")
    result = []
    for flags in (os.O_RDONLY, os.O_WRONLY):
        with opened(path, flags) as fd:
            result += [posix(fd, READ), posix(fd, WRITE)]
    assert result == [None, "EBADF", "EBADF", None]
    return result


def check_bad_locks(directory: Path) -> object:
    """A range before the start and an unknown type are EINVAL."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        result = [posix(fd, WRITE, -1, 1), posix(fd, 77), posix(fd, WRITE, 5, -10), posix(fd, WRITE, 10, -5)]
    assert result == ["EINVAL", "EINVAL", "EINVAL", None]  # the last: the five bytes before
    return result


def check_far_ranges(directory: Path) -> object:
    """Locks reach far beyond the end of the file."""
    path = make(directory / "file")
    far = 1 << 62
    with opened(path, os.O_RDWR) as fd:
        result = [posix(fd, WRITE, far, 100)]
        result += [from_another_process(path, WRITE, *where) for where in ((far + 99, 1), (far + 100, 1), (0, far))]
    assert result == [None, "EAGAIN", None, None]
    return result


def check_lockf(directory: Path) -> object:
    """lockf locks from the position on."""
    path = make(directory / "file", b"0123456789")
    with opened(path, os.O_RDWR) as fd:
        os.lseek(fd, 4, os.SEEK_SET)
        result = [attempt(os.lockf, fd, os.F_TLOCK, 3)]
        result += [from_another_process(path, WRITE, *where) for where in ((3, 1), (4, 1), (6, 1), (7, 1))]
        result.append(attempt(os.lockf, fd, os.F_ULOCK, 3))
    assert result == [None, None, "EAGAIN", "EAGAIN", None, None]
    return result


def check_locks_follow_the_file(directory: Path) -> object:
    """Locks belong to the file: by another link, after a rename and after unlink they hold."""
    path = make(directory / "file")
    os.link(path, directory / "link")
    with opened(path, os.O_RDWR) as fd:
        posix(fd, WRITE)
        result = [from_another_process(directory / "link", WRITE)]
        path.rename(directory / "moved")
        result.append(from_another_process(directory / "moved", WRITE))
        with opened(directory / "link", os.O_RDWR):
            pass  # closes a descriptor of the same file: the lock is gone, through whatever name
        result.append(from_another_process(directory / "moved", WRITE))
    assert result == ["EAGAIN", "EAGAIN", None]
    return result


def check_locks_of_users(directory: Path) -> object:
    """Locks work between users."""
    path = make(directory / "file", mode=0o666)
    with opened(path, os.O_RDWR) as fd:
        posix(fd, WRITE)
        result = as_user(ALICE, from_another_process, path, WRITE)
    assert result == "EAGAIN"
    return result


def check_lock_file_protocol(directory: Path) -> object:
    """Many processes count up a number under a lock: nothing is lost."""
    path = make(directory / "file", b"0")

    def work() -> None:
        for _ in range(25):
            with opened(path, os.O_RDWR) as fd:
                posix(fd, WRITE, wait=True)
                number = int(os.pread(fd, 20, 0))
                os.pwrite(fd, b"%d" % (number + 1), 0)

    children = [Child(work) for _ in range(4)]
    for child in children:
        child.result()
    assert path.read_bytes() == b"100"
    return path.read_bytes()
