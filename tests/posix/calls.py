"""One system call, and its result or the name of its errno; wrappers of the calls that `os` lacks."""

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

type_names = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}

AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)


def attempt(call: Callable[..., object], *arguments: object, **named: object) -> object:
    """What the call returns, or the errno's name ("ENOENT") when it fails."""
    try:
        return call(*arguments, **named)
    except OSError as error:
        return errno_name(error)


def errno_name(error: OSError) -> str:
    """The errno's name; of the numbers that have two, the one that the man pages use."""
    if not error.errno:
        return repr(error)
    name = errno.errorcode[error.errno]
    return {"EDEADLOCK": "EDEADLK", "ENOTSUP": "EOPNOTSUPP", "EWOULDBLOCK": "EAGAIN"}.get(name, name)


def try_open(path: os.PathLike[str] | str | bytes, flags: int, mode: int = 0o666, *, dir_fd: int | None = None) -> str:
    """ "opened", or the errno's name; the descriptor is closed at once."""
    result = attempt(os.open, path, flags, mode, dir_fd=dir_fd)
    if isinstance(result, int):
        os.close(result)
        return "opened"
    return str(result)


@contextlib.contextmanager
def opened(path: os.PathLike[str] | str | bytes, flags: int, mode: int = 0o666) -> Iterator[int]:
    """A descriptor for the length of a block."""
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def make(path: Path, data: bytes = b"", mode: int | None = None, owner: tuple[int, int] | None = None) -> Path:
    """A file with these contents, owner and exact mode; returns its path."""
    path.write_bytes(data)
    if owner is not None:
        os.chown(path, *owner)
    if mode is not None:
        path.chmod(mode)
    return path


def kind(path: Path) -> str:
    """The type of what is at `path` itself, or the errno's name."""
    result = attempt(os.lstat, path)
    return type_names[stat.S_IFMT(result.st_mode)] if isinstance(result, os.stat_result) else str(result)


def shape(target: Path | int) -> dict[str, object]:
    """The attributes that must be equal on any filesystem of one kind; a directory's size and the rest left out."""
    status = os.fstat(target) if isinstance(target, int) else os.lstat(target)
    is_directory = stat.S_ISDIR(status.st_mode)
    return {
        "type": type_names[stat.S_IFMT(status.st_mode)],
        "mode": oct(stat.S_IMODE(status.st_mode)),
        "nlink": status.st_nlink,
        "uid": status.st_uid,
        "gid": status.st_gid,
        "size": None if is_directory else status.st_size,
        "rdev": status.st_rdev,
    }


def mode(target: Path | int) -> str:
    """Permission bits in octal, of the thing itself."""
    status = os.fstat(target) if isinstance(target, int) else os.lstat(target)
    return oct(stat.S_IMODE(status.st_mode))


def same_inode(one: Path, other: Path) -> bool:
    """Whether two names lead to one inode, links not followed."""
    return os.path.samestat(os.lstat(one), os.lstat(other))


def names(directory: Path) -> list[str]:
    """Sorted names in a directory."""
    return sorted(os.listdir(directory))


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def renameat2(source: Path, target: Path, flags: int) -> None:
    """rename with RENAME_NOREPLACE or RENAME_EXCHANGE."""
    _checked(_libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), ctypes.c_uint(flags)))


def linkat(source_fd: int, source: bytes, target: Path, flags: int) -> None:
    """link with AT_EMPTY_PATH or AT_SYMLINK_FOLLOW, which os.link cannot combine."""
    _checked(_libc.linkat(source_fd, source, AT_FDCWD, os.fsencode(target), flags))


def utimensat(path: Path, access: tuple[int, int], modification: tuple[int, int], flags: int = 0) -> None:
    """utimensat with raw (seconds, nanoseconds) pairs, so that UTIME_NOW and UTIME_OMIT and bad values can be given."""
    times = (ctypes.c_long * 4)(*access, *modification)
    _checked(_libc.utimensat(AT_FDCWD, os.fsencode(path), times, flags))


def futimens(fd: int, access: tuple[int, int], modification: tuple[int, int]) -> None:
    """utimensat on an open descriptor."""
    _checked(_libc.futimens(fd, (ctypes.c_long * 4)(*access, *modification)))


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate with a mode; never glibc's emulation."""
    _checked(_libc.fallocate64(fd, mode, ctypes.c_longlong(offset), ctypes.c_longlong(length)))


def getxattr_size(path: Path, name: str, size: int) -> int:
    """getxattr into a buffer of `size` bytes (0 asks for the length)."""
    buffer = ctypes.create_string_buffer(max(size, 1))
    return _checked(_libc.getxattr(os.fsencode(path), os.fsencode(name), buffer, ctypes.c_size_t(size)))


def listxattr_size(path: Path, size: int) -> int:
    """listxattr into a buffer of `size` bytes (0 asks for the length)."""
    buffer = ctypes.create_string_buffer(max(size, 1))
    return _checked(_libc.listxattr(os.fsencode(path), buffer, ctypes.c_size_t(size)))


def eaccess(path: Path, mode: int) -> bool:
    """Whether the effective user may access `path`."""
    return os.access(path, mode, effective_ids=True)
