"""What single events say: closes, saves by rename, failures, names."""

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.listening import Event, Listener, brief, typed
from tests.mounting import Mount, mounted, scratch
from tests.posix.calls import attempt, linkat, make, opened, renameat2

pytestmark = pytest.mark.mount


@pytest.fixture(scope="module")
def failing() -> Iterator[Mount]:
    """A mount that reports failed operations."""
    with scratch() as source, scratch() as workflows:
        arguments = ("--workflows", str(workflows), "--failed-events")
        with mounted(source, arguments=arguments) as live:
            yield live


def before(mount: Mount, name: str, data: bytes) -> Path:
    """A file that is there already: made behind the mount, since a close through it may be reported a moment later; and
    the watch has told of it.
    """
    with Listener(mount.mountpoint, "file.closed") as events:
        make(mount.source / name, data, 0o644)
        events.until(typed("file.closed", name))
    return mount.mountpoint / name


def closed(events: Listener, path: str) -> Event:
    """The close of this file."""
    return events.until(typed("file.closed", path))[-1]


# The types that a reader listens to: with all of `file` an open is traced, with closes alone it is native.
READERS = pytest.mark.parametrize("types", ["file", "file.closed"], ids=["traced", "native"])


@READERS
def test_close_of_a_written_file(mount: Mount, types: str) -> None:
    """`file.closed` says that the file was written, its size, and the size before; traced also how many bytes."""
    path = before(mount, f"written-{types}", b"old")
    with Listener(mount.mountpoint, types) as events:
        with opened(path, os.O_RDWR) as fd:
            os.pwrite(fd, b"12345", 10)
            os.pwrite(fd, b"12345", 0)
        event = closed(events, path.name)
    attrs = event["attrs"]
    assert (attrs["written"], event["size"], attrs["size_before"], attrs["created"]) == (True, 15, 3, False)
    assert attrs["bytes_written"] == (10 if types == "file" else None)


@READERS
def test_close_of_a_file_that_was_only_read(mount: Mount, types: str) -> None:
    """`file.closed` says that nothing was written, even though the file was open for writing."""
    path = before(mount, f"read-{types}", b"old")
    with Listener(mount.mountpoint, types) as events:
        with opened(path, os.O_RDWR) as fd:
            os.read(fd, 10)
        event = closed(events, path.name)
    assert (event["attrs"]["written"], event["attrs"]["mode"]) == (False, "rw")


@READERS
def test_close_of_a_new_file(mount: Mount, types: str) -> None:
    """`file.closed` of a file that this open created says so."""
    path = mount.mountpoint / f"new-{types}"
    with Listener(mount.mountpoint, types) as events:
        path.write_bytes(b"new")
        event = closed(events, path.name)
    assert (event["attrs"]["created"], event["attrs"]["written"], event["size"]) == (True, True, 3)


def test_traced_reads_and_writes_say_where(mount: Mount) -> None:
    """Each read and write carries its offset and length."""
    path = before(mount, "where", b"0123456789")
    with Listener(mount.mountpoint, "file.read,file.written") as events, opened(path, os.O_RDWR) as fd:
        os.pread(fd, 3, 4)
        os.pwrite(fd, b"ab", 7)
        os.pread(fd, 100, 8)
        found = [(event["type"], event["offset"], event["length"]) for event in events.take()]
    assert found == [("file.read", 4, 3), ("file.written", 7, 2), ("file.read", 8, 2)]


def test_native_write_is_summed_up_at_the_close(mount: Mount) -> None:
    """A file opened before anybody listened to writes shows one `file.written` summary when it is closed."""
    fd = os.open(mount.mountpoint / "late", os.O_CREAT | os.O_WRONLY)
    with Listener(mount.mountpoint, "file.written,file.closed") as events:
        os.write(fd, b"x" * 1000)
        os.close(fd)
        found = events.until(typed("file.closed"))
    kinds = brief(found)
    assert kinds == [("file.written", "late"), ("file.closed", "late")]
    assert found[0]["attrs"]["summary"] is True


def save_by_rename(path: Path, data: bytes) -> None:
    """What editors do: a temporary file beside the old one, synced, then renamed over it."""
    temporary = path.with_name(f".{path.name}.tmp")
    with opened(temporary, os.O_CREAT | os.O_WRONLY | os.O_EXCL) as fd:
        os.write(fd, data)
        os.fsync(fd)
    temporary.rename(path)


