"""read(2), write(2), their relatives, and lseek(2)."""

import ctypes
import hashlib
import os
import random
import select
from pathlib import Path

from tests.posix.calls import attempt, make, opened
from tests.posix.children import together

RW = os.O_RDWR | os.O_CREAT


def check_write_and_read_back(directory: Path) -> object:
    """What is written is read, at the position where one stands."""
    with opened(directory / "file", RW) as fd:
        result = [os.write(fd, b"hello "), os.write(fd, b"world"), os.lseek(fd, 6, os.SEEK_SET), os.read(fd, 99)]
    assert result == [6, 5, 6, b"world"]
    return result


def check_positioned(directory: Path) -> object:
    """pread and pwrite leave the position alone."""
    path = make(directory / "file", b"0123456789")
    with opened(path, os.O_RDWR) as fd:
        os.lseek(fd, 3, os.SEEK_SET)
        result = [os.pread(fd, 4, 5), os.pwrite(fd, b"AB", 0), os.lseek(fd, 0, os.SEEK_CUR), os.read(fd, 2)]
    assert result == [b"5678", 2, 3, b"34"]
    return result, path.read_bytes()


def check_end_of_file(directory: Path) -> object:
    """Reading at and beyond the end gives nothing, over the end what there is."""
    path = make(directory / "file", b"0123456789")
    with opened(path, os.O_RDONLY) as fd:
        result = [os.pread(fd, 5, 10), os.pread(fd, 5, 1000), os.pread(fd, 50, 7), os.pread(fd, 0, 0)]
    assert result == [b"", b"", b"789", b""]
    return result


def check_gap(directory: Path) -> object:
    """Writing beyond the end leaves zeros between."""
    path = make(directory / "file", b"abc")
    with opened(path, os.O_WRONLY) as fd:
        os.pwrite(fd, b"xyz", 10)
    assert path.read_bytes() == b"abc\0\0\0\0\0\0\0xyz"
    return path.read_bytes()


def check_empty_write(directory: Path) -> object:
    """A write of nothing changes nothing, wherever it points."""
    path = make(directory / "file", b"abc")
    with opened(path, os.O_WRONLY) as fd:
        result = os.write(fd, b""), os.pwrite(fd, b"", 1000)
    assert result == (0, 0)
    return result, path.stat().st_size


def check_vectors(directory: Path) -> object:
    """readv and writev gather and scatter in order, positioned ones too."""
    with opened(directory / "file", RW) as fd:
        result = [os.writev(fd, [b"one", b"", b"two", b"three"]), os.pwritev(fd, [b"X", b"Y"], 3)]
        parts = [bytearray(2), bytearray(3), bytearray(100)]
        result += [os.preadv(fd, parts, 0), [bytes(part) for part in parts[:2]], bytes(parts[2][:6])]
        os.lseek(fd, 9, os.SEEK_SET)
        result.append(os.readv(fd, parts))
    assert result == [11, 2, 11, [b"on", b"eXY"], b"othree", 2]
    return result


def check_many_vectors(directory: Path) -> object:
    """1024 pieces are one write; 1025 are EINVAL."""
    with opened(directory / "file", RW) as fd:
        result = attempt(os.writev, fd, [b"x"] * 1024), attempt(os.writev, fd, [b"x"] * 1025)
    assert result == (1024, "EINVAL")
    return result


def check_write_flags(directory: Path) -> object:
    """pwritev2 with RWF_APPEND, RWF_DSYNC and RWF_SYNC; an unknown flag is EOPNOTSUPP."""
    path = make(directory / "file", b"0123")
    with opened(path, os.O_RDWR) as fd:
        result = [attempt(os.pwritev, fd, [b"end"], 0, flag) for flag in (os.RWF_APPEND, os.RWF_DSYNC, os.RWF_SYNC)]
        result.append(attempt(os.pwritev, fd, [b"end"], 0, 0x40000000))
        result.append(attempt(os.preadv, fd, [bytearray(2)], 0, os.RWF_HIPRI))
    return result, path.read_bytes()


def check_large_transfer(directory: Path) -> object:
    """32 MiB in one write come back in one read."""
    data = random.Random(1).randbytes(32 << 20)
    with opened(directory / "file", RW) as fd:
        written = os.write(fd, data)
        found = os.pread(fd, 32 << 20, 0)
    assert (written, found) == (32 << 20, data)
    return hashlib.sha256(found).hexdigest()


