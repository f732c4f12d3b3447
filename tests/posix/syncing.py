"""fsync(2) and its relatives."""

import ctypes
import mmap
import os
from pathlib import Path

from tests.posix.calls import attempt, make, opened
from tests.posix.children import ALICE, as_user

libc = ctypes.CDLL(None, use_errno=True)


def raw(name: str, *arguments: object) -> object:
    """A call of the C library: 0, or the errno's number."""
    return ctypes.get_errno() if getattr(libc, name)(*arguments) < 0 else 0


def check_every_kind(directory: Path) -> object:
    """fsync and fdatasync of files and directories, in any access mode."""
    path = make(directory / "file", b"text")
    result = []
    for target, flags in ((path, os.O_RDONLY), (path, os.O_WRONLY), (path, os.O_RDWR), (directory, os.O_RDONLY)):
        with opened(target, flags) as fd:
            result += [attempt(os.fsync, fd), attempt(os.fdatasync, fd)]
    assert result == [None] * 8
    return result


def check_wrong_kinds(directory: Path) -> object:
    """fsync of a fifo is EINVAL, of an O_PATH or closed descriptor EBADF."""
    os.mkfifo(directory / "fifo")
    with opened(directory / "fifo", os.O_RDWR) as fd:
        result = [attempt(os.fsync, fd)]
    with opened(directory, os.O_PATH) as fd:
        result.append(attempt(os.fsync, fd))
    result.append(attempt(os.fsync, fd))
    assert result == ["EINVAL", "EBADF", "EBADF"]
    return result


def check_by_users(directory: Path) -> object:
    """An unprivileged user may fsync what he may open."""
    path = make(directory / "file", mode=0o644)

    def work() -> object:
        with opened(path, os.O_RDONLY) as fd, opened(directory, os.O_RDONLY) as dir_fd:
            return attempt(os.fsync, fd), attempt(os.fsync, dir_fd)

    result = as_user(ALICE, work)
    assert result == (None, None)
    return result


def check_synchronous_writes(directory: Path) -> object:
    """O_SYNC, O_DSYNC and O_RSYNC write and read as usual."""
    result = []
    for flag in (os.O_SYNC, os.O_DSYNC, os.O_RSYNC):
        with opened(directory / "file", os.O_RDWR | os.O_CREAT | os.O_TRUNC | flag) as fd:
            result += [os.write(fd, b"text"), os.pread(fd, 9, 0)]
    assert result == [4, b"text"] * 3
    return result


def check_ranges(directory: Path) -> object:
    """sync_file_range takes ranges, and refuses bad flags and places."""
    path = make(directory / "file", b"x" * 20_000)
    with opened(path, os.O_RDWR) as fd:
        cases = ((0, 0, 7), (4096, 4096, 2), (0, 0, 99), (-1, 5, 2))
        return [raw("sync_file_range", fd, ctypes.c_long(at), ctypes.c_long(size), how) for at, size, how in cases]


def check_whole_filesystem(directory: Path) -> object:
    """syncfs through any descriptor."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_RDONLY) as fd, opened(directory, os.O_RDONLY) as dir_fd:
        result = [raw("syncfs", fd), raw("syncfs", dir_fd)]
    assert result == [0, 0]
    return result


def check_mapping(directory: Path) -> object:
    """msync of a mapping, then fsync, then a direct read."""
    path = make(directory / "file", b"x" * mmap.PAGESIZE)
    with opened(path, os.O_RDWR) as fd, mmap.mmap(fd, mmap.PAGESIZE) as view:
        view[0:4] = b"sync"
        result = [view.flush(), attempt(os.fsync, fd), path.read_bytes()[:6]]
    assert result == [None, None, b"syncxx"]
    return result


def check_after_each_kind_of_change(directory: Path) -> object:
    """The usual ways to make a change durable: file then directory, after create, rename and unlink."""
    result = []
    with opened(directory, os.O_RDONLY | os.O_DIRECTORY) as dir_fd:
        with opened(directory / "new", os.O_WRONLY | os.O_CREAT) as fd:
            os.write(fd, b"text")
            result.append(attempt(os.fsync, fd))
        os.rename(directory / "new", directory / "file")
        result.append(attempt(os.fsync, dir_fd))
        os.unlink(directory / "file")
        result.append(attempt(os.fsync, dir_fd))
    assert result == [None] * 3
    return result