def test_save_by_rename_is_one_replacement(mount: Mount) -> None:
    """A save by rename yields one `file.replaced` of the file's own name, saying what it was before."""
    path = before(mount, "text", b"first version")
    with Listener(mount.mountpoint, "file.replaced") as events:
        save_by_rename(path, b"second")
        found = events.take()
    assert brief(found) == [("file.replaced", "text")]
    assert (found[0]["size"], found[0]["attrs"]["size_before"], found[0]["attrs"]["from"]) == (6, 13, ".text.tmp")


def test_rename_to_a_new_name_replaces_nothing(mount: Mount) -> None:
    """A rename to a free name, an exchange, and a rename of one link over another are no replacements."""
    path = before(mount, "plain", b"x")
    before(mount, "second", b"y")
    os.link(path, mount.mountpoint / "twin")
    with Listener(mount.mountpoint, "file.replaced,file.renamed") as events:
        os.rename(path, mount.mountpoint / "twin")
        renameat2(path, mount.mountpoint / "second", 2)
        os.rename(path, mount.mountpoint / "fresh")
        kinds = brief(events.take())
    assert "file.replaced" not in [kind for kind, _ in kinds]
    assert kinds[-1] == ("file.renamed", "plain")


def test_rename_carries_both_names(mount: Mount) -> None:
    """`path` is the old name, `dest` the new one, below directories too."""
    (mount.mountpoint / "from-dir").mkdir()
    (mount.mountpoint / "to-dir").mkdir()
    make(mount.mountpoint / "from-dir" / "a", b"12")
    with Listener(mount.mountpoint, "file.renamed") as events:
        os.rename(mount.mountpoint / "from-dir" / "a", mount.mountpoint / "to-dir" / "b")
        event = events.take()[0]
    assert (event["path"], event["dest"], event["size"]) == ("from-dir/a", "to-dir/b", 2)


def test_paths_follow_a_renamed_directory(mount: Mount) -> None:
    """After a directory above was renamed, events of an open file carry its present path."""
    (mount.mountpoint / "above").mkdir()
    with Listener(mount.mountpoint, "file.written") as events:
        with opened(mount.mountpoint / "above" / "file", os.O_CREAT | os.O_WRONLY) as fd:
            (mount.mountpoint / "above").rename(mount.mountpoint / "higher")
            os.write(fd, b"x")
        assert brief(events.take()) == [("file.written", "higher/file")]


def test_inode_is_that_of_stat(mount: Mount) -> None:
    """The inode number of an event is the one that stat shows."""
    with Listener(mount.mountpoint, "file.created") as events:
        path = make(mount.mountpoint / "numbered")
        assert events.take()[0]["inode"] == path.stat().st_ino


def test_odd_names_survive_json(mount: Mount) -> None:
    """Names that are no UTF-8, with newlines and quotes, come back from the stream as they are."""
    names = [b"caf\xe9", b"a\nb", b'"quoted"', b"\xff\xfe", "🙂".encode(), b"\x1b[1m"]
    root = os.fsencode(mount.mountpoint)
    with Listener(mount.mountpoint, "dir.created") as events:
        for name in names:
            os.mkdir(root + b"/" + name)
        assert [os.fsencode(event["path"]) for event in events.take()] == names


def test_attribute_changes_say_what_changed(mount: Mount) -> None:
    """Mode, owner, size and attribute events carry the new values."""
    path = before(mount, "attributes", b"12345")
    with Listener(mount.mountpoint, "file.attr,file.truncated") as events:
        path.chmod(0o750)
        os.chown(path, 11, 12)
        os.truncate(path, 2)
        os.setxattr(path, "user.key", b"abc")
        os.removexattr(path, "user.key")
        found = {(event["type"], index): event for index, event in enumerate(events.take())}
    assert [kind for kind, _ in found] == [
        "file.attr.mode",
        "file.attr.owner",
        "file.truncated",
        "file.attr.xattr",
        "file.attr.xattr",
    ]
    by_kind = list(found.values())
    assert by_kind[1]["attrs"]["uid"] == 11
    assert (by_kind[2]["size"], by_kind[2]["attrs"]["size_before"]) == (2, 5)
    assert by_kind[3]["attrs"]["name"] == by_kind[4]["attrs"]["name"] == "user.key"


