"""unlink(2): removal of names."""

import os
import time
from pathlib import Path

from tests.posix.calls import attempt, kind, make, names, opened, shape
from tests.posix.children import ALICE, BOB, as_user, together


def check_file(directory: Path) -> object:
    """An unlinked name is gone at once."""
    make(directory / "a")
    os.unlink(directory / "a")
    result = kind(directory / "a"), names(directory), attempt(os.unlink, directory / "a")
    assert result == ("ENOENT", [], "ENOENT")
    return result


def check_directory(directory: Path) -> object:
    """unlink of a directory is EISDIR on Linux."""
    (directory / "dir").mkdir()
    result = attempt(os.unlink, directory / "dir")
    assert result in ("EISDIR", "EPERM")
    return result


def check_symlink(directory: Path) -> object:
    """unlink of a link removes the link and leaves its target."""
    make(directory / "target")
    (directory / "dir").mkdir()
    for name, target in (("to_file", "target"), ("to_dir", "dir"), ("dangling", "nowhere"), ("loop", "loop")):
        (directory / name).symlink_to(target)
        os.unlink(directory / name)
    return names(directory)


def check_component_is_a_file(directory: Path) -> object:
    """A file in the path is ENOTDIR, nothing in the path ENOENT."""
    make(directory / "file")
    result = [attempt(os.unlink, directory / "file" / "x"), attempt(os.unlink, directory / "none" / "x")]
    assert result == ["ENOTDIR", "ENOENT"]
    return result


def check_trailing_slash(directory: Path) -> object:
    """unlink of a file under a name with a trailing slash is ENOTDIR."""
    make(directory / "file")
    result = attempt(os.unlink, f"{directory}/file/")
    assert result == "ENOTDIR"
    return result, names(directory)


def check_dots(directory: Path) -> object:
    """unlink of "." and ".." fails."""
    result = [attempt(os.unlink, f"{directory}/{name}") for name in (".", "..")]
    assert all(isinstance(one, str) for one in result)
    return result


def check_change_time_of_other_links(directory: Path) -> object:
    """Removing one name marks the change time of the file that remains."""
    path = make(directory / "a")
    os.link(path, directory / "b")
    before = path.stat()
    time.sleep(0.02)
    os.unlink(directory / "b")
    after = path.stat()
    assert after.st_ctime_ns > before.st_ctime_ns
    return after.st_nlink


def check_marks_the_directory(directory: Path) -> object:
    """unlink marks the directory's modification time."""
    make(directory / "a")
    os.utime(directory, ns=(10**18, 10**18))
    os.unlink(directory / "a")
    assert directory.stat().st_mtime_ns > 10**18
    return True


def check_read_only_file(directory: Path) -> object:
    """The file's own mode does not matter; the directory's does."""
    (directory / "open").mkdir()
    (directory / "closed").mkdir()
    for name in ("open", "closed"):
        make(directory / name / "file", mode=0o000, owner=BOB.owner)
    (directory / "open").chmod(0o777)
    result = [as_user(ALICE, attempt, os.unlink, directory / name / "file") for name in ("open", "closed")]
    assert result == [None, "EACCES"]
    return result


def check_without_search_permission(directory: Path) -> object:
    """A directory that one may write but not search does not let its entries be removed."""
    (directory / "dir").mkdir()
    make(directory / "dir" / "file")
    (directory / "dir").chmod(0o666)
    result = as_user(ALICE, attempt, os.unlink, directory / "dir" / "file")
    assert result == "EACCES"
    return result


def check_relative_to_descriptor(directory: Path) -> object:
    """unlinkat removes relative to a directory descriptor; AT_REMOVEDIR is for directories only."""
    make(directory / "file")
    (directory / "dir").mkdir()
    with opened(directory, os.O_RDONLY) as fd:
        result = [
            attempt(os.rmdir, "file", dir_fd=fd),
            attempt(os.unlink, "dir", dir_fd=fd),
            attempt(os.unlink, "file", dir_fd=fd),
            attempt(os.rmdir, "dir", dir_fd=fd),
        ]
    assert result == ["ENOTDIR", "EISDIR", None, None]
    return result


def check_race(directory: Path) -> object:
    """Of several processes that unlink one name, exactly one succeeds."""
    for number in range(30):
        make(directory / str(number))

    def work() -> list[bool]:
        return [attempt(os.unlink, directory / str(number)) is None for number in range(30)]

    wins = [sum(round_) for round_ in zip(*together([work] * 3), strict=True)]
    assert wins == [1] * 30
    return names(directory)


def check_all_kinds(directory: Path) -> object:
    """Every kind of non-directory can be unlinked."""
    make(directory / "file")
    os.mkfifo(directory / "fifo")
    (directory / "link").symlink_to("x")
    os.mknod(directory / "device", 0o20600, os.makedev(1, 3))
    before = [shape(directory / name)["type"] for name in names(directory)]
    for name in names(directory):
        os.unlink(directory / name)
    assert names(directory) == []
    return before


def check_many_then_rmdir(directory: Path) -> object:
    """A directory of several hundred entries can be emptied and removed."""
    (directory / "dir").mkdir()
    for number in range(400):
        make(directory / "dir" / f"file{number}")
    for name in os.listdir(directory / "dir"):
        os.unlink(directory / "dir" / name)
    assert attempt(os.rmdir, directory / "dir") is None
    return names(directory)
