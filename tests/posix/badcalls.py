"""Every call with every kind of bad path or descriptor: the errno, in tables."""

import ctypes
import errno
import fcntl
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.posix.calls import attempt, fallocate, futimens, make, names, opened, renameat2, try_open, utimensat
from tests.posix.children import ALICE, BOB, as_user

libc = ctypes.CDLL(None, use_errno=True)
NOWHERE = ctypes.c_void_p(8)


def by_path(path: Path, good: Path) -> Mapping[str, object]:
    """What each call that takes a path answers to `path`; `good` is a file beside it for calls that take two."""
    calls: Mapping[str, Callable[[], object]] = {
        "open": lambda: try_open(path, os.O_RDONLY),
        "open for writing": lambda: try_open(path, os.O_WRONLY),
        "truncating open": lambda: try_open(path, os.O_WRONLY | os.O_TRUNC),
        "open by path": lambda: try_open(path, os.O_PATH),
        "stat": lambda: os.stat(path).st_size,
        "lstat": lambda: os.lstat(path).st_size,
        "access": lambda: os.access(path, os.F_OK),
        "chmod": lambda: os.chmod(path, 0o644),
        "chown": lambda: os.chown(path, 0, 0),
        "lchown": lambda: os.lchown(path, 0, 0),
        "truncate": lambda: os.truncate(path, 0),
        "utime": lambda: os.utime(path, (1, 1)),
        "utimensat": lambda: utimensat(path, (1, 1), (1, 1), 0x100),
        "readlink": lambda: os.readlink(path),
        "unlink": lambda: os.unlink(path),
        "rmdir": lambda: os.rmdir(path),
        "rename from": lambda: os.rename(path, good.with_name("renamed")),
        "rename to": lambda: os.rename(good, path / "x"),
        "exchange": lambda: renameat2(good, path, 2),
        "link from": lambda: os.link(path, good.with_name("linked")),
        "link to": lambda: os.link(good, path / "x"),
        "symlink": lambda: os.symlink("x", path / "x"),
        "mkdir": lambda: os.mkdir(path / "x"),
        "mkfifo": lambda: os.mkfifo(path / "x"),
        "listdir": lambda: len(os.listdir(path)),
        "chdir": lambda: os.chdir(path),
        "statvfs": lambda: os.statvfs(path).f_namemax,
        "getxattr": lambda: os.getxattr(path, "user.a"),
        "lgetxattr": lambda: os.getxattr(path, "user.a", follow_symlinks=False),
        "setxattr": lambda: os.setxattr(path, "user.a", b"x"),
        "listxattr": lambda: len(os.listxattr(path)),
        "removexattr": lambda: os.removexattr(path, "user.a"),
    }
    return {name: attempt(call) for name, call in calls.items()}


def by_descriptor(fd: int) -> Mapping[str, object]:
    """What each call that takes a descriptor answers to `fd`."""
    calls: Mapping[str, Callable[[], object]] = {
        "read": lambda: len(os.read(fd, 1)),
        "pread": lambda: len(os.pread(fd, 1, 0)),
        "write": lambda: os.write(fd, b"x"),
        "pwrite": lambda: os.pwrite(fd, b"x", 0),
        "lseek": lambda: os.lseek(fd, 0, os.SEEK_SET),
        "fstat": lambda: os.fstat(fd).st_mode,
        "fchmod": lambda: os.fchmod(fd, 0o644),
        "fchown": lambda: os.fchown(fd, 0, 0),
        "ftruncate": lambda: os.ftruncate(fd, 0),
        "futimens": lambda: futimens(fd, (1, 1), (1, 1)),
        "fsync": lambda: os.fsync(fd),
        "fdatasync": lambda: os.fdatasync(fd),
        "fallocate": lambda: fallocate(fd, 0, 0, 10),
        "fstatvfs": lambda: os.fstatvfs(fd).f_namemax,
        "fgetxattr": lambda: os.getxattr(fd, "user.a"),
        "fsetxattr": lambda: os.setxattr(fd, "user.a", b"x"),
        "listdir": lambda: len(os.listdir(fd)),
        "fchdir": lambda: os.fchdir(fd),
        "openat": lambda: try_open("x", os.O_RDONLY, dir_fd=fd),
        "mkdirat": lambda: os.mkdir("x", dir_fd=fd),
        "unlinkat": lambda: os.unlink("none", dir_fd=fd),
        "flock": lambda: fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB),
        "lockf": lambda: os.lockf(fd, os.F_TLOCK, 1),
        "dup": lambda: os.close(os.dup(fd)),
        "getfl": lambda: fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE,
    }
    return {name: attempt(call) for name, call in calls.items()}


