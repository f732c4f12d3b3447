"""O_PATH descriptors, AT_EMPTY_PATH and openat2's ways to resolve."""

import ctypes
import os
import struct
from pathlib import Path

from tests.posix.calls import AT_EMPTY_PATH, attempt, linkat, make, names, opened, shape, try_open
from tests.posix.children import ALICE, as_user

OPENAT2 = 437
NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH, IN_ROOT, CACHED = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
libc = ctypes.CDLL(None, use_errno=True)


def openat2(dir_fd: int, path: str, flags: int, resolve: int) -> object:
    """ "opened", or the errno's name."""

    def call() -> int:
        how = struct.pack("<QQQ", flags, 0, resolve)
        fd = libc.syscall(OPENAT2, dir_fd, os.fsencode(path), how, len(how))
        if fd < 0:
            raise OSError(ctypes.get_errno(), path)
        os.close(fd)
        return fd

    result = attempt(call)
    while result == "EAGAIN":  # a rename or mount anywhere on the machine came in between: try again, says openat2(2)
        result = attempt(call)
    return result if isinstance(result, str) else "opened"


def check_of_everything(directory: Path) -> object:
    """O_PATH opens every kind, links themselves with O_NOFOLLOW, and fstat describes it."""
    make(directory / "file", b"text")
    (directory / "dir").mkdir()
    (directory / "link").symlink_to("file")
    os.mkfifo(directory / "fifo")
    os.mknod(directory / "device", 0o20600, os.makedev(400, 1))
    result = {}
    for name in names(directory):
        with opened(directory / name, os.O_PATH | os.O_NOFOLLOW) as fd:
            assert shape(fd) == shape(directory / name)
            result[name] = shape(fd)
    return result


def check_cannot_do_io(directory: Path) -> object:
    """Reading, writing and changing through it are EBADF."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_PATH) as fd:
        result = [
            attempt(os.read, fd, 1),
            attempt(os.write, fd, b"x"),
            attempt(os.fchmod, fd, 0o600),
            attempt(os.fchown, fd, 0, 0),
            attempt(os.ftruncate, fd, 0),
            attempt(os.fsync, fd),
            attempt(os.setxattr, fd, "user.a", b"x"),
            attempt(os.lseek, fd, 0, 0),
        ]
    assert set(result) == {"EBADF"}
    return result


def check_needs_no_permission(directory: Path) -> object:
    """It needs no permission on the file, only the way there."""
    path = make(directory / "file", b"text", 0o000)

    def work() -> object:
        with opened(path, os.O_PATH) as fd:
            return shape(fd)["size"], try_open(f"/proc/self/fd/{fd}", os.O_RDONLY)

    result = as_user(ALICE, work)
    assert result == (4, "EACCES")
    return result


def check_directory_to_start_from(directory: Path) -> object:
    """An O_PATH directory serves as start of relative paths, and for fchdir."""
    (directory / "dir").mkdir()
    make(directory / "dir" / "file", b"text")
    with opened(directory / "dir", os.O_PATH | os.O_DIRECTORY) as fd:
        result = [try_open("file", os.O_RDONLY, dir_fd=fd), attempt(os.mkdir, "sub", dir_fd=fd)]
        result += [os.stat("file", dir_fd=fd).st_size, attempt(os.listdir, fd), attempt(os.fchdir, fd)]
        result.append(names(Path(".")))
    os.chdir("/")
    assert result == ["opened", None, 4, "EBADF", None, ["file", "sub"]]
    return result


def check_survives_rename_and_unlink(directory: Path) -> object:
    """It stays on its file through rename and unlink."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_PATH) as fd:
        path.rename(directory / "moved")
        make(path, b"another")
        result: list[object] = [os.fstat(fd).st_size, Path(f"/proc/self/fd/{fd}").read_bytes()]
        (directory / "moved").unlink()
        result += [os.fstat(fd).st_nlink, os.fstat(fd).st_size]
    assert result == [4, b"text", 0, 4]
    return result


