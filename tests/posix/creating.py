"""Creation of files: O_CREAT, O_EXCL, modes and the umask."""

import os
from pathlib import Path

from tests.posix.calls import attempt, kind, make, mode, names, opened, shape, try_open
from tests.posix.children import ALICE, as_user, together

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL


def check_new_file(directory: Path) -> object:
    """A new file is empty, has one link, and the creator's ids."""
    with opened(directory / "file", NEW, 0o644) as fd:
        assert shape(fd) == shape(directory / "file")
    assert (directory / "file").stat().st_size == 0
    return shape(directory / "file")


def check_exclusive(directory: Path) -> object:
    """O_CREAT | O_EXCL on any existing name is EEXIST, dangling links included."""
    make(directory / "file")
    (directory / "dir").mkdir()
    (directory / "dangling").symlink_to("nowhere")
    os.mkfifo(directory / "fifo")
    result = {name: try_open(directory / name, NEW) for name in ("file", "dir", "dangling", "fifo")}
    assert set(result.values()) == {"EEXIST"}
    return result, names(directory)


def check_create_keeps_existing(directory: Path) -> object:
    """O_CREAT without O_EXCL leaves contents and mode of an existing file alone."""
    path = make(directory / "file", b"text", 0o604)
    with opened(path, os.O_WRONLY | os.O_CREAT, 0o777):
        pass
    assert path.read_bytes() == b"text"
    assert mode(path) == "0o604"
    return shape(path)


def check_create_through_dangling_link(directory: Path) -> object:
    """O_CREAT through a dangling link makes the target."""
    (directory / "link").symlink_to("target")
    result = try_open(directory / "link", os.O_WRONLY | os.O_CREAT)
    assert (result, kind(directory / "target"), kind(directory / "link")) == ("opened", "file", "symlink")
    return result


def check_create_in_missing_directory(directory: Path) -> object:
    """Creating below nothing is ENOENT, below a file ENOTDIR."""
    make(directory / "file")
    result = [try_open(directory / "none" / "x", NEW), try_open(directory / "file" / "x", NEW)]
    assert result == ["ENOENT", "ENOTDIR"]
    return result


def check_create_over_directory(directory: Path) -> object:
    """O_CREAT on a directory is EISDIR, even for reading."""
    (directory / "dir").mkdir()
    result = [try_open(directory / "dir", os.O_CREAT | flags) for flags in (os.O_RDONLY, os.O_WRONLY)]
    assert result == ["EISDIR", "EISDIR"]
    return result


def check_create_with_trailing_slash(directory: Path) -> object:
    """A file cannot be created under a name with a trailing slash."""
    result = try_open(f"{directory}/file/", NEW)
    assert result in ("EISDIR", "ENOENT", "ENOTDIR")
    return result, names(directory)


def check_umask(directory: Path) -> object:
    """The umask takes bits from a new file's mode, and nothing else does."""
    result = {}
    for mask in (0o000, 0o022, 0o027, 0o077, 0o777):
        os.umask(mask)
        for asked in (0o777, 0o666, 0o640, 0o000):
            path = directory / f"{mask:o}-{asked:o}"
            os.close(os.open(path, NEW, asked))
            result[path.name] = mode(path)
            assert mode(path) == oct(asked & ~mask)
    return result


def check_umask_of_an_unprivileged_user(directory: Path) -> object:
    """The umask of the caller counts, not that of the process that serves the mount."""
    directory.chmod(0o777)

    def work() -> object:
        os.umask(0o007)
        with opened(directory / "file", NEW, 0o666):
            pass
        (directory / "dir").mkdir(0o777)
        os.mkfifo(directory / "fifo", 0o666)
        return [shape(directory / name) for name in ("file", "dir", "fifo")]

    result = as_user(ALICE, work)
    assert [one["mode"] for one in result] == ["0o660", "0o770", "0o660"]
    assert {(one["uid"], one["gid"]) for one in result} == {ALICE.owner}
    return result


