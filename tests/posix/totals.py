"""statvfs(3): the filesystem's totals."""

import os
from pathlib import Path

from tests.posix.calls import attempt, make, opened
from tests.posix.children import ALICE, as_user


def check_fixed_totals(directory: Path) -> object:
    """Block size, totals and the longest name are those of the filesystem."""
    found = os.statvfs(directory)
    assert found.f_namemax == 255
    return found.f_bsize, found.f_frsize, found.f_blocks, found.f_files, found.f_namemax


def check_mount_flags(directory: Path) -> object:
    """The flags a program can see: not read-only, devices and set-uid as behind."""
    flags = os.statvfs(directory).f_flag
    return [bool(flags & flag) for flag in (os.ST_RDONLY, os.ST_NOSUID, os.ST_NODEV, os.ST_NOEXEC, os.ST_SYNCHRONOUS)]


def check_free_space_shrinks(directory: Path) -> object:
    """Free space shrinks by what is written, and comes back."""
    path = directory / "file"
    before = os.statvfs(directory)
    path.write_bytes(b"x" * (8 << 20))
    with opened(path, os.O_RDONLY) as fd:
        os.fsync(fd)
    during = os.statvfs(directory)
    path.unlink()
    used = (before.f_bfree - during.f_bfree) * before.f_frsize
    assert 7 << 20 < used < 12 << 20
    return before.f_bavail <= before.f_bfree


def check_of_everything(directory: Path) -> object:
    """A file, a link, a fifo's path and open descriptors give the same totals."""
    path = make(directory / "file")
    (directory / "link").symlink_to("file")
    os.mkfifo(directory / "fifo")
    results = [os.statvfs(one).f_blocks for one in (directory, path, directory / "link", directory / "fifo")]
    with opened(path, os.O_RDONLY) as fd, opened(path, os.O_PATH) as bare:
        results += [os.fstatvfs(fd).f_blocks, os.fstatvfs(bare).f_blocks]
    assert len(set(results)) == 1
    return len(results)


def check_errors(directory: Path) -> object:
    """ENOENT, ENOTDIR, and EACCES below a closed directory."""
    make(directory / "file")
    (directory / "closed").mkdir(0o700)
    result = [attempt(os.statvfs, directory / name) for name in ("none", "file/x")]
    result.append(as_user(ALICE, attempt, os.statvfs, directory / "closed" / "x"))
    assert result == ["ENOENT", "ENOTDIR", "EACCES"]
    return result


def check_as_user(directory: Path) -> object:
    """Anybody may ask."""
    result = as_user(ALICE, lambda: os.statvfs(directory).f_namemax)
    assert result == 255
    return result


def check_files_are_counted(directory: Path) -> object:
    """Free inodes shrink by what is created."""
    before = os.statvfs(directory).f_ffree
    for number in range(20):
        make(directory / str(number))
    result = before - os.statvfs(directory).f_ffree
    assert result == 20
    return result