def check_odd_sizes(directory: Path) -> object:
    """Writes of odd sizes at odd places, against a model in memory."""
    chance, model = random.Random(2), bytearray()
    with opened(directory / "file", RW) as fd:
        for _ in range(400):
            at, data = chance.randrange(300_000), chance.randbytes(chance.randrange(1, 9000))
            model.extend(bytes(max(0, at + len(data) - len(model))))
            model[at : at + len(data)] = data
            assert os.pwrite(fd, data, at) == len(data)
            at, size = chance.randrange(320_000), chance.randrange(9000)
            assert os.pread(fd, size, at) == model[at : at + size]
    assert (directory / "file").read_bytes() == model
    return hashlib.sha256(model).hexdigest()


def check_truncate_and_write_mixed(directory: Path) -> object:
    """Truncations, writes and reads through two descriptors, against a model in memory."""
    chance, model = random.Random(3), bytearray()
    with opened(directory / "file", RW) as one, opened(directory / "file", os.O_RDWR) as other:
        for _ in range(400):
            fd = chance.choice((one, other))
            at = chance.randrange(100_000)
            if chance.random() < 0.25:
                os.ftruncate(fd, at)
                model = bytearray(model[:at].ljust(at, b"\0"))
            else:
                data = chance.randbytes(chance.randrange(1, 6000))
                model.extend(bytes(max(0, at + len(data) - len(model))))
                model[at : at + len(data)] = data
                os.pwrite(fd, data, at)
            assert os.fstat(one).st_size == len(model)
            at = chance.randrange(100_000)
            assert os.pread(other if fd == one else one, 5000, at) == model[at : at + 5000]
    return hashlib.sha256(model).hexdigest()


def check_seek(directory: Path) -> object:
    """lseek by all three origins, beyond the end, and back."""
    path = make(directory / "file", b"0123456789")
    with opened(path, os.O_RDWR) as fd:
        result = [
            os.lseek(fd, 4, os.SEEK_SET),
            os.lseek(fd, 2, os.SEEK_CUR),
            os.lseek(fd, -1, os.SEEK_END),
            os.read(fd, 5),
            os.lseek(fd, 100, os.SEEK_END),
            os.read(fd, 5),
            os.fstat(fd).st_size,
        ]
    assert result == [4, 6, 9, b"9", 110, b"", 10]
    return result


def check_seek_errors(directory: Path) -> object:
    """A position before the start and an unknown origin are EINVAL, a fifo is ESPIPE."""
    path = make(directory / "file", b"0123456789")
    os.mkfifo(directory / "fifo")
    with opened(path, os.O_RDWR) as fd:
        result = [attempt(os.lseek, fd, *where) for where in ((-1, 0), (-11, 2), (-1, 1), (0, 99))]
        result.append(os.lseek(fd, 0, os.SEEK_CUR))
    with opened(directory / "fifo", os.O_RDWR) as fd:
        result.append(attempt(os.lseek, fd, 0, 0))
    assert result == ["EINVAL"] * 4 + [0, "ESPIPE"]
    return result


