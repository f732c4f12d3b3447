"""copy_file_range(2) and reflinks."""

import fcntl
import hashlib
import os
import random
import shutil
import tempfile
from pathlib import Path

from tests.posix.calls import attempt, make, opened

RW = os.O_RDWR | os.O_CREAT
FICLONE = 0x40049409


def check_whole(directory: Path) -> object:
    """A whole file, by the positions of both descriptors."""
    data = random.Random(6).randbytes(300_001)
    path = make(directory / "from", data)
    with opened(path, os.O_RDONLY) as source, opened(directory / "to", RW) as target:
        left = len(data)
        while left:
            left -= os.copy_file_range(source, target, left)
        result = [os.lseek(source, 0, os.SEEK_CUR), os.lseek(target, 0, os.SEEK_CUR)]
        result.append(os.copy_file_range(source, target, 100))
    assert result == [300_001, 300_001, 0]
    assert (directory / "to").read_bytes() == data
    return hashlib.sha256(data).hexdigest()


def check_offsets(directory: Path) -> object:
    """With offsets given, the positions stay."""
    path = make(directory / "from", b"0123456789")
    with opened(path, os.O_RDONLY) as source, opened(directory / "to", RW) as target:
        os.write(target, b"abcdefghij")
        result = [os.copy_file_range(source, target, 3, 2, 5), os.lseek(source, 0, os.SEEK_CUR)]
        result += [os.lseek(target, 0, os.SEEK_CUR), os.pread(target, 20, 0)]
    assert result == [3, 0, 10, b"abcde234ij"]
    return result


def check_beyond_the_ends(directory: Path) -> object:
    """At the source's end it copies nothing; beyond the target's end it leaves a hole."""
    path = make(directory / "from", b"0123456789")
    with opened(path, os.O_RDONLY) as source, opened(directory / "to", RW) as target:
        result = [os.copy_file_range(source, target, 5, at, 0) for at in (10, 50)]
        result += [os.copy_file_range(source, target, 50, 7, 5), os.pread(target, 20, 0)]
    assert result == [0, 0, 3, b"\0\0\0\0\x00789"]
    return result


def check_within_one_file(directory: Path) -> object:
    """Within one file ranges that overlap are EINVAL, others are copied."""
    path = make(directory / "file", b"0123456789")
    with opened(path, os.O_RDWR) as one, opened(path, os.O_RDWR) as other:
        result = [attempt(os.copy_file_range, one, other, 4, 0, at) for at in (2, 0, 6)]
    assert result == ["EINVAL", "EINVAL", 4]
    assert path.read_bytes() == b"0123450123"
    return result


def check_bad_descriptors(directory: Path) -> object:
    """A source that cannot be read, a target that cannot be written or appends: EBADF; a directory EISDIR."""
    path = make(directory / "file", b"0123456789")
    with opened(path, os.O_RDONLY) as reader, opened(directory / "to", os.O_WRONLY | os.O_CREAT) as writer:
        result = [
            attempt(os.copy_file_range, writer, writer, 1, 0, 5),
            attempt(os.copy_file_range, reader, reader, 1, 0, 5),
            attempt(os.copy_file_range, reader, writer, 0),
        ]
        with opened(directory / "to", os.O_WRONLY | os.O_APPEND) as appender:
            result.append(attempt(os.copy_file_range, reader, appender, 1))
        with opened(directory, os.O_RDONLY) as dir_fd:
            result.append(attempt(os.copy_file_range, dir_fd, writer, 1))
    assert result == ["EBADF", "EBADF", 0, "EBADF", "EISDIR"]
    return result


def check_to_another_filesystem(directory: Path) -> object:
    """To another filesystem and back: copied or EXDEV, and never wrong."""
    path = make(directory / "file", b"x" * 10_000)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        shutil.copyfile(path, f"{elsewhere}/copy")
        shutil.copyfile(f"{elsewhere}/copy", directory / "back")
    assert (directory / "back").read_bytes() == path.read_bytes()
    return True


def check_seen_by_readers(directory: Path) -> object:
    """A reader that has the target in its page cache sees the copy at once."""
    path = make(directory / "from", b"new" * 4000)
    make(directory / "to", b"old" * 4000)
    with (
        opened(path, os.O_RDONLY) as source,
        opened(directory / "to", os.O_RDWR) as target,
        opened(directory / "to", os.O_RDONLY) as reader,
    ):
        before = os.pread(reader, 3, 6000)
        os.copy_file_range(source, target, 12_000, 0, 0)
        result = before, os.pread(reader, 3, 6000)
    assert result == (b"old", b"new")
    return result


def check_of_unsynced_data(directory: Path) -> object:
    """What was written just before is copied."""
    with opened(directory / "from", RW) as source, opened(directory / "to", RW) as target:
        os.write(source, b"fresh")
        os.copy_file_range(source, target, 5, 0, 0)
        os.pwrite(source, b"F", 0)
        result = os.pread(target, 9, 0)
    assert result == b"fresh"
    return result


def check_marks_the_target(directory: Path) -> object:
    """A copy marks the target's modification time."""
    path = make(directory / "from", b"text")
    make(directory / "to", b"old!")
    os.utime(directory / "to", (1, 1))
    with opened(path, os.O_RDONLY) as source, opened(directory / "to", os.O_RDWR) as target:
        os.copy_file_range(source, target, 4, 0, 0)
    assert (directory / "to").stat().st_mtime > 1
    return True


def check_reflink(directory: Path) -> object:
    """FICLONE, on filesystems that cannot, fails alike."""
    path = make(directory / "from", b"text")
    with opened(path, os.O_RDONLY) as source, opened(directory / "to", RW) as target:
        return attempt(fcntl.ioctl, target, FICLONE, source)


def check_shutil(directory: Path) -> object:
    """shutil's copy2 and copytree take contents, modes, times and attributes along."""
    (directory / "a" / "b").mkdir(parents=True)
    path = make(directory / "a" / "b" / "file", b"text" * 1000, 0o640)
    os.setxattr(path, "user.a", b"v")
    os.utime(path, ns=(10**18 + 1, 10**18 + 2))
    (directory / "a" / "link").symlink_to("b/file")
    shutil.copytree(directory / "a", directory / "c", symlinks=True)
    copy = directory / "c" / "b" / "file"
    result = oct(copy.stat().st_mode), copy.stat().st_mtime_ns, os.getxattr(copy, "user.a"), copy.read_bytes()[:4]
    assert result == ("0o100640", 10**18 + 2, b"v", b"text")
    return result
