"""Promise 1, before the reply: when a call returns its event has been accepted, in the order of the operations."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.listening import Event, Listener, brief, typed
from tests.mounting import Mount
from tests.posix.calls import fallocate, make, opened
from tests.posix.children import Steps, together
from tests.tracing import trace

pytestmark = pytest.mark.mount


@pytest.fixture
def directory(mount: Mount, request: pytest.FixtureRequest) -> Path:
    """An empty directory of the test's own on the mount, whose name is also its path in events."""
    path = mount.mountpoint / f"d{abs(hash(request.node.name))}"
    path.mkdir()
    return path


def prepare(directory: Path) -> None:
    """What the operations below find."""
    make(directory / "file", b"contents")
    make(directory / "other", b"x")
    (directory / "dir").mkdir()
    (directory / "link").symlink_to("file")
    os.setxattr(directory / "file", "user.old", b"x")


def touch(path: Path) -> None:
    """Create and close."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL))


def with_file(flags: int, work: Callable[[int], object]) -> Callable[[Path], None]:
    """An operation on an open descriptor of `file`."""

    def operation(directory: Path) -> None:
        with opened(directory / "file", flags) as fd:
            work(fd)

    return operation


def copy_range(directory: Path) -> None:
    """copy_file_range from one file to another."""
    with opened(directory / "file", os.O_RDONLY) as source, opened(directory / "other", os.O_WRONLY) as target:
        os.copy_file_range(source, target, 4)


# Name → operation, and the (type, name in the directory) that it must have brought about when it returns.
OPERATIONS: dict[str, tuple[Callable[[Path], object], tuple[str, str]]] = {
    "create": (lambda d: touch(d / "new"), ("file.created", "new")),
    "create opens": (lambda d: touch(d / "new"), ("file.opened", "new")),
    "open": (with_file(os.O_RDONLY, lambda fd: None), ("file.opened", "file")),
    "mknod": (lambda d: os.mkfifo(d / "new"), ("file.created", "new")),
    "mkdir": (lambda d: (d / "new").mkdir(), ("dir.created", "new")),
    "rmdir": (lambda d: (d / "dir").rmdir(), ("dir.deleted", "dir")),
    "unlink": (lambda d: (d / "file").unlink(), ("file.deleted", "file")),
    "rename": (lambda d: (d / "file").rename(d / "new"), ("file.renamed", "file")),
    "replace": (lambda d: (d / "file").rename(d / "other"), ("file.replaced", "other")),
    "rename of a directory": (lambda d: (d / "dir").rename(d / "new"), ("dir.renamed", "dir")),
    "link": (lambda d: os.link(d / "file", d / "new"), ("file.linked", "file")),
    "symlink": (lambda d: (d / "new").symlink_to("x"), ("file.symlinked", "new")),
    "readlink": (lambda d: os.readlink(d / "link"), ("meta.readlink", "link")),
    "read": (with_file(os.O_RDONLY, lambda fd: os.read(fd, 3)), ("file.read", "file")),
    "pread": (with_file(os.O_RDONLY, lambda fd: os.pread(fd, 3, 2)), ("file.read", "file")),
    "write": (with_file(os.O_WRONLY, lambda fd: os.write(fd, b"x")), ("file.written", "file")),
    "append": (with_file(os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"x")), ("file.written", "file")),
    "truncate": (lambda d: os.truncate(d / "file", 3), ("file.truncated", "file")),
    "ftruncate": (with_file(os.O_WRONLY, lambda fd: os.ftruncate(fd, 3)), ("file.truncated", "file")),
    "truncating open": (with_file(os.O_WRONLY | os.O_TRUNC, lambda fd: None), ("file.truncated", "file")),
    "chmod": (lambda d: (d / "file").chmod(0o600), ("file.attr.mode", "file")),
    "fchmod": (with_file(os.O_RDONLY, lambda fd: os.fchmod(fd, 0o604)), ("file.attr.mode", "file")),
    "chown": (lambda d: os.chown(d / "file", 3, 4), ("file.attr.owner", "file")),
    "utime": (lambda d: os.utime(d / "file", (1, 2)), ("file.attr.times", "file")),
    "setxattr": (lambda d: os.setxattr(d / "file", "user.a", b"v"), ("file.attr.xattr", "file")),
    "removexattr": (lambda d: os.removexattr(d / "file", "user.old"), ("file.attr.xattr", "file")),
    "getxattr": (lambda d: os.getxattr(d / "file", "user.old"), ("meta.xattr", "file")),
    "listxattr": (lambda d: os.listxattr(d / "file"), ("meta.xattr", "file")),
    "listdir": (lambda d: os.listdir(d / "dir"), ("dir.listed", "dir")),
    "opendir": (lambda d: os.listdir(d / "dir"), ("dir.opened", "dir")),
    "fsync": (with_file(os.O_WRONLY, os.fsync), ("sync.fsync", "file")),
    "close": (with_file(os.O_WRONLY, lambda fd: None), ("sync.flush", "file")),
    "lookup": (lambda d: os.lstat(d / "new-name-via-backing"), ("meta.lookup", "new-name-via-backing")),
    "fallocate": (with_file(os.O_WRONLY, lambda fd: fallocate(fd, 0, 0, 99)), ("file.allocated", "file")),
    "copy_file_range": (copy_range, ("file.copied", "other")),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_event_is_there_when_the_call_returns(mount: Mount, directory: Path, name: str) -> None:
    """A reader that never waits finds the operation's event in the stream at once."""
    operation, (kind, entry) = OPERATIONS[name]
    prepare(directory)
    touch(mount.source / directory.name / "new-name-via-backing")
    with Listener(mount.mountpoint) as events:
        operation(directory)
        assert (kind, f"{directory.name}/{entry}") in brief(events.take())


