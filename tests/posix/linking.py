"""link(2) and linkat(2)."""

import os
import time
from pathlib import Path

from tests.posix.calls import AT_FDCWD, AT_SYMLINK_FOLLOW, attempt, kind, linkat, make, names, opened, same_inode, shape
from tests.posix.children import ALICE, BOB, as_user


def check_second_name(directory: Path) -> object:
    """A link is the same inode, with one link more on every name."""
    make(directory / "a", b"text", 0o640)
    os.link(directory / "a", directory / "b")
    assert same_inode(directory / "a", directory / "b")
    assert shape(directory / "a") == shape(directory / "b")
    return shape(directory / "b")


def check_contents_are_shared(directory: Path) -> object:
    """Data and attributes written under one name show under the other at once."""
    make(directory / "a", b"text")
    os.link(directory / "a", directory / "b")
    os.stat(directory / "b")
    with opened(directory / "a", os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, b" and more")
        size = os.stat(directory / "b").st_size
    os.chmod(directory / "b", 0o600)
    assert (size, (directory / "b").read_bytes()) == (13, b"text and more")
    return shape(directory / "a")


def check_counts_go_down(directory: Path) -> object:
    """Each unlink takes one link; the last name still leads to the data."""
    make(directory / "a", b"text")
    os.link(directory / "a", directory / "b")
    os.link(directory / "b", directory / "c")
    counts = []
    for name in ("a", "b"):
        os.unlink(directory / name)
        counts.append(os.stat(directory / "c").st_nlink)
    assert counts == [2, 1]
    return (directory / "c").read_bytes()


def check_existing_target(directory: Path) -> object:
    """A target of any kind is EEXIST."""
    make(directory / "a")
    make(directory / "file")
    (directory / "dir").mkdir()
    (directory / "link").symlink_to("nowhere")
    result = [attempt(os.link, directory / "a", directory / name) for name in ("file", "dir", "link", "a")]
    assert result == ["EEXIST"] * 4
    return shape(directory / "a")


def check_missing(directory: Path) -> object:
    """A missing source or target directory is ENOENT, a file in the way ENOTDIR."""
    make(directory / "a")
    pairs = (("none", "b"), ("a", "none/b"), ("a/b", "c"), ("a", "a/b"))
    result = [attempt(os.link, directory / source, directory / target) for source, target in pairs]
    assert result == ["ENOENT", "ENOENT", "ENOTDIR", "ENOTDIR"]
    return result


def check_directory(directory: Path) -> object:
    """A directory cannot be linked, not even by root."""
    (directory / "dir").mkdir()
    result = attempt(os.link, directory / "dir", directory / "b")
    assert result == "EPERM"
    return result, names(directory)


def check_symlink_not_followed(directory: Path) -> object:
    """linkat without AT_SYMLINK_FOLLOW links the link itself."""
    make(directory / "target")
    (directory / "link").symlink_to("target")
    os.link(directory / "link", directory / "b", follow_symlinks=False)
    assert kind(directory / "b") == "symlink"
    return shape(directory / "b"), shape(directory / "target")


def check_symlink_followed(directory: Path) -> object:
    """linkat with AT_SYMLINK_FOLLOW links the target."""
    make(directory / "target", b"text")
    (directory / "link").symlink_to("target")
    linkat(AT_FDCWD, os.fsencode(directory / "link"), directory / "b", AT_SYMLINK_FOLLOW)
    assert same_inode(directory / "b", directory / "target")
    return shape(directory / "b")


def check_special_files(directory: Path) -> object:
    """A fifo can be linked."""
    os.mkfifo(directory / "fifo")
    os.link(directory / "fifo", directory / "b")
    return shape(directory / "b")


def check_of_an_open_descriptor(directory: Path) -> object:
    """An open file gets a further name through /proc/self/fd."""
    with opened(make(directory / "a", b"text"), os.O_RDONLY) as fd:
        linkat(AT_FDCWD, f"/proc/self/fd/{fd}".encode(), directory / "b", AT_SYMLINK_FOLLOW)
        assert os.fstat(fd).st_nlink == 2
    return (directory / "b").read_bytes()


def check_change_time(directory: Path) -> object:
    """link marks the file's change time, not its modification time."""
    path = make(directory / "a")
    before = path.stat()
    time.sleep(0.02)
    os.link(path, directory / "b")
    after = path.stat()
    assert after.st_ctime_ns > before.st_ctime_ns
    assert after.st_mtime_ns == before.st_mtime_ns
    return after.st_nlink


def check_into_unwritable_directory(directory: Path) -> object:
    """A user without write permission on the directory gets EACCES."""
    make(directory / "a", owner=ALICE.owner)
    result = as_user(ALICE, attempt, os.link, directory / "a", directory / "b")
    assert result == "EACCES"
    return result


def check_of_another_users_file(directory: Path) -> object:
    """Linking another's file follows fs.protected_hardlinks, the same on both."""
    directory.chmod(0o777)
    make(directory / "private", mode=0o600, owner=ALICE.owner)
    make(directory / "shared", mode=0o666, owner=ALICE.owner)
    return [as_user(BOB, attempt, os.link, directory / name, directory / f"{name}2") for name in ("private", "shared")]


def check_many_links(directory: Path) -> object:
    """Two hundred names of one file."""
    make(directory / "0", b"text")
    for number in range(1, 200):
        os.link(directory / "0", directory / str(number))
    counts = {os.stat(directory / str(number)).st_nlink for number in range(200)}
    assert counts == {200}
    return len(names(directory))


def check_between_directories(directory: Path) -> object:
    """A file linked from two directories survives the removal of one."""
    for name in ("one", "two"):
        (directory / name).mkdir()
    make(directory / "one" / "a", b"text")
    os.link(directory / "one" / "a", directory / "two" / "a")
    os.unlink(directory / "one" / "a")
    os.rmdir(directory / "one")
    assert (directory / "two" / "a").read_bytes() == b"text"
    return shape(directory / "two" / "a")


def check_rename_one_of_two(directory: Path) -> object:
    """Renaming one name leaves the other in place."""
    make(directory / "a", b"text")
    os.link(directory / "a", directory / "b")
    os.rename(directory / "a", directory / "c")
    assert same_inode(directory / "b", directory / "c")
    return names(directory), shape(directory / "b")