# What fails, the event that it would have been, and the error's name.
FAILURES = {
    "rmdir of a full directory": (lambda root: os.rmdir(root / "full"), "dir.deleted", "full", "ENOTEMPTY"),
    "rename over a full directory": (
        lambda root: os.rename(root / "dir", root / "full"),
        "file.renamed",
        "dir",
        "ENOTEMPTY",
    ),
    "lookup of nothing": (lambda root: os.stat(root / "nothing"), "meta.lookup", "nothing", "ENOENT"),
    "truncation beyond all": (lambda root: os.truncate(root / "file", (1 << 63) - 1), "file.attr", "file", "EFBIG"),
    "removal of no attribute": (
        lambda root: os.removexattr(root / "file", "user.x"),
        "file.attr.xattr",
        "file",
        "ENODATA",
    ),
}


def failures(mount: Mount, name: str) -> tuple[str, list[Event]]:
    """Do what fails; the errno's name and the events."""
    operation, _, _, _ = FAILURES[name]
    root = mount.mountpoint
    if not (root / "full").exists():
        (root / "full" / "sub").mkdir(parents=True)
        (root / "dir").mkdir()
        make(root / "file")
    with Listener(root) as events:
        try:
            operation(root)
        except OSError as error:
            assert error.errno is not None
            return errno.errorcode[error.errno], events.take()
    raise AssertionError(f"{name} did not fail")


@pytest.mark.parametrize("name", FAILURES)
def test_failed_operations_where_asked(failing: Mount, name: str) -> None:
    """With --failed-events a failed operation is an event with the error's name and who it was."""
    _, kind, path, code = FAILURES[name]
    result, found = failures(failing, name)
    matching = [event for event in found if event.get("errno") == code and event["path"] == path]
    assert result == code
    assert matching, f"no failed event among {brief(found)}"
    assert matching[0]["pid"] == os.getpid()
    assert matching[0]["type"] == kind


@pytest.mark.parametrize("name", FAILURES)
def test_failed_operations_are_silent_by_default(mount: Mount, name: str) -> None:
    """Without the option nothing fails in the stream."""
    _, found = failures(mount, name)
    assert not [event for event in found if "errno" in event]


def test_events_are_off_limits_to_others(mount: Mount) -> None:
    """The stream is the owner's: another user is refused."""
    from tests.posix.children import ALICE, as_user

    for name in ("events", "events.d/file", "ctl", "state"):
        assert as_user(ALICE, attempt, os.open, mount.mountpoint / ".vexfs" / name, os.O_RDONLY) == "EACCES"


def test_a_file_without_a_name(mount: Mount) -> None:
    """O_TMPFILE: created as `#unnamed` in its directory; a link names it, and the close tells the name."""
    with Listener(mount.mountpoint, "file") as events:
        with opened(mount.mountpoint, os.O_TMPFILE | os.O_RDWR, 0o600) as fd:
            os.write(fd, b"text")
            linkat(-100, b"/proc/self/fd/%d" % fd, mount.mountpoint / "named", 0x400)
        found = events.until(typed("file.closed"))
    told = [event for event in found if event["type"] in ("file.created", "file.linked", "file.closed")]
    assert brief(told) == [("file.created", "#unnamed"), ("file.linked", "#unnamed"), ("file.closed", "named")]
    assert (told[0]["attrs"]["unnamed"], told[1]["dest"], told[2]["attrs"]["written"]) == (True, "named", True)
    assert len({event["inode"] for event in told}) == 1


def test_inode_flags(mount: Mount) -> None:
    """chattr and lsattr are events with the flags."""
    path = before(mount, "flagged", b"")
    with Listener(mount.mountpoint, "file.attr.flags,meta.flags") as events:
        with opened(path, os.O_RDONLY) as fd:
            fcntl.ioctl(fd, 0x40086602, b"\x40" + bytes(7))  # FS_NODUMP_FL
            fcntl.ioctl(fd, 0x80086601, bytes(8))
        found = [(event["type"], event["path"], int(event["attrs"]["flags"], 16) & 0x40) for event in events.take()]
    assert ("file.attr.flags", "flagged", 0x40) in found
    assert found[-1] == ("meta.flags", "flagged", 0x40)
