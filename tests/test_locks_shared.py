"""`--locks shared`: locks as on a bare directory, across the mount and the source, each an event."""

import fcntl
import os
import signal
import sqlite3
import time
from collections.abc import Iterator

import pytest

from tests.listening import Listener
from tests.mounting import Mount, mounted, scratch
from tests.patience import eventually
from tests.posix.calls import attempt, make, opened
from tests.posix.catalogue import checks
from tests.posix.children import Child, Failure, in_child, together
from tests.posix.locking import NONE, READ, WRITE, blocker, ofd, posix
from tests.test_posix_conformance import observe

pytestmark = pytest.mark.mount

LOCKING = [name for name in checks() if name.partition(".")[0] in ("locking", "flocking")]


@pytest.fixture(scope="module")
def mount() -> Iterator[Mount]:
    """One mount with shared locks."""
    with (
        scratch() as source,
        scratch() as workflows,
        mounted(source, arguments=("--workflows", str(workflows), "--locks", "shared")) as live,
    ):
        yield live


@pytest.mark.parametrize("name", LOCKING)
def test_locks_are_those_of_a_directory(mount: Mount, name: str) -> None:
    """Each check of locks has the outcome that it has on the bare directory."""
    with scratch() as bare:
        expected = observe(checks()[name], bare / name)
    seen = observe(checks()[name], mount.mountpoint / name)
    assert not isinstance(expected, Failure)
    assert seen == expected


def test_locks_hold_against_the_source(mount: Mount) -> None:
    """A flock and a fcntl lock, taken on either side, keep the other side out until they are released."""
    path = make(mount.mountpoint / "both", b"x" * 100)
    with opened(path, os.O_RDWR) as here, opened(mount.source / "both", os.O_RDWR) as there:
        for one, other in ((here, there), (there, here)):
            fcntl.flock(one, fcntl.LOCK_EX)
            assert attempt(fcntl.flock, other, fcntl.LOCK_SH | fcntl.LOCK_NB) == "EAGAIN"
            fcntl.flock(one, fcntl.LOCK_UN)
            assert attempt(fcntl.flock, other, fcntl.LOCK_SH | fcntl.LOCK_NB) is None
            fcntl.flock(other, fcntl.LOCK_UN)
            assert ofd(one, WRITE, 10, 20) is None
            assert posix(other, READ, 15, 1) == "EAGAIN"
            assert posix(other, WRITE, 30, 10) is None
            assert posix(other, NONE) is None
            assert ofd(one, NONE) is None
            assert posix(other, WRITE) is None
            assert posix(other, NONE) is None


def test_unlocking_a_part_keeps_the_rest(mount: Mount) -> None:
    """What is left of a range when its start was unlocked is still locked, and F_GETLK says by whom."""
    path = make(mount.mountpoint / "rest", b"x" * 100)
    with opened(path, os.O_RDWR) as fd, opened(mount.source / "rest", os.O_RDWR) as there:
        assert posix(fd, WRITE, 0, 30) is None
        assert posix(fd, NONE, 0, 10) is None
        assert posix(there, WRITE, 0, 10) is None
        assert posix(there, WRITE, 10, 5) == "EAGAIN"

        def work() -> object:
            with opened(path, os.O_RDWR) as other:
                return blocker(other, READ, 20, 1)

        assert in_child(work) == (WRITE, os.SEEK_SET, 10, 20, os.getpid())


def test_waiting_ends_when_the_source_unlocks(mount: Mount) -> None:
    """Who waits on the mount gets the lock soon after the source lets go."""
    path = make(mount.mountpoint / "wait", b"x")
    with opened(mount.source / "wait", os.O_RDWR) as there:
        fcntl.flock(there, fcntl.LOCK_EX)

        def work() -> None:
            with opened(path, os.O_RDWR) as fd:
                fcntl.flock(fd, fcntl.LOCK_EX)

        child = Child(work)
        time.sleep(0.3)
        assert os.waitpid(child.pid, os.WNOHANG) == (0, 0), "it did not wait"
        fcntl.flock(there, fcntl.LOCK_UN)
        assert child.result() is None