def check_missing(directory: Path) -> object:
    """Nothing there: ENOENT to all."""
    result = by_path(directory / "none", make(directory / "good"))
    wanted = dict.fromkeys(result, "ENOENT") | {"access": False}
    assert result == wanted
    return result, names(directory)


def check_missing_parent(directory: Path) -> object:
    """Not even the directory there: ENOENT to all."""
    result = by_path(directory / "none" / "x", make(directory / "good"))
    assert result == dict.fromkeys(result, "ENOENT") | {"access": False}
    return result, names(directory)


def check_file_as_directory(directory: Path) -> object:
    """A file in the middle of the path: ENOTDIR to all."""
    result = by_path(make(directory / "file") / "x", make(directory / "good"))
    assert result == dict.fromkeys(result, "ENOTDIR") | {"access": False}
    return result, names(directory)


def check_loop_in_the_middle(directory: Path) -> object:
    """A link to itself in the middle of the path: ELOOP to all."""
    (directory / "loop").symlink_to("loop")
    result = by_path(directory / "loop" / "x", make(directory / "good"))
    assert result == dict.fromkeys(result, "ELOOP") | {"access": False}
    return result, names(directory)


def check_name_too_long(directory: Path) -> object:
    """A name of 256 bytes in the middle of the path: ENAMETOOLONG to all."""
    result = by_path(directory / ("n" * 256) / "x", make(directory / "good"))
    assert result == dict.fromkeys(result, "ENAMETOOLONG") | {"access": False}
    return result, names(directory)


def check_without_search_permission(directory: Path) -> object:
    """A directory that one may not search in the middle of the path: EACCES to all."""
    directory.chmod(0o777)
    (directory / "closed").mkdir()
    make(directory / "closed" / "file")
    (directory / "closed").chmod(0o600)
    good = make(directory / "good", owner=ALICE.owner)
    result = as_user(ALICE, by_path, directory / "closed" / "file", good)
    assert result == dict.fromkeys(result, "EACCES") | {"access": False}
    return result, names(directory)


def check_file_of_another_user(directory: Path) -> object:
    """A file of another user in another user's directory: what may be asked, and EACCES or EPERM to the rest."""
    directory.chmod(0o777)
    (directory / "theirs").mkdir()
    path = make(directory / "theirs" / "file", b"text", 0o600)
    return as_user(ALICE, by_path, path, make(directory / "good", owner=ALICE.owner)), names(directory)


def check_directory_as_file(directory: Path) -> object:
    """A directory, to every call."""
    (directory / "dir").mkdir()
    result = dict(by_path(directory / "dir", make(directory / "good")))
    os.chdir("/")
    for name in ("stat", "lstat"):
        result.pop(name)  # the size of a directory
    return result, names(directory)


def check_fifo_as_file(directory: Path) -> object:
    """A socket, to every call: ENXIO to open."""
    os.mknod(directory / "socket", 0o140666)
    result = by_path(directory / "socket", make(directory / "good"))
    assert result["open"] == "ENXIO"
    return result, names(directory)


def check_dangling_link(directory: Path) -> object:
    """A dangling link, to every call."""
    (directory / "dangling").symlink_to("none")
    result = by_path(directory / "dangling", make(directory / "good"))
    assert result["stat"] == "ENOENT"
    return result, names(directory)


