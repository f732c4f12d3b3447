"""Guards on a real mount: they deny, delay, mark and audit before the operation, and never shut anybody out."""

import errno
import fcntl
import json
import mmap
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.mounting import Mount, mounted, scratch
from tests.posix.calls import linkat

pytestmark = pytest.mark.mount

BOOK = """
guards:
  - {name: sealed, operations: modify, paths: ["sealed", "sealed/**"], errno: EROFS}
  - {name: unread, operations: open-read, paths: "unread/*", errno: EACCES}
  - {name: kept, operations: [delete, rename], paths: "kept/**", errno: EPERM}
  - {name: frozen, operations: write, paths: "frozen/**", when: "state.frozen == true", errno: EROFS}
  - {name: slow, operations: [create], paths: "slow/**", action: delay, rate: 10/s, burst: 1, max_wait: 2s}
  - {name: noted, operations: [open-write, create, write, rename], paths: "noted/**", action: mark, mark: seen}
  - {name: watched, operations: delete, paths: "watched/**", mode: audit}
  - {name: by-name, operations: open-read, paths: "programs/*", comm: "hea*"}
  - {name: broken-open, operations: create, paths: "broken/open/*", when: "event.attrs.none.x + 1 > 1"}
  - {name: broken-closed, operations: create, paths: "broken/closed/*", when: "event.attrs.none.x + 1 > 1",
     failure: closed, errno: EIO}
  - {name: everywhere, operations: all, when: "state.shut == true", errno: EPERM}
system:
  maintenance: {read_only: "site/**"}
  emergency: {comm: touch, paths: "site/**"}
  high_load: {paths: "site/**", rate: 5/s, key: all, max_wait: 1s}
"""
DIRECTORIES = (
    *("sealed", "unread", "kept", "frozen", "slow", "noted", "watched", "programs", "broken/open", "site"),
    *("broken/closed", "free", "hot"),
)


@pytest.fixture(scope="module")
def mount() -> Iterator[Mount]:
    with scratch() as directory:
        source, workflows = directory / "source", directory / "workflows"
        for name in DIRECTORIES:
            (source / name).mkdir(parents=True)
            (source / name / "file").write_text("content")
        workflows.mkdir()
        (workflows / "book.yaml").write_text(BOOK)
        with mounted(source, arguments=("--workflows", str(workflows))) as one:
            yield one


def refused(code: int, action) -> bool:
    """Whether the action fails with that error."""
    try:
        action()
    except OSError as error:
        assert error.errno == code, error
        return True
    return False


class Stream:
    """What is published while the block runs."""

    def __init__(self, mount: Mount, type: str):
        self._path = mount.mountpoint / ".vexfs/events.d" / type
        self.events: list[dict] = []

    def __enter__(self):
        self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        return self

    def __exit__(self, *args):
        time.sleep(0.05)
        text = b""
        while True:
            try:
                part = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                break
            if not part:
                break
            text += part
        os.close(self._fd)
        self.events = [json.loads(line) for line in text.splitlines() if line]


def state(mount: Mount, assignment: str) -> None:
    (mount.mountpoint / ".vexfs/state").write_text(assignment + "\n")


def test_a_sealed_directory_cannot_be_changed_in_any_way(mount):
    """Every modifying operation gets the errno of the guard; reading does not."""
    sealed = mount.mountpoint / "sealed"
    file = sealed / "file"
    assert file.read_text() == "content" and os.listdir(sealed) == ["file"]
    outside = mount.mountpoint / "free/file"
    for action in (
        lambda: file.open("r+"),
        lambda: file.open("w"),
        lambda: (sealed / "new").open("x"),
        lambda: os.mkdir(sealed / "d"),
        lambda: os.mknod(sealed / "n"),
        lambda: os.mkfifo(sealed / "p"),
        lambda: os.symlink("x", sealed / "s"),
        lambda: os.link(outside, sealed / "l"),
        lambda: os.link(file, mount.mountpoint / "free/l"),
        lambda: os.unlink(file),
        lambda: os.rename(file, mount.mountpoint / "free/moved"),
        lambda: os.rename(outside, sealed / "moved"),
        lambda: os.rename(sealed, mount.mountpoint / "free/sealed"),
        lambda: os.truncate(file, 1),
        lambda: os.chmod(file, 0o600),
        lambda: os.chown(file, 1, 1),
        lambda: os.utime(file, (1, 1)),
        lambda: os.setxattr(file, "user.a", b"b"),
        lambda: os.removexattr(file, "user.a"),
    ):
        assert refused(errno.EROFS, action), action
    assert (mount.source / "sealed/file").read_text() == "content" and os.listdir(mount.source / "sealed") == ["file"]


