"""O_APPEND: every write goes to the end, whoever else writes."""

import os
from pathlib import Path

from tests.posix.calls import make, opened
from tests.posix.children import together

APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def check_after_seek(directory: Path) -> object:
    """The position does not matter to an appending write, and is at the end afterwards."""
    path = make(directory / "file", b"start")
    with opened(path, os.O_RDWR | os.O_APPEND) as fd:
        os.lseek(fd, 0, os.SEEK_SET)
        result = [os.read(fd, 2), os.write(fd, b"-end"), os.lseek(fd, 0, os.SEEK_CUR)]
    assert (result, path.read_bytes()) == ([b"st", 4, 9], b"start-end")
    return result


def check_positioned(directory: Path) -> object:
    """pwrite on an appending descriptor appends, as Linux documents."""
    path = make(directory / "file", b"start")
    with opened(path, APPEND) as fd:
        os.pwrite(fd, b"X", 0)
    assert path.read_bytes() == b"startX"
    return path.read_bytes()


def check_two_descriptors(directory: Path) -> object:
    """Two appending descriptors take turns without overwriting."""
    with opened(directory / "file", APPEND) as one, opened(directory / "file", APPEND) as other:
        for number in range(20):
            os.write(one if number % 2 else other, b"%d," % number)
    result = (directory / "file").read_bytes()
    assert result == b"".join(b"%d," % number for number in range(20))
    return result


def check_after_another_grows_it(directory: Path) -> object:
    """What another descriptor wrote beyond the end comes before the next append."""
    with opened(directory / "file", APPEND) as log, opened(directory / "file", os.O_WRONLY) as fd:
        os.write(log, b"one")
        os.pwrite(fd, b"far", 10)
        os.write(log, b"two")
        os.ftruncate(fd, 5)
        os.write(log, b"three")
    result = (directory / "file").read_bytes()
    assert result == b"one\0\0three"
    return result


def check_processes(directory: Path) -> object:
    """Records that several processes append are all there, each in one piece."""
    path = directory / "file"

    def work(number: int) -> int:
        with opened(path, APPEND) as fd:
            for count in range(150):
                assert os.write(fd, b"%d:%03d:%s\n" % (number, count, b"%d" % number * 90)) == 97
        return number

    together([lambda number=number: work(number) for number in range(4)])
    lines = path.read_bytes().splitlines()
    assert len(lines) == 600
    for number in range(4):
        mine = [line for line in lines if line.startswith(b"%d:" % number)]
        assert mine == [b"%d:%03d:%s" % (number, count, b"%d" % number * 90) for count in range(150)]
    path.unlink()  # the order is chance
    return len(lines)


def check_processes_with_large_records(directory: Path) -> object:
    """The same with records larger than a FUSE request or a page, by writev."""
    path = directory / "file"

    def work(number: int) -> int:
        with opened(path, APPEND) as fd:
            for _ in range(8):
                assert os.writev(fd, [bytes([65 + number]) * 100_000, bytes([65 + number]) * 73]) == 100_073
        return number

    together([lambda number=number: work(number) for number in range(3)])
    data = path.read_bytes()
    pieces = [data[at : at + 100_073] for at in range(0, len(data), 100_073)]
    path.unlink()
    return len(data), all(len(set(piece)) == 1 for piece in pieces)


def check_truncated_by_another_process(directory: Path) -> object:
    """A log truncated under its writer goes on at its new end, as log rotation by copytruncate needs."""
    path = directory / "file"
    with opened(path, APPEND) as fd:
        os.write(fd, b"long old contents")
        together([lambda: os.truncate(path, 0)])
        os.write(fd, b"new")
    assert path.read_bytes() == b"new"
    return path.read_bytes()


def check_duplicated_descriptor(directory: Path) -> object:
    """A duplicate appends as well."""
    with opened(directory / "file", APPEND) as fd:
        twin = os.dup(fd)
        os.write(fd, b"a")
        os.write(twin, b"b")
        os.write(fd, b"c")
        os.close(twin)
    assert (directory / "file").read_bytes() == b"abc"
    return True


def check_truncate_flag_together(directory: Path) -> object:
    """O_APPEND with O_TRUNC starts empty."""
    path = make(directory / "file", b"old")
    with opened(path, APPEND | os.O_TRUNC) as fd:
        os.write(fd, b"a")
        os.lseek(fd, 100, os.SEEK_SET)
        os.write(fd, b"b")
    assert path.read_bytes() == b"ab"
    return path.stat().st_size
