"""Offsets beyond 4 GiB, and the limits of sizes."""

import fcntl
import mmap
import os
import resource
import signal
from pathlib import Path

from tests.posix.calls import attempt, make, opened, try_open

GIB = 1 << 30
RW = os.O_RDWR | os.O_CREAT
PLACES = ((1 << 31) - 2, (1 << 32) - 2, 5 * GIB + 3, 100 * GIB)


def check_write_and_read(directory: Path) -> object:
    """Data around 2 GiB, 4 GiB and beyond comes back from where it was put."""
    path, result = directory / "file", []
    with opened(path, RW) as fd:
        for place in PLACES:
            os.pwrite(fd, b"at %d" % place, place)
        for place in PLACES:
            result.append(os.pread(fd, 20, place - 2).rstrip(b"\0"))
        result.append(os.fstat(fd).st_size)
    assert result[:4] == [b"\0\0at %d" % place for place in PLACES]
    path.unlink()
    return result


def check_sequential_over_the_border(directory: Path) -> object:
    """write(2) goes on over the 4 GiB border."""
    path = directory / "file"
    with opened(path, RW) as fd:
        os.lseek(fd, 4 * GIB - 5, os.SEEK_SET)
        result = [os.write(fd, b"0123456789"), os.lseek(fd, 0, os.SEEK_CUR), os.pread(fd, 10, 4 * GIB - 5)]
    path.unlink()
    assert result == [10, 4 * GIB + 5, b"0123456789"]
    return result


def check_size(directory: Path) -> object:
    """Sizes above 4 GiB, by truncation, are reported and cut back."""
    path, result = make(directory / "file"), []
    for size in (4 * GIB - 1, 4 * GIB, 4 * GIB + 1, 1 << 40, 3):
        os.truncate(path, size)
        result.append(path.stat().st_size)
    assert result == [4 * GIB - 1, 4 * GIB, 4 * GIB + 1, 1 << 40, 3]
    return result


def check_append(directory: Path) -> object:
    """O_APPEND beyond 4 GiB."""
    path = make(directory / "file")
    os.truncate(path, 6 * GIB)
    with opened(path, os.O_RDWR | os.O_APPEND) as fd:
        os.write(fd, b"end")
        result = os.fstat(fd).st_size, os.pread(fd, 9, 6 * GIB)
    path.unlink()
    assert result == (6 * GIB + 3, b"end")
    return result


def check_seek_from_the_end(directory: Path) -> object:
    """SEEK_END and SEEK_CUR count beyond 4 GiB."""
    path = make(directory / "file")
    os.truncate(path, 7 * GIB)
    with opened(path, os.O_RDONLY) as fd:
        result = [os.lseek(fd, -1, os.SEEK_END), os.read(fd, 5), os.lseek(fd, -3 * GIB, os.SEEK_CUR)]
    path.unlink()
    assert result == [7 * GIB - 1, b"\0", 4 * GIB]
    return result


def check_mapping(directory: Path) -> object:
    """A mapping of a page beyond 4 GiB."""
    path = make(directory / "file")
    os.truncate(path, 5 * GIB)
    with opened(path, os.O_RDWR) as fd:
        with mmap.mmap(fd, 4096, offset=4 * GIB + 8192) as view:
            view[10:14] = b"here"
            view.flush()
        result = os.pread(fd, 6, 4 * GIB + 8192 + 9)
    path.unlink()
    assert result == b"\0here\0"
    return result


def check_holes(directory: Path) -> object:
    """SEEK_DATA finds data beyond 4 GiB; without support the whole file is data."""
    path = directory / "file"
    with opened(path, RW) as fd:
        os.pwrite(fd, b"x" * 4096, 9 * GIB)
        os.fsync(fd)
        found = os.lseek(fd, 4096, os.SEEK_DATA)
    path.unlink()
    assert found in (9 * GIB, 4096)
    return "found"


def check_locks(directory: Path) -> object:
    """Locks beyond 4 GiB."""
    path = make(directory / "file")
    with opened(path, os.O_RDWR) as fd:
        os.lseek(fd, 5 * GIB, os.SEEK_SET)
        result = attempt(os.lockf, fd, os.F_TLOCK, 4 * GIB), attempt(fcntl.lockf, fd, fcntl.LOCK_UN)
    assert result == (None, None)
    return result


def check_limit_of_the_process(directory: Path) -> object:
    """Beyond RLIMIT_FSIZE a write is cut, then EFBIG with SIGXFSZ; truncate too."""
    seen: list[int] = []
    signal.signal(signal.SIGXFSZ, lambda number, _: seen.append(number))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    with opened(directory / "file", RW) as fd:
        result = [
            os.write(fd, b"x" * 9_000),
            attempt(os.write, fd, b"y" * 5_000),
            attempt(os.write, fd, b"z"),
            attempt(os.ftruncate, fd, 20_000),
            attempt(os.ftruncate, fd, 10_000),
        ]
    assert result == [9_000, 1_000, "EFBIG", "EFBIG", None]
    return result, len(seen)


def check_read_far_beyond(directory: Path) -> object:
    """Reading at the largest offset gives nothing or EINVAL, alike on both."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_RDONLY) as fd:
        return [attempt(os.pread, fd, 4, place) for place in (1 << 40, 1 << 43)]


def check_sendfile(directory: Path) -> object:
    """sendfile from beyond 4 GiB."""
    path = directory / "file"
    with opened(path, RW) as fd, opened(directory / "copy", RW) as target:
        os.pwrite(fd, b"far away", 5 * GIB)
        result = [os.sendfile(target, fd, 5 * GIB, 100), os.pread(target, 20, 0)]
    path.unlink()
    assert result == [8, b"far away"]
    return result


def check_open_of_a_large_file(directory: Path) -> object:
    """A file above 2 GiB opens in every mode and is emptied by O_TRUNC."""
    path = make(directory / "file")
    os.truncate(path, 3 * GIB)
    result = [try_open(path, flags) for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_APPEND)]
    result += [try_open(path, os.O_WRONLY | os.O_TRUNC), path.stat().st_size]
    assert result == ["opened"] * 4 + [0]
    return result