def test_reading_can_be_denied(mount):
    """Writing goes on."""
    assert refused(errno.EACCES, (mount.mountpoint / "unread/file").read_text)
    with (mount.mountpoint / "unread/file").open("a") as file:
        file.write("more")


def test_what_is_kept_can_be_neither_deleted_nor_moved_nor_replaced(mount):
    """Nor can the directory above it be moved away, whose name the guard does not hold."""
    kept, free = mount.mountpoint / "kept", mount.mountpoint / "free"
    (free / "new").write_text("x")
    assert refused(errno.EPERM, lambda: os.unlink(kept / "file"))
    assert refused(errno.EPERM, lambda: os.rename(kept / "file", free / "taken"))
    assert refused(errno.EPERM, lambda: os.rename(free / "new", kept / "file"))
    assert refused(errno.EPERM, lambda: os.rename(kept, free / "kept"))
    (kept / "file").write_text("changed")


def test_each_write_is_judged_when_a_guard_may_want_to(mount):
    """A file that is open already stops taking writes when the state says so: by write, mapping and allocation."""
    with (mount.mountpoint / "frozen/file").open("r+b", buffering=0) as file:
        file.write(b"first")
        os.posix_fallocate(file.fileno(), 0, 8192)
        state(mount, "frozen = true")
        assert refused(errno.EROFS, lambda: file.write(b"second"))
        assert refused(errno.EROFS, lambda: os.posix_fallocate(file.fileno(), 0, 16384))
        with mmap.mmap(file.fileno(), 4096) as mapping:
            mapping[0:4] = b"evil"
            with pytest.raises(OSError):
                mapping.flush()
        state(mount, "frozen = false")
        file.write(b"third")
    assert b"evil" not in (mount.source / "frozen/file").read_bytes()


def test_files_that_were_open_natively_before_are_named():
    """One that is renamed to where each write is judged goes on natively, and the status says so until it is closed."""
    book = 'guards: [{name: frozen, operations: write, paths: "frozen/**", when: "state.frozen == true"}]'
    with scratch() as directory:
        (directory / "source" / "frozen").mkdir(parents=True)
        (directory / "workflows").mkdir()
        (directory / "workflows" / "book.yaml").write_text(book)
        with mounted(directory / "source", arguments=("--workflows", str(directory / "workflows"))) as one:
            status = one.mountpoint / ".vexfs" / "status"
            if "kernel passthrough" not in status.read_text():
                pytest.skip("every read and write comes to VexFS here")
            with (one.mountpoint / "open").open("w"):
                assert "unjudged" not in status.read_text()
                (one.mountpoint / "open").rename(one.mountpoint / "frozen" / "moved")
                assert "1 open natively though a guard judges writes there: frozen/moved" in status.read_text()
            with (one.mountpoint / "frozen" / "late").open("w"):
                assert "unjudged" not in status.read_text()


def test_delays_spread_requests_and_let_others_pass(mount):
    """Ten a second for each, one at once; meanwhile the mount answers everybody else."""
    begin = time.monotonic()
    for number in range(5):
        (mount.mountpoint / f"slow/{number}").touch()
    assert 0.35 <= time.monotonic() - begin < 10
    waiting = threading.Thread(target=lambda: [(mount.mountpoint / f"slow/b{n}").touch() for n in range(15)])
    waiting.start()
    for number in range(5):
        (mount.mountpoint / f"free/quick{number}").touch()
    assert waiting.is_alive()
    waiting.join()


def test_a_mark_shows_in_the_events_of_the_operation_alone(mount):
    """In those of the open, the write and the creation; not in those of others at the same time."""
    with Stream(mount, "file") as stream:
        (mount.mountpoint / "noted/a").write_text("x")
        (mount.mountpoint / "free/a").write_text("x")
        os.rename(mount.mountpoint / "noted/a", mount.mountpoint / "noted/b")
    marks = {(e["type"], e["path"]): e.get("attrs", {}).get("mark") for e in stream.events}
    assert marks["file.created", "noted/a"] == marks["file.opened", "noted/a"] == "seen", marks
    assert marks["file.written", "noted/a"] == marks["file.renamed", "noted/a"] == "seen", marks
    assert not any(mark for (_, path), mark in marks.items() if path.startswith("free"))


def test_denials_are_events_and_in_the_log(mount):
    """With guard, caller, path and operation; in audit mode too, where the operation is done."""
    with Stream(mount, "rule.denied") as stream:
        os.unlink(mount.mountpoint / "watched/file")
        assert refused(errno.EROFS, lambda: os.unlink(mount.mountpoint / "sealed/file"))
    audit, denied = stream.events
    assert audit["attrs"] == {"rule": "watched", "operation": "delete", "answer": "EPERM", "mode": "audit"}
    assert denied["attrs"]["rule"] == "sealed" and denied["path"] == "sealed/file" and denied["pid"] == os.getpid()
    assert not (mount.source / "watched/file").exists()
    assert "guard watched would have denied" in mount.text() and "guard sealed denied uid" in mount.text()


