"""truncate(2) and ftruncate(2)."""

import os
import resource
import signal
import time
from pathlib import Path

from tests.posix.calls import attempt, make, mode, opened
from tests.posix.children import ALICE, BOB, as_user, in_child


def check_shorter(directory: Path) -> object:
    """Truncation cuts, and what was cut does not come back."""
    path = make(directory / "file", b"0123456789" * 1000)
    os.truncate(path, 5)
    os.truncate(path, 10)
    assert path.read_bytes() == b"01234\0\0\0\0\0"
    return path.read_bytes()


def check_longer(directory: Path) -> object:
    """Extension adds zero bytes."""
    path = make(directory / "file", b"abc")
    os.truncate(path, 10000)
    data = path.read_bytes()
    assert data == b"abc" + bytes(9997)
    return len(data)


def check_partial_page_is_zeroed(directory: Path) -> object:
    """A cut in the middle of a page leaves zeros behind it, also for a reader with the page cached."""
    path = make(directory / "file", b"x" * 8192)
    with opened(path, os.O_RDWR) as fd:
        os.pread(fd, 8192, 0)
        os.ftruncate(fd, 100)
        os.pwrite(fd, b"end", 5000)
        data = os.pread(fd, 8192, 0)
    assert data == b"x" * 100 + bytes(4900) + b"end"
    return len(data)


def check_by_descriptor(directory: Path) -> object:
    """ftruncate leaves the offset where it was."""
    with opened(directory / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b"0123456789")
        os.ftruncate(fd, 3)
        result = os.lseek(fd, 0, os.SEEK_CUR), os.write(fd, b"x"), os.pread(fd, 100, 0)
    assert result == (10, 1, b"012\0\0\0\0\0\0\0x")
    return result


def check_same_size(directory: Path) -> object:
    """Truncation to the present size leaves the contents."""
    path = make(directory / "file", b"text")
    os.truncate(path, 4)
    return path.read_bytes()


