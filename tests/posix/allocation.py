"""fallocate(2) in its modes, and posix_fallocate(3)."""

import os
import resource
import signal
from pathlib import Path

from tests.posix.calls import attempt, fallocate, make, mode, opened
from tests.posix.children import ALICE, as_user

KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO, INSERT = 0x01, 0x02, 0x08, 0x10, 0x20
PAGE = 4096


def letters(directory: Path, pages: int = 8) -> Path:
    """A file of pages of a, b, c …, written to disk."""
    path = make(directory / "file", b"".join(bytes([97 + number]) * PAGE for number in range(pages)))
    with opened(path, os.O_RDONLY) as fd:
        os.fsync(fd)
    return path


def contents(path: Path) -> list[str]:
    """One character for each page: its letter, "." for zeros, "?" for a mixture."""
    data = path.read_bytes()
    kinds = [set(data[at : at + PAGE]) for at in range(0, len(data), PAGE)]
    return ["?" if len(kind) > 1 else "." if kind == {0} else chr(*kind) for kind in kinds]


def check_extends(directory: Path) -> object:
    """Plain fallocate makes the file larger, and the new part zeros with blocks behind it."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_RDWR) as fd:
        result = [
            attempt(fallocate, fd, 0, 0, 40 * PAGE),
            os.fstat(fd).st_size,
            os.fstat(fd).st_blocks * 512 >= 40 * PAGE,
        ]
    assert result == [None, 40 * PAGE, True]
    return result, path.read_bytes()[:6]


def check_within_the_file(directory: Path) -> object:
    """Allocating what is there changes nothing."""
    path = letters(directory)
    with opened(path, os.O_RDWR) as fd:
        result = attempt(fallocate, fd, 0, PAGE, 2 * PAGE)
    assert result is None
    return contents(path)


def check_keep_size(directory: Path) -> object:
    """With KEEP_SIZE the size stays."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_RDWR) as fd:
        result = [attempt(fallocate, fd, KEEP_SIZE, 0, 40 * PAGE), os.fstat(fd).st_size]
        result.append(os.fstat(fd).st_blocks * 512 >= 40 * PAGE)
    assert result == [None, 4, True]
    return result, path.read_bytes()


def check_punch_hole(directory: Path) -> object:
    """A punched hole reads as zeros, frees its blocks and keeps the size; its ends may lie anywhere."""
    path = letters(directory)
    before = path.stat().st_blocks
    with opened(path, os.O_RDWR) as fd:
        result = [attempt(fallocate, fd, PUNCH_HOLE | KEEP_SIZE, 2 * PAGE, 3 * PAGE)]
        os.fsync(fd)
        result += [path.stat().st_size, path.stat().st_blocks < before]
        result.append(attempt(fallocate, fd, PUNCH_HOLE | KEEP_SIZE, 6 * PAGE + 100, 50))
    assert result == [None, 8 * PAGE, True, None]
    assert contents(path) == list("ab...f?h")
    return contents(path), path.read_bytes()[6 * PAGE + 95 : 6 * PAGE + 155]


def check_punch_hole_needs_keep_size(directory: Path) -> object:
    """PUNCH_HOLE without KEEP_SIZE is EOPNOTSUPP."""
    with opened(letters(directory), os.O_RDWR) as fd:
        return attempt(fallocate, fd, PUNCH_HOLE, 0, PAGE)


def check_punch_beyond_the_end(directory: Path) -> object:
    """A hole beyond the end changes nothing."""
    path = letters(directory)
    with opened(path, os.O_RDWR) as fd:
        result = attempt(fallocate, fd, PUNCH_HOLE | KEEP_SIZE, 100 * PAGE, PAGE), path.stat().st_size
    assert result == (None, 8 * PAGE)
    return contents(path)


def check_punched_hole_is_seen(directory: Path) -> object:
    """A reader with the file in its page cache sees the hole at once."""
    path = letters(directory)
    with opened(path, os.O_RDWR) as fd, opened(path, os.O_RDONLY) as reader:
        before = os.pread(reader, 3, 3 * PAGE)
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 3 * PAGE, PAGE)
        result = before, os.pread(reader, 3, 3 * PAGE)
    assert result == (b"ddd", b"\0\0\0")
    return result


def check_zero_range(directory: Path) -> object:
    """ZERO_RANGE makes zeros, over the end too unless KEEP_SIZE says otherwise; where the filesystem has it."""
    path = letters(directory)
    with opened(path, os.O_RDWR) as fd:
        result = [
            attempt(fallocate, fd, ZERO, PAGE, 2 * PAGE),
            attempt(fallocate, fd, ZERO | KEEP_SIZE, 7 * PAGE, 3 * PAGE),
            os.fstat(fd).st_size,
            attempt(fallocate, fd, ZERO, 9 * PAGE, PAGE),
            os.fstat(fd).st_size,
        ]
    return result, contents(path)