def test_the_program_decides(mount):
    """By its name, as the kernel knows it."""
    file = str(mount.mountpoint / "programs/file")
    assert subprocess.run(["head", file], capture_output=True, check=False).returncode != 0
    assert subprocess.run(["tail", file], capture_output=True, check=False).stdout == b"content"


def test_a_guard_that_fails_does_what_it_declares(mount):
    """Open: the operation is done; closed: it is denied."""
    (mount.mountpoint / "broken/open/new").touch()
    assert refused(errno.EIO, (mount.mountpoint / "broken/closed/new").touch)
    status = yaml.safe_load((mount.mountpoint / ".vexfs/rules/broken-open/status").read_text())
    assert status["counts"]["failed"] == 1 and "none" in status["last_error"]


def test_nobody_is_locked_out_of_the_control_tree(mount):
    """A guard over everything leaves `/.vexfs` alone, where it is undone; one that names it is refused."""
    state(mount, "shut = true")
    assert refused(errno.EPERM, (mount.mountpoint / "free/file").read_text)
    assert "vexfs" in (mount.mountpoint / ".vexfs/README").read_text().lower()
    (mount.mountpoint / ".vexfs/rules/everywhere/enabled").write_text("0\n")
    assert (mount.mountpoint / "free/file").read_text() == "content"
    state(mount, "shut = false")
    bad = 'guards: [{name: evil, operations: all, paths: ".vexfs/**"}]'
    assert refused(errno.EINVAL, lambda: (mount.mountpoint / ".vexfs/workflows/evil.yaml").write_text(bad))
    assert "lock anybody out" in (mount.mountpoint / ".vexfs/error").read_text()


def test_system_states_act(mount):
    """Maintenance makes read-only, Emergency blocks writers, HighLoad slows down; Normal does nothing."""
    site = mount.mountpoint / "site"
    (site / "file").write_text("normal")
    try:
        state(mount, 'system.state = "Maintenance"')
        assert refused(errno.EROFS, lambda: (site / "file").write_text("x"))
        assert (site / "file").read_text() == "normal"
        state(mount, 'system.state = "Emergency"')
        assert subprocess.run(["touch", str(site / "new")], capture_output=True, check=False).returncode != 0
        (site / "other").write_text("x")
        state(mount, 'system.state = "HighLoad"')
        begin = time.monotonic()
        for _ in range(4):
            (site / "file").read_text()
        assert time.monotonic() - begin > 0.4
    finally:
        state(mount, 'system.state = "Normal"')
    (site / "file").write_text("normal")


def test_guards_change_under_load_without_a_gap(mount):
    """While files are created, a guard is swapped between two forms that both deny: nothing slips through."""
    book = mount.mountpoint / ".vexfs/workflows/hot.yaml"
    form = 'guards: [{{name: hot, operations: [create], paths: "hot/**", errno: {errno}}}]'
    book.write_text(form.format(errno="EPERM"))
    seen: set[int] = set()
    done = threading.Event()

    def knock() -> None:
        while not done.is_set():
            try:
                (Path(mount.mountpoint) / "hot/new").touch()
                seen.add(0)
            except OSError as error:
                seen.add(error.errno or -1)

    thread = threading.Thread(target=knock)
    thread.start()
    for number in range(20):
        book.write_text(form.format(errno=("EPERM", "EROFS")[number % 2]))
    done.set()
    thread.join()
    assert seen == {errno.EPERM, errno.EROFS}
    os.unlink(book)
    (mount.mountpoint / "hot/new").touch()


def test_an_unnamed_file_is_judged_when_it_gets_a_name(mount: Mount) -> None:
    """O_TMPFILE and a link are no way around a guard on `create`."""
    where = mount.mountpoint
    assert refused(errno.EROFS, lambda: os.open(where / "sealed", os.O_TMPFILE | os.O_RDWR))
    fd = os.open(where / "free", os.O_TMPFILE | os.O_RDWR)
    refuse = where / "broken" / "closed" / "named"
    assert refused(errno.EIO, lambda: linkat(-100, b"/proc/self/fd/%d" % fd, refuse, 0x400))
    linkat(-100, b"/proc/self/fd/%d" % fd, where / "free" / "named", 0x400)
    os.close(fd)


def test_inode_flags_are_guarded_like_a_mode(mount: Mount) -> None:
    """chattr asks the guards for `chmod`."""
    fd = os.open(mount.mountpoint / "sealed" / "file", os.O_RDONLY)
    assert refused(errno.EROFS, lambda: fcntl.ioctl(fd, 0x40086602, bytes(8)))
    os.close(fd)
