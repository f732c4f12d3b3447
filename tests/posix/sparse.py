"""Holes: reading them, finding them, filling them."""

import errno
import hashlib
import os
from pathlib import Path

from tests.posix.calls import attempt, make, opened

PAGE = 4096
RW = os.O_RDWR | os.O_CREAT


def islands(path: Path, *pages: int, size: int = 64) -> Path:
    """A file of `size` pages with data in these pages only."""
    with opened(path, RW) as fd:
        os.ftruncate(fd, size * PAGE)
        for page in pages:
            os.pwrite(fd, bytes([65 + page % 26]) * PAGE, page * PAGE)
        os.fsync(fd)
    return path


def extents(path: Path) -> list[tuple[int, int]]:
    """(start, end) of each run of data, by SEEK_DATA and SEEK_HOLE."""
    found = []
    with opened(path, os.O_RDONLY) as fd:
        at = 0
        while True:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as error:
                assert error.errno == errno.ENXIO
                return found
            at = os.lseek(fd, start, os.SEEK_HOLE)
            found.append((start, at))


def check_reads_zeros(directory: Path) -> object:
    """A hole reads as zeros."""
    path = islands(directory / "file", 3, 10)
    data = path.read_bytes()
    assert data.count(0) == 62 * PAGE
    return hashlib.sha256(data).hexdigest()


def check_finding_data(directory: Path) -> object:
    """SEEK_DATA and SEEK_HOLE tell where the data is."""
    path = islands(directory / "file", 0, 1, 5, 20, 63)
    result = extents(path)
    assert result == [(0, 2 * PAGE), (5 * PAGE, 6 * PAGE), (20 * PAGE, 21 * PAGE), (63 * PAGE, 64 * PAGE)]
    return result


def check_finding_in_whole_hole(directory: Path) -> object:
    """A file that is all hole has no data."""
    path = islands(directory / "file")
    with opened(path, os.O_RDONLY) as fd:
        result = [attempt(os.lseek, fd, 0, os.SEEK_DATA), attempt(os.lseek, fd, 100, os.SEEK_HOLE)]
    assert result == ["ENXIO", 100]
    return result


def check_finding_in_dense_file(directory: Path) -> object:
    """The end of a file counts as a hole."""
    path = make(directory / "file", b"x" * 10_000)
    with opened(path, os.O_RDONLY) as fd:
        places = (0, 1, 9_999)
        result = [[os.lseek(fd, at, how) for at in places] for how in (os.SEEK_DATA, os.SEEK_HOLE)]
    assert result == [[0, 1, 9_999], [10_000, 10_000, 10_000]]
    return result


def check_finding_beyond_the_end(directory: Path) -> object:
    """At and beyond the end both are ENXIO; before the start they fail."""
    path = make(directory / "file", b"x" * 100)
    with opened(path, os.O_RDONLY) as fd:
        result = [attempt(os.lseek, fd, at, how) for at in (100, 101, 1 << 40) for how in (os.SEEK_DATA, os.SEEK_HOLE)]
        result += [attempt(os.lseek, fd, -1, how) for how in (os.SEEK_DATA, os.SEEK_HOLE)]
    assert result[:6] == ["ENXIO"] * 6
    return result


def check_finding_moves_the_position(directory: Path) -> object:
    """SEEK_DATA moves the position of the descriptor."""
    path = islands(directory / "file", 7)
    with opened(path, os.O_RDONLY) as fd:
        os.lseek(fd, 0, os.SEEK_DATA)
        result = os.lseek(fd, 0, os.SEEK_CUR), os.read(fd, 3)
    assert result == (7 * PAGE, b"HHH")
    return result


def check_finding_in_a_directory(directory: Path) -> object:
    """SEEK_DATA on a fifo is ESPIPE."""
    os.mkfifo(directory / "fifo")
    with opened(directory / "fifo", os.O_RDWR) as fd:
        result = attempt(os.lseek, fd, 0, os.SEEK_DATA)
    assert result == "ESPIPE"
    return result


def check_blocks(directory: Path) -> object:
    """A sparse file takes the blocks of its data only."""
    paths = [
        islands(directory / "sparse", 1, 2, 3),
        islands(directory / "empty"),
        islands(directory / "all", *range(64)),
    ]
    result = [path.stat().st_blocks * 512 // PAGE for path in paths]
    assert result[0] < 10 and result[1] < 3 and result[2] >= 64
    return result


def check_filling(directory: Path) -> object:
    """A hole that is written becomes data, page by page."""
    path, result = islands(directory / "file", 0), []
    with opened(path, os.O_RDWR) as fd:
        for page in (4, 3, 1, 2):
            os.pwrite(fd, b"f" * PAGE, page * PAGE)
            os.fsync(fd)
            result.append(extents(path))
    assert result[-1] == [(0, 5 * PAGE)]
    return result


def check_growing_by_truncate(directory: Path) -> object:
    """Truncation to a larger size adds a hole."""
    path = make(directory / "file", b"x" * PAGE)
    os.truncate(path, 100 * PAGE)
    with opened(path, os.O_RDONLY) as fd:
        os.fsync(fd)
    result = extents(path), path.stat().st_size
    assert result == ([(0, PAGE)], 100 * PAGE)
    return result


def check_large_hole(directory: Path) -> object:
    """A hole of a terabyte, with data on both sides."""
    path = directory / "file"
    with opened(path, RW) as fd:
        os.pwrite(fd, b"a" * PAGE, 0)
        os.pwrite(fd, b"z" * PAGE, 1 << 40)
        os.fsync(fd)
        result = [extents(path), os.pread(fd, 4, 1 << 39), os.pread(fd, 9, 1 << 40)]
    assert result[0] == [(0, PAGE), (1 << 40, (1 << 40) + PAGE)]
    path.unlink()
    return result


def check_copy_keeps_holes(directory: Path) -> object:
    """A copier that looks for holes, as cp and tar do, makes a copy with the same ones."""
    path = islands(directory / "file", 2, 9, 30)
    with opened(path, os.O_RDONLY) as source, opened(directory / "copy", RW) as target:
        for start, end in extents(path):
            os.pwrite(target, os.pread(source, end - start, start), start)
        os.ftruncate(target, os.fstat(source).st_size)
        os.fsync(target)
    assert extents(directory / "copy") == extents(path)
    assert (directory / "copy").read_bytes() == path.read_bytes()
    return extents(directory / "copy")
