"""A handler that raises costs its caller an EIO and the log a traceback; the mount lives on."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.listening import Listener, typed
from tests.mounting import MOUNT_PREFIX, REPOSITORY, Mount, scratch, serving
from tests.posix.calls import attempt, fallocate, make, opened

pytestmark = pytest.mark.mount


@dataclass(frozen=True, slots=True)
class Faulty:
    """A mount whose handlers raise while `faults` names them."""

    mount: Mount
    faults: Path

    @property
    def root(self) -> Path:
        """Where to work."""
        return self.mount.mountpoint


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """One such mount; attributes and names are not cached, so that every call reaches its handler."""
    faults = tmp_path_factory.mktemp("faults") / "fault"
    faults.write_text("")
    with scratch() as source, scratch() as workflows, scratch() as directory:
        point = directory / MOUNT_PREFIX
        point.mkdir()
        command = [sys.executable, str(REPOSITORY / "tests" / "programs" / "faulty.py"), str(faults), "--foreground"]
        command += [str(source), str(point), "--workflows", str(workflows), "-o", "allow_other"]
        command += ["--attr-timeout", "0", "--entry-timeout", "0"]
        with serving(command, source, point, point / ".vexfs" / "README") as mount:
            yield Faulty(mount, faults)
        mount.log.unlink()


def on_file(flags: int, work: Callable[[int], object]) -> Callable[[Path], object]:
    """A call on an open descriptor; what `work` returns or its errno's name."""

    def call(root: Path) -> object:
        fd = FILES[flags]
        return attempt(work, fd)

    return call


FILES: dict[int, int] = {}
RW = os.O_RDWR

# Handler → a call that reaches it.
CALLS: dict[str, Callable[[Path], object]] = {
    "lookup": lambda root: attempt(os.lstat, root / "unseen"),
    "getattr": lambda root: attempt(os.stat, root / "file"),
    "setattr": lambda root: attempt(os.chmod, root / "file", 0o600),
    "readlink": lambda root: attempt(os.readlink, root / "link"),
    "mknod": lambda root: attempt(os.mkfifo, root / "fifo"),
    "mkdir": lambda root: attempt(os.mkdir, root / "new-dir"),
    "unlink": lambda root: attempt(os.unlink, root / "other"),
    "rmdir": lambda root: attempt(os.rmdir, root / "dir"),
    "symlink": lambda root: attempt(os.symlink, "x", root / "new-link"),
    "rename": lambda root: attempt(os.rename, root / "file", root / "moved"),
    "link": lambda root: attempt(os.link, root / "file", root / "linked"),
    "open": lambda root: attempt(os.open, root / "file", os.O_RDONLY),
    "create": lambda root: attempt(os.open, root / "created", os.O_CREAT | os.O_WRONLY),
    "read": on_file(RW, lambda fd: os.pread(fd, 10, 0)),
    "write": on_file(RW, lambda fd: os.pwrite(fd, b"x", 0)),
    "fsync": on_file(RW, os.fsync),
    "opendir": lambda root: attempt(os.listdir, root / "dir"),
    "statfs": lambda root: attempt(os.statvfs, root),
    "setxattr": lambda root: attempt(os.setxattr, root / "file", "user.a", b"x"),
    "getxattr": lambda root: attempt(os.getxattr, root / "file", "user.b"),
    "listxattr": lambda root: attempt(os.listxattr, root / "file"),
    "removexattr": lambda root: attempt(os.removexattr, root / "file", "user.b"),
    "fallocate": on_file(RW, lambda fd: fallocate(fd, 0, 0, 10)),
}


@pytest.mark.parametrize("handler", CALLS)
def test_a_raising_handler_is_an_error_of_one_call(faulty: Faulty, handler: str) -> None:
    """The call that met the fault fails with EIO, the traceback is in the log, and the same call works afterwards."""
    behind, root = faulty.mount.source / handler, faulty.root / handler
    behind.mkdir()
    for name in ("file", "other", "unseen"):
        make(behind / name, b"text")
    (behind / "link").symlink_to("file")
    (behind / "dir").mkdir()
    os.setxattr(behind / "file", "user.b", b"x")
    with Listener(faulty.root), opened(root / "file", RW) as fd:  # with a listener opens are traced
        FILES[RW] = fd
        faulty.faults.write_text(handler)
        outcome = CALLS[handler](root)
        faulty.faults.write_text("")
        assert outcome == "EIO"
        again = CALLS[handler](root)
        assert not (isinstance(again, str) and again.isupper()), f"afterwards it is {again}"
        if handler in ("open", "create"):
            assert isinstance(again, int)
            os.close(again)
    assert f"a fault in {handler}" in faulty.mount.text()


@pytest.mark.parametrize("handler", ["flush", "release", "releasedir", "forget", "readdir", "entries", "access"])
def test_a_raising_handler_that_nobody_waits_for(faulty: Faulty, handler: str) -> None:
    """A fault where the caller hears nothing, or little, of it: the mount lives on."""
    root = faulty.root
    faulty.faults.write_text(handler)
    attempt(make, root / "file", b"text")
    attempt(os.listdir, root)
    attempt(os.unlink, root / "file")
    faulty.faults.write_text("")
    make(root / "file", b"more")
    assert (root / "file").read_bytes() == b"more"
    (root / "file").unlink()


def test_events_go_on_after_a_fault(faulty: Faulty) -> None:
    """The stream tells of what succeeds after a failure, in order."""
    with Listener(faulty.root, "dir") as events:
        faulty.faults.write_text("mkdir")
        assert attempt(os.mkdir, faulty.root / "one") == "EIO"
        faulty.faults.write_text("")
        (faulty.root / "one").mkdir()
        assert [event["path"] for event in events.until(typed("dir.created"))] == ["one"]
    (faulty.root / "one").rmdir()
