"""Files and directories whose last name is gone while they are open."""

import os
import shutil
import tempfile
from pathlib import Path

from tests.posix.calls import (
    AT_SYMLINK_FOLLOW,
    attempt,
    fallocate,
    futimens,
    kind,
    linkat,
    make,
    names,
    opened,
    shape,
    try_open,
)
from tests.posix.children import ALICE, Steps, as_user

RW = os.O_RDWR | os.O_CREAT


def check_goes_on(directory: Path) -> object:
    """An unlinked open file is read, written, sought and truncated as before."""
    path = make(directory / "file", b"contents")
    with opened(path, os.O_RDWR) as fd:
        path.unlink()
        result = [os.read(fd, 4), os.pwrite(fd, b"NEW", 20), os.fstat(fd).st_size, attempt(os.ftruncate, fd, 6)]
        result += [os.pread(fd, 99, 0), os.fstat(fd).st_nlink, names(directory)]
    assert result == [b"cont", 3, 23, None, b"conten", 0, []]
    return result


def check_attributes(directory: Path) -> object:
    """Its mode, owner, times and extended attributes can be read and set."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        path.unlink()
        os.fchmod(fd, 0o612)
        os.fchown(fd, 7, 8)
        futimens(fd, (1, 2), (3, 4))
        result = [attempt(os.setxattr, fd, "user.a", b"v"), attempt(os.getxattr, fd, "user.a")]
        result += [attempt(os.listxattr, fd), shape(fd), os.fstat(fd).st_mtime_ns, os.fstat(fd).st_atime_ns]
    assert result[1] == b"v"
    assert result[4:] == [3_000_000_004, 1_000_000_002]
    return result


def check_synced(directory: Path) -> object:
    """fsync and fdatasync work on it."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        path.unlink()
        result = attempt(os.fsync, fd), attempt(os.fdatasync, fd)
    assert result == (None, None)
    return result


def check_allocated(directory: Path) -> object:
    """fallocate works on it."""
    path = make(directory / "file", b"x")
    with opened(path, os.O_RDWR) as fd:
        path.unlink()
        result = attempt(fallocate, fd, 0, 0, 10_000), os.fstat(fd).st_size
    assert result == (None, 10_000)
    return result


def check_same_name_again(directory: Path) -> object:
    """A new file of the same name is another file."""
    path = make(directory / "file", b"old")
    with opened(path, os.O_RDWR) as old:
        path.unlink()
        with opened(path, RW) as new:
            os.write(new, b"new")
            result = [os.pread(old, 9, 0), os.pread(new, 9, 0), os.fstat(old).st_ino == os.fstat(new).st_ino]
    assert result == [b"old", b"new", False]
    return result


def check_many_generations(directory: Path) -> object:
    """Fifty files of one name, each unlinked while open, keep their own contents."""
    fds = []
    for number in range(50):
        fd = os.open(directory / "file", RW | os.O_EXCL)
        os.write(fd, b"%d" % number)
        (directory / "file").unlink()
        fds.append(fd)
    result = [os.pread(fd, 9, 0) for fd in fds]
    for fd in fds:
        os.close(fd)
    assert result == [b"%d" % number for number in range(50)]
    return names(directory)


def check_inode_numbers_come_back(directory: Path) -> object:
    """Files made and removed in quick succession never show another's contents, though inode numbers are reused."""
    for number in range(60):
        path = make(directory / f"file{number % 3}", b"%d" % number)
        assert path.read_bytes() == b"%d" % number
        assert path.stat().st_size == len(b"%d" % number)
        path.unlink()
        (directory / f"file{number % 3}").mkdir()
        assert kind(directory / f"file{number % 3}") == "directory"
        (directory / f"file{number % 3}").rmdir()
    return names(directory)


def check_another_link_remains(directory: Path) -> object:
    """With another link left, the file lives on under it."""
    path = make(directory / "one", b"text")
    os.link(path, directory / "two")
    with opened(path, os.O_RDWR) as fd:
        path.unlink()
        os.pwrite(fd, b"T", 0)
        result = (directory / "two").read_bytes(), os.fstat(fd).st_nlink
    assert result == (b"Text", 1)
    return result


def check_reopened_through_proc(directory: Path) -> object:
    """/proc/self/fd opens it anew, for reading and for truncation."""
    path = make(directory / "file", b"contents")
    with opened(path, os.O_RDWR) as fd:
        path.unlink()
        link = f"/proc/self/fd/{fd}"
        result = [Path(link).read_bytes(), os.stat(link).st_nlink]
        result += [try_open(link, os.O_WRONLY | os.O_TRUNC), os.fstat(fd).st_size]
    assert result == [b"contents", 0, "opened", 0]
    return result