def test_statfs_and_the_root_are_seen(mount: Mount) -> None:
    """statfs is an event of the root, whose path is empty."""
    with Listener(mount.mountpoint) as events:
        os.statvfs(mount.mountpoint)
        assert ("meta.statfs", "") in brief(events.take())


def test_every_call_of_a_long_row_is_there_when_it_returns(mount: Mount, directory: Path) -> None:
    """The promise holds call by call: three hundred in a row, looked for after each."""
    with Listener(mount.mountpoint, "dir.created,dir.deleted") as events:
        for number in range(150):
            (directory / str(number)).mkdir()
            assert brief(events.take()) == [("dir.created", f"{directory.name}/{number}")]
            (directory / str(number)).rmdir()
            assert brief(events.take()) == [("dir.deleted", f"{directory.name}/{number}")]


def test_order_is_that_of_the_operations(mount: Mount, directory: Path) -> None:
    """Two hundred random changes appear in the order in which they were made."""
    chance, wanted = random.Random(1), []
    prefix = f"{directory.name}/"
    with Listener(mount.mountpoint, "file.created,file.deleted,dir.created,file.symlinked,file.attr.mode") as events:
        for number in range(200):
            path = directory / str(number)
            kind = chance.choice(("file.created", "dir.created", "file.symlinked"))
            {"file.created": touch, "dir.created": os.mkdir, "file.symlinked": lambda to: os.symlink("x", to)}[kind](
                path
            )
            wanted.append((kind, f"{prefix}{number}"))
            if kind == "file.created" and chance.random() < 0.5:
                path.chmod(0o600)
                path.unlink()
                wanted += [("file.attr.mode", f"{prefix}{number}"), ("file.deleted", f"{prefix}{number}")]
        assert brief(events.take()) == wanted


def test_order_across_processes(mount: Mount, directory: Path) -> None:
    """When two processes take turns, their events take turns as well."""
    steps = [lambda number=number: os.mkdir(directory / f"b{number}") for number in range(20)]
    with Listener(mount.mountpoint, "dir.created") as events, Steps(steps) as other:
        for number in range(20):
            (directory / f"a{number}").mkdir()
            other.step()
        found = [Path(path).name for _, path in brief(events.take())]
    assert found == [name for number in range(20) for name in (f"a{number}", f"b{number}")]


def test_sequence_numbers_have_no_gap(mount: Mount, directory: Path) -> None:
    """A reader of everything sees every number exactly once, while four processes work."""

    def work() -> None:
        for number in range(50):
            path = make(directory / f"{os.getpid()}-{number}", b"text")
            path.stat()
            path.unlink()

    with Listener(mount.mountpoint) as events:
        together([work] * 4)
        found: list[Event] = events.take()
    numbers = [event["seq"] for event in found]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len(numbers) >= 4 * 50 * 4
    assert all(event["type"] != "system.gap" for event in found)


def test_time_stamps_do_not_run_backwards(mount: Mount, directory: Path) -> None:
    """Events of one process carry times in the order of their numbers, between before and after."""
    with Listener(mount.mountpoint, "dir.created") as events:
        for number in range(50):
            (directory / str(number)).mkdir()
        stamps = [event["ts"] for event in events.take()]
    assert stamps == sorted(stamps)


def test_close_comes_after_all_else_of_the_file(mount: Mount, directory: Path) -> None:
    """`file.closed` is the last event of an open file, and comes once, with the last descriptor."""
    with Listener(mount.mountpoint, "file") as events:
        with opened(directory / "file", os.O_CREAT | os.O_RDWR) as fd:
            twin = os.dup(fd)
            os.write(fd, b"text")
            os.pread(fd, 4, 0)
        assert "file.closed" not in [kind for kind, _ in brief(events.take())]
        os.close(twin)
        found = events.until(typed("file.closed"))
    assert brief(found) == [("file.closed", f"{directory.name}/file")]


def test_poll_wakes_a_reader(mount: Mount, directory: Path) -> None:
    """A reader that sleeps in poll wakes for the next event of its types, and for no other."""
    with Listener(mount.mountpoint, "dir.deleted") as events, Steps([lambda: os.rmdir(directory / "dir")]) as other:
        (directory / "dir").mkdir()
        other.begin()
        found = events.until(typed("dir.deleted"))
        other.finish()
    assert brief(found) == [("dir.deleted", f"{directory.name}/dir")]


def test_no_traced_read_or_write_goes_untold(mount: Mount) -> None:
    """Each is an event with its offset and length, in order; `python -m tests.soak traced` does a million."""
    trace(mount.mountpoint, 5000)