def check_closed_descriptor(directory: Path) -> object:
    """A descriptor that is closed: EBADF to all."""
    with opened(make(directory / "file"), os.O_RDWR) as fd:
        pass
    result = by_descriptor(fd)
    assert set(result.values()) == {"EBADF"}
    return result


def check_descriptor_for_reading(directory: Path) -> object:
    """A read-only descriptor, to every call."""
    with opened(make(directory / "file", b"text"), os.O_RDONLY) as fd:
        return by_descriptor(fd)


def check_descriptor_for_writing(directory: Path) -> object:
    """A write-only descriptor, to every call."""
    with opened(make(directory / "file", b"text"), os.O_WRONLY) as fd:
        result = dict(by_descriptor(fd))
    fallocated = result.pop("fallocate")
    assert fallocated in (None, "EOPNOTSUPP")
    os.truncate(directory / "file", 0)
    return result


def check_descriptor_of_a_directory(directory: Path) -> object:
    """A directory's descriptor, to every call."""
    (directory / "dir").mkdir()
    with opened(directory / "dir", os.O_RDONLY) as fd:
        result = dict(by_descriptor(fd))
    os.chdir("/")
    return result


def check_descriptor_by_path(directory: Path) -> object:
    """An O_PATH descriptor, to every call."""
    with opened(make(directory / "file", b"text"), os.O_PATH) as fd:
        return by_descriptor(fd)


def check_bad_pointers(directory: Path) -> object:
    """Pointers to nowhere are EFAULT."""
    path = os.fsencode(make(directory / "file", b"text"))
    calls = {
        "open": lambda: libc.open(NOWHERE, 0),
        "stat buffer": lambda: libc.syscall(4, path, NOWHERE),
        "readlink": lambda: libc.readlink(NOWHERE, NOWHERE, 10),
        "rename": lambda: libc.rename(path, NOWHERE),
        "mkdir": lambda: libc.mkdir(NOWHERE, 0o777),
        "getxattr": lambda: libc.getxattr(NOWHERE, b"user.a", None, 0),
        "setxattr name": lambda: libc.setxattr(path, NOWHERE, b"x", 1, 0),
        "setxattr value": lambda: libc.setxattr(path, b"user.a", NOWHERE, 10, 0),
        "utimensat": lambda: libc.utimensat(-100, path, NOWHERE, 0),
        "statfs": lambda: libc.syscall(137, path, NOWHERE),
    }
    result = {}
    for name, call in calls.items():
        result[name] = errno.errorcode[ctypes.get_errno()] if call() == -1 else "done"
    assert set(result.values()) == {"EFAULT"}
    return result


def check_bad_flags(directory: Path) -> object:
    """Flags that no call knows are EINVAL."""
    path = make(directory / "file", b"text")
    name = os.fsencode(path)
    calls = {
        "unlinkat": lambda: libc.unlinkat(-100, name, 0x80000),
        "fchownat": lambda: libc.fchownat(-100, name, 0, 0, 0x80000),
        "linkat": lambda: libc.linkat(-100, name, -100, name + b"2", 0x80000),
        "fstatat": lambda: libc.syscall(262, -100, name, ctypes.create_string_buffer(200), 0x80000),
        "renameat2": lambda: libc.renameat2(-100, name, -100, name + b"2", 0x80),
        "utimensat": lambda: libc.utimensat(-100, name, None, 0x80000),
        "setxattr": lambda: libc.setxattr(name, b"user.a", b"x", 1, 0x80),
        "fallocate": lambda: libc.syscall(437, -100, name, b"\0" * 24, 3),
    }
    result = {}
    for call_name, call in calls.items():
        result[call_name] = errno.errorcode[ctypes.get_errno()] if call() == -1 else "done"
    assert set(result.values()) == {"EINVAL"}
    return result, names(directory)