def check_negative_offset(directory: Path) -> object:
    """pread and pwrite before the start are EINVAL."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        result = attempt(os.pread, fd, 1, -1), attempt(os.pwrite, fd, b"x", -1)
    assert result == ("EINVAL", "EINVAL")
    return result


def check_bad_buffer(directory: Path) -> object:
    """Buffers that are not there are EFAULT, and nothing is written."""
    path = make(directory / "file", b"text")
    libc = ctypes.CDLL(None, use_errno=True)
    nowhere = ctypes.c_void_p(8)
    result = []
    with opened(path, os.O_RDWR) as fd:
        for call in (libc.read, libc.write):
            returned = call(fd, nowhere, ctypes.c_size_t(10))
            result.append((returned, os.strerror(ctypes.get_errno())))
    assert [returned for returned, _ in result] == [-1, -1]
    return result, path.stat().st_size


def check_shared_position(directory: Path) -> object:
    """A forked child shares the position; processes that write through it do not overwrite each other."""
    with opened(directory / "file", RW) as fd:

        def work() -> int:
            return sum(os.write(fd, b"12345678") for _ in range(100))

        together([work] * 3)
        result = os.lseek(fd, 0, os.SEEK_CUR)
    assert result == (directory / "file").stat().st_size == 2400
    return result


def check_regions_of_several_writers(directory: Path) -> object:
    """Processes that write regions of their own do not disturb each other."""
    make(directory / "file", bytes(4 * 65536))

    def region(number: int) -> int:
        with opened(directory / "file", os.O_RDWR) as fd:
            for at in range(0, 65536, 500):
                os.pwrite(fd, bytes([65 + number]) * min(500, 65536 - at), number * 65536 + at)
        return number

    together([lambda number=number: region(number) for number in range(4)])
    data = (directory / "file").read_bytes()
    assert data == b"".join(bytes([65 + number]) * 65536 for number in range(4))
    return len(data)


def check_other_process_sees_at_once(directory: Path) -> object:
    """After write returns, another process reads the new data and size."""
    with opened(directory / "file", RW) as fd:
        result = []
        for number in range(20):
            os.write(fd, b"%03d" % number)
            path = directory / "file"
            result += together([lambda path=path: (path.stat().st_size, path.read_bytes()[-3:])])
    assert result == [(3 * (number + 1), b"%03d" % number) for number in range(20)]
    return len(result)


def check_reopened(directory: Path) -> object:
    """A file closed and opened again, by any flags, has what was written."""
    path, result = directory / "file", []
    for number in range(10):
        with opened(path, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if number % 2 else os.O_TRUNC)) as fd:
            os.write(fd, b"%d" % number)
        result.append(path.read_bytes())
    assert result[:4] == [b"0", b"01", b"2", b"23"]
    return result


def check_sendfile_and_splice(directory: Path) -> object:
    """sendfile and splice move data out of a file and into it."""
    make(directory / "from", bytes(range(256)) * 400)
    with opened(directory / "from", os.O_RDONLY) as source, opened(directory / "to", RW) as target:
        result = [os.sendfile(target, source, 0, 50_000), os.sendfile(target, source, 50_000, 100_000)]
        read, write = os.pipe()
        result += [os.splice(source, write, 4096, offset_src=1000), os.splice(read, target, 4096, offset_dst=0)]
        os.close(read)
        os.close(write)
    assert result == [50_000, 52_400, 4096, 4096]
    return hashlib.sha256((directory / "to").read_bytes()).hexdigest()


def check_always_ready(directory: Path) -> object:
    """A regular file is always ready to poll and select."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_RDWR) as fd:
        poll = select.poll()
        poll.register(fd, select.POLLIN | select.POLLOUT)
        result: list[object] = [events for _, events in poll.poll(1000)]
        result.append([len(one) for one in select.select([fd], [fd], [], 1)])
    assert result == [select.POLLIN | select.POLLOUT, [1, 1, 0]]
    return result


def check_epoll_refuses(directory: Path) -> object:
    """epoll refuses a regular file with EPERM."""
    with opened(make(directory / "file"), os.O_RDWR) as fd, select.epoll() as epoll:
        return attempt(epoll.register, fd)


def check_nonblocking_is_ignored(directory: Path) -> object:
    """O_NONBLOCK makes no difference to a regular file."""
    with opened(directory / "file", RW | os.O_NONBLOCK) as fd:
        result = os.write(fd, b"text"), os.pread(fd, 9, 0)
    assert result == (4, b"text")
    return result


def check_advice(directory: Path) -> object:
    """posix_fadvise takes every advice; readahead of a file works."""
    path = make(directory / "file", b"x" * 10000)
    with opened(path, os.O_RDWR) as fd:
        advice = ("NORMAL", "SEQUENTIAL", "RANDOM", "NOREUSE", "WILLNEED", "DONTNEED")
        result = [attempt(os.posix_fadvise, fd, 0, 0, getattr(os, f"POSIX_FADV_{name}")) for name in advice]
        result.append(attempt(os.posix_fadvise, fd, 0, 0, 99))
        assert os.pread(fd, 3, 5000) == b"xxx"
    assert result == [None] * 6 + ["EINVAL"]
    return result
