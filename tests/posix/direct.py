"""O_DIRECT: aligned transfers, refusal of the rest as the filesystem refuses it, coherence with buffered I/O."""

import errno
import fcntl
import hashlib
import mmap
import os
import random
from pathlib import Path

from tests.posix.calls import attempt, make, opened

DIRECT = os.O_RDWR | os.O_CREAT | os.O_DIRECT
BLOCK = 4096


def aligned(data: bytes) -> mmap.mmap:
    """A page-aligned buffer with these contents."""
    buffer = mmap.mmap(-1, len(data))
    buffer.write(data)
    return buffer


def read_aligned(fd: int, size: int, at: int) -> bytes:
    """pread into a page-aligned buffer."""
    with mmap.mmap(-1, size) as buffer:
        count = os.preadv(fd, [buffer], at)
        return bytes(buffer[:count])


def check_write_and_read(directory: Path) -> object:
    """Aligned data goes through and comes back."""
    data = random.Random(4).randbytes(16 * BLOCK)
    with opened(directory / "file", DIRECT) as fd, aligned(data) as buffer:
        result = [os.pwritev(fd, [buffer], 0), os.pwritev(fd, [buffer], 32 * BLOCK)]
        assert read_aligned(fd, 16 * BLOCK, 0) == data
        result.append(read_aligned(fd, 4 * BLOCK, 14 * BLOCK) == data[-2 * BLOCK :] + bytes(2 * BLOCK))
    assert result == [16 * BLOCK, 16 * BLOCK, True]
    return result, hashlib.sha256((directory / "file").read_bytes()).hexdigest()


def check_end_of_file(directory: Path) -> object:
    """A direct read over the end of an odd-sized file gives what there is."""
    path = make(directory / "file", b"x" * 5000)
    with opened(path, os.O_RDONLY | os.O_DIRECT) as fd:
        result = [len(read_aligned(fd, BLOCK, at)) for at in (0, BLOCK, 2 * BLOCK)]
    assert result == [4096, 904, 0]
    return result


def check_unaligned_offset(directory: Path) -> object:
    """An offset that is no multiple of the block is refused or not as the filesystem does."""
    path = make(directory / "file", b"x" * 4 * BLOCK)
    with opened(path, DIRECT) as fd, aligned(b"y" * BLOCK) as buffer:
        return [attempt(os.pwritev, fd, [buffer], at) for at in (1, 100, 511, BLOCK + 1)], path.stat().st_size


def check_unaligned_length(directory: Path) -> object:
    """The same for a length."""
    path = make(directory / "file", b"x" * 4 * BLOCK)
    with opened(path, DIRECT) as fd, aligned(b"y" * BLOCK) as buffer:
        result = [attempt(os.pwritev, fd, [memoryview(buffer)[:size]], 0) for size in (1, 100, 4095)]
        result += [attempt(lambda size=size: len(read_aligned(fd, size, 0))) for size in (1, 100, 4095)]
    return result


def check_unaligned_memory(directory: Path) -> object:
    """The same for a buffer in memory."""
    path = make(directory / "file", b"x" * 4 * BLOCK)
    with opened(path, DIRECT) as fd, aligned(b"y" * 2 * BLOCK) as buffer:
        views = [memoryview(buffer)[start : start + BLOCK] for start in (1, 100)]
        result = [attempt(os.pwritev, fd, [view], 0) for view in views]
        result += [attempt(os.preadv, fd, [view], 0) for view in views]
        for view in views:
            view.release()
    return result


def check_coherent_with_buffered(directory: Path) -> object:
    """Direct and buffered descriptors of one file see each other's writes at once."""
    path = directory / "file"
    with opened(path, DIRECT) as direct, opened(path, os.O_RDWR) as buffered:
        for number in range(20):
            data = bytes([number]) * BLOCK
            with aligned(data) as buffer:
                os.pwritev(direct, [buffer], number * BLOCK)
            assert os.pread(buffered, BLOCK, number * BLOCK) == data
            os.pwrite(buffered, b"buffered", number * BLOCK + 10)
            assert read_aligned(direct, BLOCK, number * BLOCK)[10:18] == b"buffered"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_append(directory: Path) -> object:
    """O_DIRECT with O_APPEND appends."""
    path = make(directory / "file", b"x" * BLOCK)
    with opened(path, DIRECT | os.O_APPEND) as fd, aligned(b"y" * BLOCK) as buffer:
        result = [os.writev(fd, [buffer]), os.writev(fd, [buffer])]
    assert path.read_bytes() == b"x" * BLOCK + b"y" * 2 * BLOCK
    return result


def check_switched_on_later(directory: Path) -> object:
    """F_SETFL turns O_DIRECT on and off for an open file."""
    path = make(directory / "file", b"x" * 4 * BLOCK)
    with opened(path, os.O_RDWR) as fd, aligned(b"y" * BLOCK) as buffer:
        result = [attempt(fcntl.fcntl, fd, fcntl.F_SETFL, os.O_DIRECT), os.pwritev(fd, [buffer], BLOCK)]
        result += [attempt(fcntl.fcntl, fd, fcntl.F_SETFL, 0), os.pwrite(fd, b"odd", 3)]
    return result, hashlib.sha256(path.read_bytes()).hexdigest()


def check_large(directory: Path) -> object:
    """8 MiB in one direct transfer."""
    data = random.Random(5).randbytes(8 << 20)
    with opened(directory / "file", DIRECT) as fd, aligned(data) as buffer:
        written = os.pwritev(fd, [buffer], 0)
        found = read_aligned(fd, 8 << 20, 0)
    assert (written, found == data) == (8 << 20, True)
    return hashlib.sha256((directory / "file").read_bytes()).hexdigest()


def check_with_truncate(directory: Path) -> object:
    """O_DIRECT with O_TRUNC, O_EXCL and O_SYNC."""
    result = []
    for number, flags in enumerate((os.O_TRUNC, os.O_EXCL, os.O_SYNC, os.O_DSYNC)):
        path = directory / str(number)
        if flags != os.O_EXCL:
            make(path, b"z" * 3 * BLOCK)
        with opened(path, DIRECT | flags) as fd, aligned(b"d" * BLOCK) as buffer:
            result.append((os.pwritev(fd, [buffer], 0), os.fstat(fd).st_size))
    assert [count for count, _ in result] == [BLOCK] * 4
    return result


def check_on_directory(directory: Path) -> object:
    """O_DIRECT on a directory and on a fifo, as the filesystem likes."""
    os.mkfifo(directory / "fifo")
    result = []
    for path, flags in ((directory, os.O_RDONLY), (directory / "fifo", os.O_RDWR)):
        try:
            os.close(os.open(path, flags | os.O_DIRECT))
            result.append("opened")
        except OSError as error:
            result.append(errno.errorcode[error.errno])
    return result
