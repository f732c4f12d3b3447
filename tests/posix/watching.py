"""inotify(7) and dnotify: programs that watch a directory see what others do in it."""

import ctypes
import os
import select
import struct
from collections.abc import Callable
from pathlib import Path

from tests.posix.calls import make, opened
from tests.posix.children import in_child

MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x4, 0x8, 0x40, 0x80, 0x100, 0x200
NAMES = {MODIFY: "modify", ATTRIB: "attrib", CLOSE_WRITE: "close_write", MOVED_FROM: "moved_from"}
NAMES |= {MOVED_TO: "moved_to", CREATE: "create", DELETE: "delete", 0x400: "delete_self", 0x800: "move_self"}
libc = ctypes.CDLL(None, use_errno=True)


def watch(path: Path, work: Callable[[], object], mask: int = sum(NAMES)) -> list[tuple[str, str]]:
    """(event, name) for all that `work` in another process brings about at `path`."""
    fd = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(fd, os.fsencode(path), mask) >= 0
    in_child(work)
    found = []
    try:
        while select.select([fd], [], [], 0.05)[0]:
            data, at = os.read(fd, 65536), 0
            while at < len(data):
                _, event, _, length = struct.unpack_from("iIII", data, at)
                name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode()
                at += 16 + length
                found += [(NAMES[bit], name) for bit in NAMES if event & bit]
    finally:
        os.close(fd)
    return found


def check_create_and_delete(directory: Path) -> object:
    """A file's whole life is seen in order."""

    def work() -> None:
        path = make(directory / "file", b"text")
        path.chmod(0o600)
        path.unlink()

    result = watch(directory, work)
    assert result[0] == ("create", "file")
    assert result[-1] == ("delete", "file")
    return result


def check_directories(directory: Path) -> object:
    """Directories, links and fifos too."""

    def work() -> None:
        (directory / "dir").mkdir()
        (directory / "link").symlink_to("x")
        os.mkfifo(directory / "fifo")
        (directory / "dir").rmdir()

    result = watch(directory, work)
    assert ("create", "dir") in result
    return result


def check_rename(directory: Path) -> object:
    """A rename is two events, in both directories."""
    (directory / "a").mkdir()
    (directory / "b").mkdir()
    make(directory / "a" / "file")
    result = [watch(directory / "a", lambda: (directory / "a" / "file").rename(directory / "a" / "new"))]
    result.append(watch(directory / "b", lambda: (directory / "a" / "new").rename(directory / "b" / "there")))
    assert result == [[("moved_from", "file"), ("moved_to", "new")], [("moved_to", "there")]]
    return result


def check_writes(directory: Path) -> object:
    """A write and the close of a writer are seen on a file that is watched itself."""
    path = make(directory / "file", b"text")

    def work() -> None:
        with opened(path, os.O_WRONLY) as fd:
            os.write(fd, b"new")

    result = watch(path, work)
    assert ("modify", "") in result
    assert ("close_write", "") in result
    return result


def check_removal_of_the_watched(directory: Path) -> object:
    """Removal of a watched directory is seen."""
    (directory / "dir").mkdir()
    result = watch(directory / "dir", (directory / "dir").rmdir, 0xC00)
    assert result == [("delete_self", "")]
    return result