def check_reopened(directory: Path) -> object:
    """Through /proc it opens for reading and writing, by the file's own permissions."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_PATH) as fd:
        with opened(f"/proc/self/fd/{fd}", os.O_RDWR) as full:
            os.write(full, b"T")
        result = path.read_bytes(), os.listxattr(f"/proc/self/fd/{fd}")
    assert result == (b"Text", [])
    return result


def check_link_by_descriptor(directory: Path) -> object:
    """linkat with AT_EMPTY_PATH gives its file another name."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_PATH) as fd:
        result = attempt(linkat, fd, b"", directory / "again", AT_EMPTY_PATH)
    assert result is None
    return names(directory), path.stat().st_nlink


def check_change_by_empty_path(directory: Path) -> object:
    """fchownat with an empty path changes a link itself."""
    (directory / "link").symlink_to("x")
    with opened(directory / "link", os.O_PATH | os.O_NOFOLLOW) as fd:
        result = libc.fchownat(fd, b"", 5, 6, AT_EMPTY_PATH)
    assert result == 0
    return shape(directory / "link")


def check_resolve_beneath(directory: Path) -> object:
    """RESOLVE_BENEATH refuses to leave the directory, by "..", by link or by an absolute path, with EXDEV."""
    (directory / "dir" / "sub").mkdir(parents=True)
    make(directory / "dir" / "file")
    make(directory / "outside")
    (directory / "dir" / "up").symlink_to("../outside")
    (directory / "dir" / "absolute").symlink_to("/etc/passwd")
    (directory / "dir" / "inner").symlink_to("sub/../file")
    with opened(directory / "dir", os.O_PATH) as fd:
        paths = ("file", "sub/../file", "../outside", "up", "absolute", "/etc/passwd", "inner")
        result = {path: openat2(fd, path, os.O_RDONLY, BENEATH) for path in paths}
    assert result["file"] == result["inner"] == "opened"
    assert {result[path] for path in ("../outside", "up", "absolute", "/etc/passwd")} == {"EXDEV"}
    return result


def check_resolve_in_root(directory: Path) -> object:
    """RESOLVE_IN_ROOT takes the directory for the root."""
    (directory / "dir").mkdir()
    make(directory / "dir" / "file")
    (directory / "dir" / "absolute").symlink_to("/file")
    with opened(directory / "dir", os.O_PATH) as fd:
        paths = ("/file", "../../file", "absolute", "/etc/passwd")
        result = {path: openat2(fd, path, os.O_RDONLY, IN_ROOT) for path in paths}
    assert list(result.values()) == ["opened", "opened", "opened", "ENOENT"]
    return result


def check_resolve_no_symlinks(directory: Path) -> object:
    """RESOLVE_NO_SYMLINKS refuses any link on the way with ELOOP."""
    (directory / "dir").mkdir()
    make(directory / "dir" / "file")
    (directory / "link").symlink_to("dir")
    with opened(directory, os.O_PATH) as fd:
        result = [openat2(fd, path, os.O_RDONLY, NO_SYMLINKS) for path in ("dir/file", "link/file", "link")]
    assert result == ["opened", "ELOOP", "ELOOP"]
    return result


def check_resolve_no_xdev(directory: Path) -> object:
    """RESOLVE_NO_XDEV allows all within the filesystem."""
    (directory / "a" / "b").mkdir(parents=True)
    make(directory / "a" / "b" / "file")
    with opened(directory, os.O_PATH) as fd:
        result = [openat2(fd, path, os.O_RDONLY, NO_XDEV) for path in ("a/b/file", "a/../a/b", "/proc/version")]
    assert result == ["opened", "opened", "EXDEV"]
    return result


def check_executed(directory: Path) -> object:
    """A program runs from its descriptor."""
    path = directory / "true"
    path.write_bytes(Path("/bin/true").read_bytes())
    path.chmod(0o755)
    with opened(path, os.O_PATH) as fd:
        pid = os.fork()
        if pid == 0:
            os.execve(fd, ["true"], {})
        _, status = os.waitpid(pid, 0)
    path.unlink()
    assert os.waitstatus_to_exitcode(status) == 0
    return os.waitstatus_to_exitcode(status)