def check_too_many_open_files(directory: Path) -> object:
    """At the process's limit open is EMFILE, and goes on once one is closed."""
    import resource

    path = make(directory / "file")
    most = max(map(int, os.listdir("/proc/self/fd"))) + 32
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    fds: list[int] = []
    while isinstance(fd := attempt(os.open, path, os.O_RDONLY), int):
        fds.append(fd)
    result = [fd]
    os.close(fds.pop())
    result.append(try_open(path, os.O_RDONLY))
    assert result == ["EMFILE", "opened"]
    return result


def check_across_filesystems(directory: Path) -> object:
    """rename and link to another filesystem are EXDEV, in both directions."""
    path = make(directory / "file")
    elsewhere = Path(f"/dev/shm/vexfs-check-{os.getpid()}")
    elsewhere.write_bytes(b"")
    try:
        result = [
            attempt(os.rename, path, elsewhere.with_suffix(".x")),
            attempt(os.link, path, elsewhere.with_suffix(".x")),
            attempt(os.rename, elsewhere, directory / "x"),
            attempt(os.link, elsewhere, directory / "x"),
            attempt(renameat2, path, elsewhere, 2),
        ]
    finally:
        elsewhere.unlink()
    assert result == ["EXDEV"] * 5
    return result, names(directory)


def check_ioctls(directory: Path) -> object:
    """An unknown ioctl is ENOTTY, on files and directories; FIONREAD tells what is left to read."""
    result = []
    with opened(make(directory / "file", b"text"), os.O_RDWR) as fd, opened(directory, os.O_RDONLY) as dir_fd:
        result += [attempt(fcntl.ioctl, one, 0x5413, b"\0" * 8) for one in (fd, dir_fd)]
        result += [attempt(fcntl.ioctl, one, 0x8008DEAD, b"\0" * 8) for one in (fd, dir_fd)]
        os.lseek(fd, 1, os.SEEK_SET)
        result.append(attempt(fcntl.ioctl, fd, 0x541B, b"\0" * 4))
    assert result[:4] == ["ENOTTY"] * 4
    return result


def check_inode_flags(directory: Path) -> object:
    """FS_IOC_GETFLAGS and SETFLAGS (lsattr, chattr): an immutable file is EPERM to all that change it."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_RDONLY) as fd:
        result: list[object] = [attempt(fcntl.ioctl, fd, 0x40086602, b"\x10" + b"\0" * 7)]
        found = attempt(fcntl.ioctl, fd, 0x80086601, b"\0" * 8)
        result.append(found if isinstance(found, str) else bool(found[0] & 0x10))  # type: ignore[index]
        result += [try_open(path, os.O_WRONLY), attempt(os.unlink, path), attempt(os.chmod, path, 0o600)]
        attempt(fcntl.ioctl, fd, 0x40086602, b"\0" * 8)
    attempt(os.unlink, path)
    return result


def check_inode_flags_of_a_directory(directory: Path) -> object:
    """In an append-only directory names are made, not removed."""
    below = directory / "below"
    below.mkdir()
    make(below / "file")
    with opened(below, os.O_RDONLY) as fd:
        result: list[object] = [attempt(fcntl.ioctl, fd, 0x40086602, b"\x20" + b"\0" * 7)]
        result += [attempt(os.unlink, below / "file"), attempt(make, below / "other") is not None]
        attempt(fcntl.ioctl, fd, 0x40086602, b"\0" * 8)
    return result


def check_inode_flags_need_the_owner(directory: Path) -> object:
    """Only the owner sets flags, and immutable is nobody's but root's."""
    path = make(directory / "file", owner=ALICE.owner)
    path.chmod(0o666)

    def flag(bits: int) -> object:
        with opened(path, os.O_RDONLY) as fd:
            return attempt(fcntl.ioctl, fd, 0x40086602, bits.to_bytes(8, "little"))

    return [as_user(user, flag, bits) for user in (ALICE, BOB) for bits in (0x40, 0x10)]


def check_unknown_ioctl(directory: Path) -> object:
    """What only a terminal knows is ENOTTY."""
    with opened(make(directory / "file"), os.O_RDONLY) as fd:
        result = attempt(fcntl.ioctl, fd, 0x5401, bytes(60))
    assert result == "ENOTTY"
    return result
