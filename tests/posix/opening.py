"""open(2) of what exists: flags, kinds of target, and their errnos."""

import fcntl
import os
from pathlib import Path

from tests.posix.calls import attempt, make, opened, try_open

ACCESS_MODES = {"RDONLY": os.O_RDONLY, "WRONLY": os.O_WRONLY, "RDWR": os.O_RDWR}


def check_missing(directory: Path) -> object:
    """Opening a name that does not exist is ENOENT in every access mode."""
    result = [try_open(directory / "none", flags) for flags in ACCESS_MODES.values()]
    assert result == ["ENOENT"] * 3
    return result


def check_component_is_a_file(directory: Path) -> object:
    """A file in the middle of a path is ENOTDIR."""
    make(directory / "file")
    result = try_open(directory / "file" / "below", os.O_RDONLY)
    assert result == "ENOTDIR"
    return result


def check_trailing_slash(directory: Path) -> object:
    """A trailing slash demands a directory."""
    make(directory / "file")
    (directory / "dir").mkdir()
    result = [try_open(f"{directory}/{name}/", os.O_RDONLY) for name in ("file", "dir", "none")]
    assert result == ["ENOTDIR", "opened", "ENOENT"]
    return result


def check_directory_for_writing(directory: Path) -> object:
    """A directory opens for reading only; EISDIR otherwise."""
    result = {name: try_open(directory, flags) for name, flags in ACCESS_MODES.items()}
    assert result == {"RDONLY": "opened", "WRONLY": "EISDIR", "RDWR": "EISDIR"}
    return result


def check_o_directory(directory: Path) -> object:
    """O_DIRECTORY opens directories and refuses all else with ENOTDIR."""
    make(directory / "file")
    (directory / "dir").mkdir()
    (directory / "to_dir").symlink_to("dir")
    (directory / "to_file").symlink_to("file")
    cases = ("file", "dir", "to_dir", "to_file")
    result = {name: try_open(directory / name, os.O_RDONLY | os.O_DIRECTORY) for name in cases}
    assert result == {"file": "ENOTDIR", "dir": "opened", "to_dir": "opened", "to_file": "ENOTDIR"}
    return result


def check_o_directory_with_creat(directory: Path) -> object:
    """O_DIRECTORY with O_CREAT never makes a file."""
    result = try_open(directory / "new", os.O_RDONLY | os.O_DIRECTORY | os.O_CREAT)
    return result, (directory / "new").exists()


def check_o_nofollow(directory: Path) -> object:
    """O_NOFOLLOW refuses a final symbolic link with ELOOP and follows those before it."""
    (directory / "dir").mkdir()
    make(directory / "dir" / "file")
    (directory / "link").symlink_to("dir/file")
    (directory / "way").symlink_to("dir")
    result = [
        try_open(directory / "link", os.O_RDONLY | os.O_NOFOLLOW),
        try_open(directory / "way" / "file", os.O_RDONLY | os.O_NOFOLLOW),
        try_open(directory / "dir" / "file", os.O_RDONLY | os.O_NOFOLLOW),
    ]
    assert result == ["ELOOP", "opened", "opened"]
    return result