def check_special_bits_at_creation(directory: Path) -> object:
    """set-uid, set-gid and sticky bits given to open."""
    os.umask(0)
    result = {}
    for bits in (0o4755, 0o2755, 0o1755, 0o7777):
        path = directory / f"{bits:o}"
        os.close(os.open(path, NEW, bits))
        result[path.name] = mode(path)
    return result


def check_writable_despite_mode(directory: Path) -> object:
    """The descriptor of a file created with mode 0 or 0444 can still be written."""
    directory.chmod(0o777)

    def work() -> object:
        result = []
        for bits in (0o000, 0o444):
            with opened(directory / f"{bits:o}", NEW, bits) as fd:
                result.append((os.write(fd, b"data"), os.pread(fd, 9, 0)))
            result.append(try_open(directory / f"{bits:o}", os.O_WRONLY))
        return result

    result = as_user(ALICE, work)
    assert result == [(4, b"data"), "EACCES", (4, b"data"), "EACCES"]
    return result


def check_exclusive_race(directory: Path) -> object:
    """Of several processes that create one name exclusively, exactly one succeeds, each time."""

    def work() -> list[bool]:
        return [try_open(directory / f"lock{number}", NEW) == "opened" for number in range(30)]

    wins = [sum(round_) for round_ in zip(*together([work] * 4), strict=True)]
    assert wins == [1] * 30
    return wins


def check_create_updates_directory_times(directory: Path) -> object:
    """Creating an entry marks the directory's modification and change times."""
    os.utime(directory, ns=(10**18, 10**18))
    make(directory / "file")
    after = directory.stat()
    assert after.st_mtime_ns > 10**18
    return after.st_atime_ns


def check_recreate_after_unlink(directory: Path) -> object:
    """A name can be made, removed and made again, each time as a new empty file."""
    path, result = directory / "file", []
    for number in range(5):
        with opened(path, NEW) as fd:
            os.write(fd, b"x" * number)
        result.append(path.stat().st_size)
        path.unlink()
    assert result == [0, 1, 2, 3, 4]
    return result, kind(path)


def check_negative_lookup_is_not_stale(directory: Path) -> object:
    """A name that was asked for before it existed is found once it exists."""
    path = directory / "late"
    result = [kind(path)]
    (directory / "other").mkdir()
    (directory / "other").rename(path)
    result.append(kind(path))
    path.rmdir()
    result.append(kind(path))
    make(path)
    result.append(kind(path))
    assert result == ["ENOENT", "directory", "ENOENT", "file"]
    return result


def check_many_open_at_once(directory: Path) -> object:
    """Several hundred files created and open together keep their own contents."""
    fds = [os.open(directory / str(number), NEW) for number in range(300)]
    for number, fd in enumerate(fds):
        os.write(fd, str(number).encode())
    result = [os.pread(fd, 10, 0) == str(number).encode() for number, fd in enumerate(fds)]
    for fd in fds:
        os.close(fd)
    assert all(result)
    return len(names(directory))


def check_create_in_removed_directory(directory: Path) -> object:
    """Nothing can be created in a directory that has been removed while it was open."""
    (directory / "dir").mkdir()
    with opened(directory / "dir", os.O_RDONLY) as fd:
        (directory / "dir").rmdir()
        result = [
            try_open("x", NEW, dir_fd=fd),
            attempt(os.mkdir, "y", dir_fd=fd),
            attempt(os.symlink, "a", "z", dir_fd=fd),
        ]
    assert result == ["ENOENT"] * 3
    return result


def check_creat_is_write_only_truncation(directory: Path) -> object:
    """What creat(2) is: O_WRONLY | O_CREAT | O_TRUNC on an existing file keeps its mode."""
    path = make(directory / "file", b"old contents", 0o600)
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o777) as fd:
        os.write(fd, b"new")
    assert path.read_bytes() == b"new"
    return mode(path)