def check_negative(directory: Path) -> object:
    """A negative length is EINVAL."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_RDWR) as fd:
        result = attempt(os.truncate, path, -1), attempt(os.ftruncate, fd, -1)
    assert result == ("EINVAL", "EINVAL")
    return path.read_bytes()


def check_too_large(directory: Path) -> object:
    """A length beyond what the filesystem can hold fails the same on both and changes nothing."""
    path = make(directory / "file", b"text")
    return [attempt(os.truncate, path, 1 << bits) for bits in (62,)], path.stat().st_size


def check_directory(directory: Path) -> object:
    """truncate of a directory is EISDIR."""
    result = attempt(os.truncate, directory, 0)
    assert result == "EISDIR"
    return result


def check_errors(directory: Path) -> object:
    """Missing is ENOENT, below a file ENOTDIR, a loop ELOOP."""
    make(directory / "file")
    (directory / "loop").symlink_to("loop")
    result = [attempt(os.truncate, directory / name, 0) for name in ("none", "file/x", "loop")]
    assert result == ["ENOENT", "ENOTDIR", "ELOOP"]
    return result


def check_special_files(directory: Path) -> object:
    """truncate of a fifo or a device is EINVAL."""
    os.mkfifo(directory / "fifo")
    os.mknod(directory / "device", 0o20666, os.makedev(1, 3))
    result = [attempt(os.truncate, directory / name, 0) for name in ("fifo", "device")]
    assert result == ["EINVAL", "EINVAL"]
    return result


def check_permission(directory: Path) -> object:
    """truncate needs write permission; ftruncate only a writable descriptor."""
    path = make(directory / "file", b"text", 0o644, BOB.owner)
    denied = as_user(ALICE, attempt, os.truncate, path, 0)

    def work() -> object:
        with opened(path, os.O_RDWR) as fd:
            os.fchmod(fd, 0o000)
            return attempt(os.ftruncate, fd, 2), attempt(os.truncate, path, 1)

    result = denied, as_user(BOB, work)
    assert result == ("EACCES", (None, "EACCES"))
    return path.stat().st_size


def check_through_symlink(directory: Path) -> object:
    """truncate follows links."""
    make(directory / "file", b"text")
    (directory / "link").symlink_to("file")
    os.truncate(directory / "link", 1)
    return (directory / "file").read_bytes()


def check_marks_times(directory: Path) -> object:
    """A change of size marks modification and change time."""
    path = make(directory / "file", b"text")
    os.utime(path, ns=(10**18, 10**18))
    os.truncate(path, 2)
    assert path.stat().st_mtime_ns > 10**18
    return path.stat().st_atime_ns


def check_same_size_times(directory: Path) -> object:
    """truncate and ftruncate to the same size mark the times alike on both."""
    path = make(directory / "file", b"text")
    result = []
    os.utime(path, ns=(10**18, 10**18))
    os.truncate(path, 4)
    result.append(path.stat().st_mtime_ns > 10**18)
    os.utime(path, ns=(10**18, 10**18))
    with opened(path, os.O_RDWR) as fd:
        os.ftruncate(fd, 4)
    result.append(path.stat().st_mtime_ns > 10**18)
    return result


def check_truncating_open_times(directory: Path) -> object:
    """O_TRUNC of an empty and of a full file marks the times."""
    path = make(directory / "file", b"text")
    result = []
    for _ in range(2):
        os.utime(path, ns=(10**18, 10**18))
        time.sleep(0.005)
        with opened(path, os.O_WRONLY | os.O_TRUNC):
            pass
        result.append(path.stat().st_mtime_ns > 10**18)
    assert result == [True, True]
    return result


def check_seen_through_other_descriptor(directory: Path) -> object:
    """A truncation by path shows at once to every descriptor and link."""
    path = make(directory / "file", b"0123456789")
    os.link(path, directory / "link")
    with opened(path, os.O_RDONLY) as fd:
        before = os.pread(fd, 10, 0)
        os.truncate(directory / "link", 4)
        result = before, os.pread(fd, 10, 0), os.fstat(fd).st_size, path.stat().st_size
    assert result == (b"0123456789", b"0123", 4, 4)
    return result


def check_size_limit(directory: Path) -> object:
    """RLIMIT_FSIZE stops truncate and write with EFBIG once SIGXFSZ is ignored."""
    path = make(directory / "file")

    def work() -> object:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with opened(path, os.O_RDWR) as fd:
            return (
                attempt(os.ftruncate, fd, 1001),
                attempt(os.pwrite, fd, b"x" * 100, 950),
                attempt(os.pwrite, fd, b"x", 1000),
                attempt(os.truncate, path, 2000),
            )

    result = in_child(work)
    assert result == ("EFBIG", 50, "EFBIG", "EFBIG")
    return path.stat().st_size


def check_keeps_mode_for_root(directory: Path) -> object:
    """Root's truncation keeps plain permission bits."""
    path = make(directory / "file", b"text", 0o642)
    os.truncate(path, 0)
    assert mode(path) == "0o642"
    return mode(path)


def check_race_with_append(directory: Path) -> object:
    """An appender after truncation starts at the new end."""
    path = make(directory / "file", b"old old old")
    with opened(path, os.O_WRONLY | os.O_APPEND) as fd:
        os.truncate(path, 3)
        os.write(fd, b"+new")
    assert path.read_bytes() == b"old+new"
    return path.read_bytes()


def check_closed_for_writing(directory: Path) -> object:
    """ftruncate on a read-only descriptor is EINVAL (or EBADF)."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_RDONLY) as fd:
        result = attempt(os.ftruncate, fd, 0)
    assert result in ("EINVAL", "EBADF")
    return result


def check_running_program(directory: Path) -> object:
    """A program that runs cannot be truncated or opened for writing: ETXTBSY."""
    path = make(directory / "sleep", Path("/bin/sleep").read_bytes(), 0o755)
    pid = os.posix_spawn(path, [path, "30"], {})
    try:
        result = attempt(os.truncate, path, 0), attempt(os.open, path, os.O_WRONLY)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert result == ("ETXTBSY", "ETXTBSY")
    return result