def check_collapse_range(directory: Path) -> object:
    """COLLAPSE_RANGE takes a piece out; where the filesystem has it."""
    path = letters(directory)
    with opened(path, os.O_RDWR) as fd:
        result = [attempt(fallocate, fd, COLLAPSE, *where) for where in ((2 * PAGE, 2 * PAGE), (10, PAGE))]
    return result, contents(path)


def check_insert_range(directory: Path) -> object:
    """INSERT_RANGE puts a hole in between; where the filesystem has it."""
    path = letters(directory)
    with opened(path, os.O_RDWR) as fd:
        result = attempt(fallocate, fd, INSERT, 2 * PAGE, 2 * PAGE)
    return result, contents(path)


def check_bad_ranges(directory: Path) -> object:
    """A negative start, a length of zero or less are EINVAL; too large is EFBIG, or ENOSPC if that comes first."""
    with opened(letters(directory), os.O_RDWR) as fd:
        cases = ((-1, PAGE), (0, 0), (0, -1), (0, (1 << 63) - 1), ((1 << 63) - 10, 100))
        result = [attempt(fallocate, fd, 0, *where) for where in cases]
    assert result[:3] == ["EINVAL", "EINVAL", "EINVAL"]
    assert set(result[3:]) <= {"EFBIG", "ENOSPC"}
    return result


def check_bad_descriptors(directory: Path) -> object:
    """A descriptor for reading is EBADF, a fifo ESPIPE, a directory EBADF for it cannot be written."""
    os.mkfifo(directory / "fifo")
    with opened(letters(directory), os.O_RDONLY) as fd:
        result = [attempt(fallocate, fd, 0, 0, PAGE)]
    with opened(directory, os.O_RDONLY) as fd:
        result.append(attempt(fallocate, fd, 0, 0, PAGE))
    with opened(directory / "fifo", os.O_RDWR) as fd:
        result.append(attempt(fallocate, fd, 0, 0, PAGE))
    assert result == ["EBADF", "EBADF", "ESPIPE"]
    return result


def check_unknown_modes(directory: Path) -> object:
    """Unknown and contradictory modes."""
    with opened(letters(directory), os.O_RDWR) as fd:
        modes = (0x100, COLLAPSE | KEEP_SIZE, INSERT | COLLAPSE, ZERO | PUNCH_HOLE | KEEP_SIZE)
        result = [attempt(fallocate, fd, one, 0, PAGE) for one in modes]
    assert all(isinstance(one, str) for one in result)
    return result


def check_no_space(directory: Path) -> object:
    """More than the filesystem has is ENOSPC, and the file is as before."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_RDWR) as fd:
        result = attempt(fallocate, fd, 0, 0, 1 << 42)
    assert result in ("ENOSPC", "EFBIG")
    os.truncate(path, 4)
    return result, path.read_bytes()


def check_posix_fallocate(directory: Path) -> object:
    """posix_fallocate gives zeros up to the new size and never shrinks, in whatever way."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_RDWR) as fd:
        result = [attempt(os.posix_fallocate, fd, 0, 3 * PAGE), os.fstat(fd).st_size]
        result += [attempt(os.posix_fallocate, fd, 0, PAGE), os.fstat(fd).st_size, os.pread(fd, 6, 0)]
        result.append(attempt(os.posix_fallocate, fd, 0, 0))
    assert result == [None, 3 * PAGE, None, 3 * PAGE, b"text\0\0", "EINVAL"]
    return result


def check_clears_set_ids(directory: Path) -> object:
    """fallocate by an unprivileged user clears set-uid and set-gid, as a write does."""
    path = letters(directory)
    path.chmod(0o6777)
    os.chown(path, *ALICE.owner)
    os.chmod(path, 0o6777)

    def work() -> object:
        with opened(path, os.O_RDWR) as fd:
            return attempt(fallocate, fd, 0, 0, PAGE)

    return as_user(ALICE, work), mode(path)


def check_limit_of_the_process(directory: Path) -> object:
    """Beyond RLIMIT_FSIZE fallocate is EFBIG with SIGXFSZ, and the size stays; within it works."""
    seen: list[int] = []
    signal.signal(signal.SIGXFSZ, lambda number, _: seen.append(number))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10 * PAGE, 10 * PAGE))
    with opened(make(directory / "file", b"text"), os.O_RDWR) as fd:
        result: list[object] = []
        for start, length in ((0, 11 * PAGE), (0, 10 * PAGE), (0, 10 * PAGE + 1), (5 * PAGE, 6 * PAGE)):
            result += [attempt(fallocate, fd, 0, start, length), os.fstat(fd).st_size]
    assert result == ["EFBIG", 4, None, 10 * PAGE, "EFBIG", 10 * PAGE, "EFBIG", 10 * PAGE]
    return result, len(seen)


def check_limit_with_keep_size(directory: Path) -> object:
    """The same with KEEP_SIZE, which some filesystems measure by the limit as well."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10 * PAGE, 10 * PAGE))
    with opened(make(directory / "file", b"text"), os.O_RDWR) as fd:
        return attempt(fallocate, fd, KEEP_SIZE, 0, 20 * PAGE), os.fstat(fd).st_size
