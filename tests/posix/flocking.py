"""flock(2), locks of open file descriptions, and leases."""

import fcntl
import os
from pathlib import Path

from tests.posix.calls import attempt, make, opened
from tests.posix.children import Steps, in_child
from tests.posix.locking import NOW, READ, WRITE, from_another_process, ofd


def check_flock_exclusive(directory: Path) -> object:
    """flock keeps other open file descriptions out, in this process too."""
    path = make(directory / "file")
    with opened(path, os.O_RDONLY) as one, opened(path, os.O_RDONLY) as other:
        result = [
            attempt(fcntl.flock, one, fcntl.LOCK_EX | NOW),
            attempt(fcntl.flock, other, fcntl.LOCK_EX | NOW),
            attempt(fcntl.flock, other, fcntl.LOCK_SH | NOW),
            in_child(lambda: attempt(fcntl.flock, other, fcntl.LOCK_EX | NOW)),
            attempt(fcntl.flock, one, fcntl.LOCK_UN),
            attempt(fcntl.flock, other, fcntl.LOCK_EX | NOW),
        ]
    assert result == [None, "EAGAIN", "EAGAIN", "EAGAIN", None, None]
    return result


def check_flock_shared(directory: Path) -> object:
    """Shared flocks coexist; an exclusive one waits for all."""
    path = make(directory / "file")
    with opened(path, os.O_RDONLY) as one, opened(path, os.O_RDONLY) as other, opened(path, os.O_RDONLY) as third:
        result = [attempt(fcntl.flock, fd, fcntl.LOCK_SH | NOW) for fd in (one, other)]
        result.append(attempt(fcntl.flock, third, fcntl.LOCK_EX | NOW))
        fcntl.flock(one, fcntl.LOCK_UN)
        result.append(attempt(fcntl.flock, third, fcntl.LOCK_EX | NOW))
        fcntl.flock(other, fcntl.LOCK_UN)
        result.append(attempt(fcntl.flock, third, fcntl.LOCK_EX | NOW))
    assert result == [None, None, "EAGAIN", "EAGAIN", None]
    return result


def check_flock_conversion(directory: Path) -> object:
    """A shared flock becomes exclusive when it is alone, and back."""
    path = make(directory / "file")
    with opened(path, os.O_RDONLY) as one, opened(path, os.O_RDONLY) as other:
        steps = ((one, fcntl.LOCK_SH), (one, fcntl.LOCK_EX), (other, fcntl.LOCK_SH))
        result = [attempt(fcntl.flock, fd, how | NOW) for fd, how in steps]
        steps = ((one, fcntl.LOCK_SH), (other, fcntl.LOCK_SH), (one, fcntl.LOCK_EX))
        result += [attempt(fcntl.flock, fd, how | NOW) for fd, how in steps]
    assert result == [None, None, "EAGAIN", None, None, "EAGAIN"]
    return result


def check_flock_is_the_descriptions(directory: Path) -> object:
    """A duplicate or a forked child shares the flock; it ends with the last of them, or when any unlocks."""
    path = make(directory / "file")
    one = os.open(path, os.O_RDONLY)
    twin = os.dup(one)
    with opened(path, os.O_RDONLY) as other:
        result = [attempt(fcntl.flock, one, fcntl.LOCK_EX | NOW)]
        os.close(one)
        result.append(attempt(fcntl.flock, other, fcntl.LOCK_EX | NOW))
        in_child(lambda: fcntl.flock(twin, fcntl.LOCK_UN))
        result.append(attempt(fcntl.flock, other, fcntl.LOCK_EX | NOW))
        fcntl.flock(other, fcntl.LOCK_UN)
        fcntl.flock(twin, fcntl.LOCK_EX)
        os.close(twin)
        result.append(attempt(fcntl.flock, other, fcntl.LOCK_EX | NOW))
    assert result == [None, "EAGAIN", None, None]
    return result


def check_flock_waits(directory: Path) -> object:
    """flock without LOCK_NB waits until the lock is free."""
    path = make(directory / "file")
    with opened(path, os.O_RDONLY) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)

        def work() -> object:
            with opened(path, os.O_RDONLY) as other:
                return attempt(fcntl.flock, other, fcntl.LOCK_SH)

        with Steps([work]) as other:
            other.begin()
            waited = other.waits()
            fcntl.flock(fd, fcntl.LOCK_UN)
            result = waited, other.finish()
    assert result == (True, None)
    return result


def check_flock_of_a_directory(directory: Path) -> object:
    """A directory can be flocked."""
    with opened(directory, os.O_RDONLY) as one, opened(directory, os.O_RDONLY) as other:
        result = [attempt(fcntl.flock, fd, fcntl.LOCK_EX | NOW) for fd in (one, other)]
    assert result == [None, "EAGAIN"]
    return result


def check_flock_and_fcntl_are_strangers(directory: Path) -> object:
    """flock and fcntl locks do not see each other."""
    path = make(directory / "file")
    with opened(path, os.O_RDWR) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        result = from_another_process(path, WRITE)
    assert result is None
    return result


def check_description_locks(directory: Path) -> object:
    """Description locks conflict between descriptions, even of one process, and with fcntl locks of others."""
    path = make(directory / "file")
    with opened(path, os.O_RDWR) as one, opened(path, os.O_RDWR) as other:
        result = [ofd(one, WRITE, 0, 10), ofd(other, WRITE, 5, 1), ofd(other, WRITE, 10, 5)]
        result += [from_another_process(path, READ, 0, 1), in_child(lambda: ofd(one, READ, 0, 1))]
    assert result == [None, "EAGAIN", None, "EAGAIN", None]
    return result


def check_description_locks_survive_other_closes(directory: Path) -> object:
    """Closing another descriptor of the file keeps a description lock; closing its own releases it."""
    path = make(directory / "file")
    one = os.open(path, os.O_RDWR)
    with opened(path, os.O_RDWR) as other:
        ofd(one, WRITE)
        with opened(path, os.O_RDWR):
            pass
        result = [ofd(other, WRITE)]
        os.close(one)
        result.append(ofd(other, WRITE))
    assert result == ["EAGAIN", None]
    return result


def check_leases(directory: Path) -> object:
    """A lease on an open file."""
    path = make(directory / "file")
    with opened(path, os.O_RDONLY) as fd:
        result = [attempt(fcntl.fcntl, fd, fcntl.F_SETLEASE, fcntl.F_RDLCK), attempt(fcntl.fcntl, fd, fcntl.F_GETLEASE)]
        result.append(attempt(fcntl.fcntl, fd, fcntl.F_SETLEASE, fcntl.F_UNLCK))
    return result