def check_cannot_be_linked_again(directory: Path) -> object:
    """A file without a name gets none by link."""
    path = make(directory / "file")
    with opened(path, os.O_RDWR) as fd:
        path.unlink()
        result = attempt(linkat, -100, b"/proc/self/fd/%d" % fd, directory / "again", AT_SYMLINK_FOLLOW)
    assert result == "ENOENT"
    return result, names(directory)


def check_removed_by_another_process(directory: Path) -> object:
    """The remover may be another process, or another user."""
    directory.chmod(0o777)
    path = make(directory / "file", b"text")
    with opened(path, os.O_RDWR) as fd:
        as_user(ALICE, os.unlink, path)
        result = os.pread(fd, 9, 0), os.write(fd, b"NEXT"), os.pread(fd, 9, 0), os.fstat(fd).st_nlink
    assert result == (b"text", 4, b"NEXT", 0)
    return result


def check_held_by_another_process(directory: Path) -> object:
    """Another process that holds it open goes on when this one has closed it."""
    path = make(directory / "file", b"text")
    held: list[int] = []

    def hold() -> None:
        held.append(os.open(path, os.O_RDWR))

    with Steps([hold, lambda: (os.write(held[0], b"T"), os.pread(held[0], 9, 0))]) as other:
        other.step()
        path.unlink()
        make(path, b"new").unlink()
        result = other.step()
    assert result == (1, b"Text")
    return result


def check_replaced_by_rename(directory: Path) -> object:
    """A file that is replaced by rename while open keeps its contents for those who have it open."""
    path = make(directory / "file", b"old")
    with opened(path, os.O_RDWR) as old:
        make(directory / "new", b"new").rename(path)
        result = [os.pread(old, 9, 0), path.read_bytes(), os.fstat(old).st_nlink]
        os.pwrite(old, b"OLD!", 0)
        result += [os.pread(old, 9, 0), path.read_bytes()]
    assert result == [b"old", b"new", 0, b"OLD!", b"new"]
    return result


def check_removed_directory(directory: Path) -> object:
    """A removed open directory is empty, has no links and takes no entries."""
    (directory / "dir").mkdir()
    with opened(directory / "dir", os.O_RDONLY) as fd:
        (directory / "dir").rmdir()
        result = [
            os.fstat(fd).st_nlink,
            try_open("file", RW, dir_fd=fd),
            attempt(os.mkdir, "dir", dir_fd=fd),
            attempt(os.symlink, "x", "link", dir_fd=fd),
            attempt(os.fchmod, fd, 0o700),
            attempt(os.fchdir, fd),
            attempt(os.stat, "none", dir_fd=fd),
            attempt(os.rename, directory, "x", dst_dir_fd=fd),
        ]
        os.chdir("/")
    assert result[1:4] == ["ENOENT"] * 3
    return result


def check_removed_tree_under_a_reader(directory: Path) -> object:
    """A process in a directory whose whole tree is removed can leave it."""
    (directory / "a" / "b" / "c").mkdir(parents=True)
    os.chdir(directory / "a" / "b" / "c")
    shutil.rmtree(directory / "a")
    result = [attempt(os.getcwd), attempt(os.listdir, "."), attempt(os.mkdir, "d"), kind(Path("x"))]
    os.chdir(directory)
    assert result[0] == "ENOENT"
    return result, names(directory)


def check_parent_renamed(directory: Path) -> object:
    """Descriptors and relative paths go on when a directory above is renamed."""
    (directory / "a" / "b").mkdir(parents=True)
    path = make(directory / "a" / "b" / "file", b"text")
    with opened(path, os.O_RDWR) as fd, opened(directory / "a" / "b", os.O_RDONLY) as dir_fd:
        (directory / "a").rename(directory / "z")
        (directory / "a").mkdir()
        os.write(fd, b"T")
        os.close(os.open("new", RW, dir_fd=dir_fd))
        os.rename("file", "moved", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        result = [names(directory / "z" / "b"), (directory / "z" / "b" / "moved").read_bytes(), names(directory / "a")]
    assert result == [["moved", "new"], b"Text", []]
    return result


def check_temporary_files(directory: Path) -> object:
    """Python's TemporaryFile: whatever way it takes, it works and leaves nothing."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"x" * 100_000)
        file.seek(50_000)
        result = len(file.read()), os.fstat(file.fileno()).st_nlink
    assert result == (50_000, 0)
    return result, names(directory)


def check_executing_an_unlinked_directory_entry(directory: Path) -> object:
    """A file in a directory that is moved elsewhere while the file is open is still the same file."""
    (directory / "from").mkdir()
    (directory / "to").mkdir()
    path = make(directory / "from" / "file", b"text")
    with opened(path, os.O_RDWR) as fd:
        path.rename(directory / "to" / "file")
        (directory / "from").rmdir()
        os.pwrite(fd, b"moved", 0)
        result = (
            os.fstat(fd).st_ino == (directory / "to" / "file").stat().st_ino,
            (directory / "to" / "file").read_bytes(),
        )
    assert result == (True, b"moved")
    return result