def check_o_nofollow_directory_link(directory: Path) -> object:
    """O_NOFOLLOW with O_DIRECTORY on a link to a directory fails."""
    (directory / "dir").mkdir()
    (directory / "link").symlink_to("dir")
    result = try_open(directory / "link", os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    assert result in ("ELOOP", "ENOTDIR")
    return result


def check_dangling_link(directory: Path) -> object:
    """A link that points nowhere is ENOENT to open."""
    (directory / "link").symlink_to("nowhere")
    result = try_open(directory / "link", os.O_RDONLY)
    assert result == "ENOENT"
    return result


def check_read_only_descriptor(directory: Path) -> object:
    """A read-only descriptor refuses writing with EBADF and truncation with EINVAL."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_RDONLY) as fd:
        result = [attempt(os.write, fd, b"x"), attempt(os.ftruncate, fd, 0), attempt(os.read, fd, 10)]
    assert result == ["EBADF", "EINVAL", b"text"]
    return result


def check_write_only_descriptor(directory: Path) -> object:
    """A write-only descriptor refuses reading with EBADF."""
    path = make(directory / "file", b"text")
    with opened(path, os.O_WRONLY) as fd:
        result = [attempt(os.read, fd, 1), attempt(os.pread, fd, 1, 0), attempt(os.write, fd, b"next")]
    assert result == ["EBADF", "EBADF", 4]
    return result, path.read_bytes()


def check_truncate_on_open(directory: Path) -> object:
    """O_TRUNC empties a file that is opened for writing and keeps its inode and mode."""
    path = make(directory / "file", b"text", 0o640)
    ino = path.stat().st_ino
    with opened(path, os.O_WRONLY | os.O_TRUNC) as fd:
        size = os.fstat(fd).st_size
    after = path.stat()
    assert (size, after.st_size, after.st_ino) == (0, 0, ino)
    return oct(after.st_mode)


def check_truncate_read_only(directory: Path) -> object:
    """O_RDONLY with O_TRUNC: POSIX leaves it open, Linux truncates; equal is what counts."""
    path = make(directory / "file", b"text")
    return try_open(path, os.O_RDONLY | os.O_TRUNC), path.stat().st_size


def check_truncate_seen_by_others(directory: Path) -> object:
    """O_TRUNC shows at once to a descriptor that is already open."""
    path = make(directory / "file", b"some text")
    with opened(path, os.O_RDONLY) as reader:
        before = os.read(reader, 4)
        with opened(path, os.O_WRONLY | os.O_TRUNC) as writer:
            gone = os.read(reader, 10)
            os.write(writer, b"other words")
        after = os.read(reader, 100)
    assert (before, gone, after) == (b"some", b"", b"r words")
    return before, gone, after


def check_truncate_of_directory(directory: Path) -> object:
    """O_TRUNC on a directory is EISDIR."""
    result = try_open(directory, os.O_RDWR | os.O_TRUNC)
    assert result == "EISDIR"
    return result


def check_flags_are_reported(directory: Path) -> object:
    """F_GETFL gives back the access mode and status flags, without the creation flags."""
    path = make(directory / "file")
    wanted = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK
    with opened(path, wanted | os.O_CREAT | os.O_TRUNC) as fd:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    assert flags & (os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_CREAT | os.O_TRUNC) == wanted
    return flags & ~0o100000  # O_LARGEFILE is the C library's


def check_append_switched_on_later(directory: Path) -> object:
    """F_SETFL can turn O_APPEND on and off for an open file."""
    path = make(directory / "file", b"0123456789")
    with opened(path, os.O_RDWR) as fd:
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
        os.write(fd, b"end")
        fcntl.fcntl(fd, fcntl.F_SETFL, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, b"start")
    assert path.read_bytes() == b"start56789end"
    return path.read_bytes()


def check_lowest_descriptor(directory: Path) -> object:
    """Each open has its own offset, dup shares one."""
    path = make(directory / "file", b"abcdef")
    with opened(path, os.O_RDONLY) as one, opened(path, os.O_RDONLY) as other:
        twin = os.dup(one)
        result = [os.read(one, 2), os.read(twin, 2), os.read(other, 2)]
        os.close(twin)
    assert result == [b"ab", b"cd", b"ab"]
    return result


def check_closed_descriptor(directory: Path) -> object:
    """Calls on a closed descriptor are EBADF."""
    fd = os.open(make(directory / "file"), os.O_RDWR)
    os.close(fd)
    calls = (os.fstat, os.fsync, lambda fd: os.read(fd, 1), lambda fd: os.ftruncate(fd, 0), lambda fd: os.fchmod(fd, 0))
    result = [attempt(call, fd) for call in calls]
    assert result == ["EBADF"] * 5
    return result


def check_relative_to_descriptor(directory: Path) -> object:
    """openat works from a directory's descriptor, also after the directory has been renamed."""
    (directory / "dir").mkdir()
    make(directory / "dir" / "file", b"here")
    with opened(directory / "dir", os.O_RDONLY) as fd:
        (directory / "dir").rename(directory / "moved")
        inner = os.open("file", os.O_RDONLY, dir_fd=fd)
        data = os.read(inner, 10)
        os.close(inner)
        up = try_open("../moved/file", os.O_RDONLY, dir_fd=fd)
        missing = try_open("none", os.O_RDONLY, dir_fd=fd)
    assert (data, up, missing) == (b"here", "opened", "ENOENT")
    return data, up, missing


def check_relative_to_a_file(directory: Path) -> object:
    """openat from a file's descriptor is ENOTDIR."""
    with opened(make(directory / "file"), os.O_RDONLY) as fd:
        result = try_open("below", os.O_RDONLY, dir_fd=fd)
    assert result == "ENOTDIR"
    return result


def check_reopen_through_proc(directory: Path) -> object:
    """A descriptor reopens through /proc/self/fd with another access mode."""
    path = make(directory / "file", b"old")
    with opened(path, os.O_RDONLY) as fd, opened(f"/proc/self/fd/{fd}", os.O_WRONLY) as writer:
        os.write(writer, b"new")
        result = os.pread(fd, 3, 0)
    assert result == b"new"
    return result


def check_reopen_read_only(directory: Path) -> object:
    """A file that is open for writing can be opened for reading, and the reader sees each write."""
    path = directory / "file"
    seen = []
    with opened(path, os.O_WRONLY | os.O_CREAT) as writer, opened(path, os.O_RDONLY) as reader:
        for piece in (b"one", b"two", b"three"):
            os.write(writer, piece)
            seen.append(os.read(reader, 100))
    assert seen == [b"one", b"two", b"three"]
    return seen


def check_o_sync_flags(directory: Path) -> object:
    """O_SYNC and O_DSYNC open, write and read back."""
    result = []
    for flag in (os.O_SYNC, os.O_DSYNC):
        with opened(directory / f"file{flag}", os.O_RDWR | os.O_CREAT | flag) as fd:
            result.append((os.write(fd, b"data"), os.pread(fd, 10, 0)))
    return result


def check_o_noatime_keeps_the_access_time(directory: Path) -> object:
    """Reading through O_NOATIME leaves the access time."""
    path = make(directory / "file", b"data")
    os.utime(path, ns=(10**18, 10**18))
    with opened(path, os.O_RDONLY | os.O_NOATIME) as fd:
        os.read(fd, 4)
    assert path.stat().st_atime_ns == 10**18
    return path.stat().st_atime_ns