def test_a_signal_ends_waiting(mount: Mount) -> None:
    """A process that waits for a lock can be killed, and the mount goes on."""
    path = make(mount.mountpoint / "kill", b"x")
    with opened(path, os.O_RDWR) as fd:
        for take in (lambda one: fcntl.flock(one, fcntl.LOCK_EX), lambda one: posix(one, WRITE, wait=True)):
            fcntl.flock(fd, fcntl.LOCK_EX)
            assert posix(fd, WRITE) is None

            def work(take=take) -> None:
                with opened(path, os.O_RDWR) as other:
                    take(other)

            child = Child(work)
            time.sleep(0.2)
            child.kill()
            assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == -signal.SIGKILL
            fcntl.flock(fd, fcntl.LOCK_UN)
            assert posix(fd, NONE) is None


def test_locks_are_events(mount: Mount) -> None:
    """Taking and releasing a lock is an event each, with kind, mode and range; closing releases too."""
    path = make(mount.mountpoint / "told", b"x")
    with Listener(mount.mountpoint, "file.locked") as events:
        with opened(path, os.O_RDWR) as fd:
            fcntl.flock(fd, fcntl.LOCK_SH)
            fcntl.flock(fd, fcntl.LOCK_UN)
            posix(fd, WRITE, 3, 4)
        found = events.until(lambda one: one["attrs"] == {"kind": "posix", "mode": "none"})
    assert [(one["path"], one["attrs"], one["pid"]) for one in found] == [
        ("told", {"kind": "flock", "mode": "shared"}, os.getpid()),
        ("told", {"kind": "flock", "mode": "none"}, os.getpid()),
        ("told", {"kind": "posix", "mode": "exclusive"}, os.getpid()),
        ("told", {"kind": "posix", "mode": "none"}, os.getpid()),
    ]
    assert (found[2]["offset"], found[2]["length"]) == (3, 4)


def test_nothing_is_kept_of_those_that_are_gone(mount: Mount) -> None:
    """A thousand lockers that were closed, unlocked or killed leave no owner behind."""
    path = make(mount.mountpoint / "many", b"x" * 2000)

    def work() -> None:
        for number in range(200):
            with opened(path, os.O_RDWR) as fd:
                assert posix(fd, WRITE, number, 1) is None
                assert ofd(fd, READ, 1000 + number, 1) is None
        os.kill(os.getpid(), signal.SIGKILL)

    child = Child(work)
    os.waitpid(child.pid, 0)
    with opened(path, os.O_RDWR) as fd:
        assert posix(fd, WRITE, wait=True) is None
        assert posix(fd, NONE) is None
    eventually(lambda: "shared with the source, 0 owners" in (mount.mountpoint / ".vexfs/status").read_text())


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_may_be_used_from_both_sides(mode: str) -> None:
    """sqlite3 writers on the mount and in the source, at once, lose nothing where the kernel believes nothing."""
    options = ("--locks", "shared", "--attr-timeout", "0", "--entry-timeout", "0")
    with (
        scratch() as source,
        scratch() as workflows,
        mounted(source, arguments=("--workflows", str(workflows), *options)) as mount,
    ):
        with sqlite3.connect(mount.mountpoint / "db") as made:
            made.execute(f"PRAGMA journal_mode = {mode}")
            made.execute("CREATE TABLE t (place TEXT, number INTEGER)")
        made.close()

        def work(where) -> None:
            base = sqlite3.connect(where / "db", timeout=120, isolation_level=None)
            base.execute("PRAGMA synchronous = off")
            for number in range(100):
                base.execute("BEGIN IMMEDIATE")
                base.execute("INSERT INTO t VALUES (?, ?)", (str(where), number))
                base.execute("COMMIT")
            base.close()

        together([lambda where=where: work(where) for where in (mount.mountpoint, mount.source) * 2])
        base = sqlite3.connect(mount.mountpoint / "db")
        assert base.execute("SELECT count(*), count(DISTINCT place) FROM t").fetchone() == (400, 2)
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        base.close()
