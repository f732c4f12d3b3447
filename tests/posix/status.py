"""stat(2), statx(2) and what they promise about inodes."""

import ctypes
import os
import struct
import time
from pathlib import Path

from tests.posix.calls import attempt, make, opened, same_inode, shape
from tests.posix.children import ALICE, as_user, in_child

STATX = 332
BASIC, BTIME, MNT_ID, DIOALIGN = 0x7FF, 0x800, 0x1000, 0x2000
libc = ctypes.CDLL(None, use_errno=True)


def statx(path: Path, mask: int, flags: int = 0) -> tuple[int, bytes]:
    """(the mask that was answered, the structure)."""
    buffer = ctypes.create_string_buffer(256)
    if libc.syscall(STATX, -100, os.fsencode(path), flags, mask, buffer) < 0:
        raise OSError(ctypes.get_errno(), str(path))
    return struct.unpack_from("<I", buffer)[0], buffer.raw


def check_same_by_every_way(directory: Path) -> object:
    """stat, lstat, fstat, fstatat and a stat through a link agree on everything."""
    path = make(directory / "file", b"text", 0o640)
    (directory / "link").symlink_to("file")
    with opened(path, os.O_RDONLY) as fd, opened(directory, os.O_PATH) as dir_fd:
        found = [
            os.stat(path),
            os.lstat(path),
            os.fstat(fd),
            os.stat("file", dir_fd=dir_fd),
            os.stat(directory / "link"),
        ]
    fields = ("st_ino", "st_dev", "st_mode", "st_nlink", "st_uid", "st_size", "st_mtime_ns", "st_ctime_ns", "st_blocks")
    assert len({tuple(getattr(one, field) for field in fields) for one in found}) == 1
    return shape(path)


def check_inodes_are_distinct(directory: Path) -> object:
    """Different files have different inode numbers on one device; links of one file the same."""
    for number in range(100):
        make(directory / str(number))
    os.link(directory / "0", directory / "again")
    found = {
        (os.stat(directory / str(number)).st_dev, os.stat(directory / str(number)).st_ino) for number in range(100)
    }
    assert len(found) == 100
    assert len({dev for dev, _ in found}) == 1
    return same_inode(directory / "0", directory / "again")


def check_inode_stays(directory: Path) -> object:
    """An inode number stays through rename, link, chmod, write and truncation."""
    path = make(directory / "file", b"text")
    inodes = [path.stat().st_ino]
    path.chmod(0o600)
    path.write_bytes(b"more")
    os.truncate(path, 0)
    os.link(path, directory / "link")
    path.rename(directory / "moved")
    inodes += [(directory / name).stat().st_ino for name in ("moved", "link")]
    assert len(set(inodes)) == 1
    return len(inodes)


def check_inode_stays_over_time(directory: Path) -> object:
    """It is the same when asked again after the kernel's caches have expired, for directories as well."""
    path = make(directory / "file")
    (directory / "dir").mkdir()
    before = path.stat().st_ino, (directory / "dir").stat().st_ino
    time.sleep(1.1)
    assert (path.stat().st_ino, (directory / "dir").stat().st_ino) == before
    return True


def check_links_of_directories(directory: Path) -> object:
    """A directory's link count grows with its subdirectories."""
    result = [directory.stat().st_nlink]
    for name in "abc":
        (directory / name).mkdir()
        result.append(directory.stat().st_nlink)
    (directory / "a").rmdir()
    result.append(directory.stat().st_nlink)
    (directory / "b").rename(directory / "c" / "b")
    result += [directory.stat().st_nlink, (directory / "c").stat().st_nlink]
    return result


def check_size_follows_writes(directory: Path) -> object:
    """The size is right after each write, by path and by descriptor, here and in another process."""
    path, result = make(directory / "file"), []
    with opened(path, os.O_RDWR) as fd:
        for size in (1, 10, 4096, 5000, 3):
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"x" * size, 0)
            result.append([path.stat().st_size, os.fstat(fd).st_size, in_child(lambda: path.stat().st_size)])
    assert result == [[size] * 3 for size in (1, 10, 4096, 5000, 3)]
    return result


def check_blocks(directory: Path) -> object:
    """Blocks count 512 bytes each, whatever the block size."""
    result = []
    for size in (0, 1, 4096, 4097, 100_000):
        path = make(directory / str(size), b"x" * size)
        with opened(path, os.O_RDONLY) as fd:
            os.fsync(fd)
        result.append(path.stat().st_blocks)
    assert result[2] >= 8
    return result


def check_block_size(directory: Path) -> object:
    """The preferred size for I/O is that of the filesystem, for files and directories."""
    path = make(directory / "file", b"text")
    return path.stat().st_blksize, directory.stat().st_blksize


def check_statx_basic(directory: Path) -> object:
    """statx answers all of the basic fields, as stat does."""
    path = make(directory / "file", b"text", 0o640)
    mask, data = statx(path, BASIC)
    blksize, _, nlink, uid, gid, mode, _ino, size = struct.unpack_from("<IQIIIHxxQQ", data, 4)
    status = path.stat()
    assert mask & BASIC == BASIC
    assert (nlink, mode, size) == (1, status.st_mode, 4)
    return blksize, uid, gid


def check_statx_birth_time(directory: Path) -> object:
    """statx tells when a file was created, where the filesystem knows."""
    mask, data = statx(make(directory / "file"), BASIC | BTIME)
    seconds = struct.unpack_from("<q", data, 0x50)[0]
    return bool(mask & BTIME), bool(mask & BTIME) and abs(time.time() - seconds) < 60


def check_statx_flags(directory: Path) -> object:
    """statx with AT_EMPTY_PATH's kin: forced and lazy synchronisation, not following links."""
    make(directory / "file", b"text")
    (directory / "link").symlink_to("file")
    results = [statx(directory / "link", BASIC, flags)[1] for flags in (0, 0x100, 0x2000, 0x4000)]
    result = [struct.unpack_from("<H", data, 0x1C)[0] >> 12 for data in results]
    assert result == [8, 10, 8, 8]
    return result


def check_errors(directory: Path) -> object:
    """ENOENT, ENOTDIR, EACCES below a closed directory, EBADF, EFAULT."""
    make(directory / "file")
    (directory / "closed").mkdir(0o700)
    make(directory / "closed" / "file")
    result = [attempt(os.stat, directory / name) for name in ("none", "none/x", "file/x")]
    result.append(as_user(ALICE, attempt, os.stat, directory / "closed" / "file"))
    result.append(attempt(os.fstat, 999))
    libc.syscall(STATX, -100, ctypes.c_void_p(8), 0, BASIC, ctypes.create_string_buffer(256))
    result.append(os.strerror(ctypes.get_errno()))
    assert result == ["ENOENT", "ENOENT", "ENOTDIR", "EACCES", "EBADF", "Bad address"]
    return result


def check_times_of_a_new_file(directory: Path) -> object:
    """A new file's three times are one instant, not before the creation nor after it."""
    before = time.time_ns()
    status = make(directory / "file").stat()
    assert before - 20_000_000 <= status.st_mtime_ns <= time.time_ns()
    assert status.st_mtime_ns == status.st_ctime_ns
    return status.st_atime_ns == status.st_mtime_ns


def check_root_of_a_tree(directory: Path) -> object:
    """A tree is on one device all the way down, so that `find -xdev` and `rm --one-file-system` walk it."""
    (directory / "a" / "b" / "c").mkdir(parents=True)
    devices = {os.lstat(one).st_dev for one in (directory, directory / "a", directory / "a" / "b" / "c")}
    assert len(devices) == 1
    return os.path.ismount(directory / "a")
