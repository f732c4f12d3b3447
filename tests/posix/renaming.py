"""rename(2): what replaces what, and the errnos."""

import os
import time
from pathlib import Path

from tests.posix.calls import attempt, kind, make, names, opened, same_inode, shape, try_open
from tests.posix.children import together


def check_file_to_new_name(directory: Path) -> object:
    """A renamed file keeps inode and contents, and the old name is gone."""
    make(directory / "a", b"text")
    ino = (directory / "a").stat().st_ino
    os.rename(directory / "a", directory / "b")
    assert (directory / "b").stat().st_ino == ino
    return names(directory), (directory / "b").read_bytes()


def check_file_over_file(directory: Path) -> object:
    """Renaming over a file replaces it."""
    make(directory / "a", b"new")
    make(directory / "b", b"old")
    os.rename(directory / "a", directory / "b")
    assert (names(directory), (directory / "b").read_bytes()) == (["b"], b"new")
    return shape(directory / "b")


def check_replaced_file_stays_open(directory: Path) -> object:
    """A replaced file lives on for its descriptor, with no link."""
    make(directory / "a", b"new")
    make(directory / "b", b"old")
    with opened(directory / "b", os.O_RDWR) as fd:
        os.rename(directory / "a", directory / "b")
        result = [os.read(fd, 10), os.fstat(fd).st_nlink, os.pwrite(fd, b"ghost", 0), os.pread(fd, 10, 0)]
    assert result == [b"old", 0, 5, b"ghost"]
    return result, (directory / "b").read_bytes()


def check_open_file_follows(directory: Path) -> object:
    """A descriptor keeps working across renames of its file and of the directory above."""
    (directory / "dir").mkdir()
    make(directory / "dir" / "a", b"text")
    with opened(directory / "dir" / "a", os.O_RDWR) as fd:
        os.rename(directory / "dir" / "a", directory / "dir" / "b")
        os.rename(directory / "dir", directory / "moved")
        os.write(fd, b"TEXT and more")
        os.fchmod(fd, 0o600)
    return (directory / "moved" / "b").read_bytes(), shape(directory / "moved" / "b")


def check_to_itself(directory: Path) -> object:
    """Renaming a name to itself does nothing and succeeds."""
    make(directory / "a", b"text")
    assert attempt(os.rename, directory / "a", directory / "a") is None
    return names(directory)


def check_two_links_of_one_inode(directory: Path) -> object:
    """Renaming one hard link over another of the same file does nothing: both stay."""
    make(directory / "a")
    os.link(directory / "a", directory / "b")
    assert attempt(os.rename, directory / "a", directory / "b") is None
    assert names(directory) == ["a", "b"]
    return shape(directory / "a")


def check_directory_over_empty_directory(directory: Path) -> object:
    """A directory replaces an empty one and brings its entries along."""
    (directory / "a").mkdir()
    make(directory / "a" / "file")
    (directory / "b").mkdir()
    os.rename(directory / "a", directory / "b")
    assert (names(directory), names(directory / "b")) == (["b"], ["file"])
    return shape(directory)


def check_directory_over_full_directory(directory: Path) -> object:
    """A directory does not replace one with entries."""
    (directory / "a").mkdir()
    (directory / "b").mkdir()
    make(directory / "b" / "file")
    result = attempt(os.rename, directory / "a", directory / "b")
    assert result in ("ENOTEMPTY", "EEXIST")
    return result, names(directory)


def check_kinds_do_not_mix(directory: Path) -> object:
    """A file over a directory is EISDIR, a directory over a file ENOTDIR."""
    make(directory / "file")
    (directory / "dir").mkdir()
    (directory / "link").symlink_to("dir")
    result = [
        attempt(os.rename, directory / "file", directory / "dir"),
        attempt(os.rename, directory / "dir", directory / "file"),
        attempt(os.rename, directory / "dir", directory / "link"),
        attempt(os.rename, directory / "link", directory / "dir"),
    ]
    assert result == ["EISDIR", "ENOTDIR", "ENOTDIR", "EISDIR"]
    return result


def check_missing_source(directory: Path) -> object:
    """A missing source is ENOENT and leaves the target."""
    make(directory / "b", b"kept")
    result = [
        attempt(os.rename, directory / "a", directory / "b"),
        attempt(os.rename, directory / "a", directory / "c"),
    ]
    assert result == ["ENOENT", "ENOENT"]
    return (directory / "b").read_bytes()


def check_missing_target_directory(directory: Path) -> object:
    """A target below nothing is ENOENT, below a file ENOTDIR."""
    make(directory / "a")
    make(directory / "file")
    result = [attempt(os.rename, directory / "a", directory / below / "x") for below in ("none", "file")]
    assert result == ["ENOENT", "ENOTDIR"]
    return result, names(directory)


def check_into_itself(directory: Path) -> object:
    """A directory cannot move below itself."""
    (directory / "a" / "b").mkdir(parents=True)
    result = [
        attempt(os.rename, directory / "a", directory / "a" / "b" / "c"),
        attempt(os.rename, directory / "a", directory / "a" / "x"),
    ]
    assert result == ["EINVAL", "EINVAL"]
    return result


def check_over_own_parent(directory: Path) -> object:
    """A directory cannot replace one that contains it."""
    (directory / "a" / "b").mkdir(parents=True)
    result = attempt(os.rename, directory / "a" / "b", directory / "a")
    assert result in ("ENOTEMPTY", "EEXIST")
    return result


def check_dot_names(directory: Path) -> object:
    """ "." and ".." cannot be renamed nor be a target."""
    (directory / "a").mkdir()
    pairs = (("a/.", "b"), ("a/..", "b"), ("a", "a/."), ("a", "a/.."))
    result = [attempt(os.rename, f"{directory}/{source}", f"{directory}/{target}") for source, target in pairs]
    assert all(isinstance(one, str) for one in result)
    return result


def check_trailing_slashes(directory: Path) -> object:
    """A trailing slash demands a directory on either side."""
    make(directory / "file")
    (directory / "dir").mkdir()
    result = [
        attempt(os.rename, f"{directory}/file/", f"{directory}/x"),
        attempt(os.rename, f"{directory}/file", f"{directory}/x/"),
        attempt(os.rename, f"{directory}/dir/", f"{directory}/moved/"),
    ]
    assert result == ["ENOTDIR", "ENOTDIR", None]
    return result, names(directory)


def check_symlink_itself_moves(directory: Path) -> object:
    """rename moves a link, not its target, and replaces a link, not its target."""
    make(directory / "target", b"target")
    make(directory / "file", b"file")
    (directory / "link").symlink_to("target")
    os.rename(directory / "link", directory / "link2")
    os.rename(directory / "file", directory / "link2")
    assert (kind(directory / "link2"), (directory / "target").read_bytes()) == ("file", b"target")
    return names(directory)


def check_between_directories(directory: Path) -> object:
    """Moving a directory changes the link counts of both parents and its ".."."""
    (directory / "from" / "dir").mkdir(parents=True)
    (directory / "to").mkdir()
    os.rename(directory / "from" / "dir", directory / "to" / "dir")
    result = [shape(directory / name)["nlink"] for name in ("from", "to", "to/dir")]
    assert os.path.samestat(os.stat(directory / "to" / "dir" / ".."), os.stat(directory / "to"))
    return result


def check_special_files_move(directory: Path) -> object:
    """Fifos and links move between directories with their attributes."""
    (directory / "to").mkdir()
    os.mkfifo(directory / "fifo", 0o640)
    (directory / "link").symlink_to("anything at all")
    os.rename(directory / "fifo", directory / "to" / "fifo")
    os.rename(directory / "link", directory / "to" / "link")
    return [shape(directory / "to" / name) for name in ("fifo", "link")], os.readlink(directory / "to" / "link")


def check_times(directory: Path) -> object:
    """rename leaves the file's modification time and marks both directories."""
    for name in ("from", "to"):
        (directory / name).mkdir()
    make(directory / "from" / "a")
    os.utime(directory / "from" / "a", ns=(10**18, 10**18))
    for name in ("from", "to"):
        os.utime(directory / name, ns=(10**18, 10**18))
    os.rename(directory / "from" / "a", directory / "to" / "a")
    assert all((directory / name).stat().st_mtime_ns > 10**18 for name in ("from", "to"))
    assert (directory / "to" / "a").stat().st_mtime_ns == 10**18
    return True


def check_change_time(directory: Path) -> object:
    """rename marks the file's change time on Linux filesystems; equal is what counts."""
    make(directory / "a")
    before = (directory / "a").stat().st_ctime_ns
    time.sleep(0.02)
    os.rename(directory / "a", directory / "b")
    return (directory / "b").stat().st_ctime_ns > before


def check_replace_is_atomic(directory: Path) -> object:
    """While one process replaces a file again and again, a reader always finds it whole."""
    make(directory / "file", b"x" * 1000)

    def write() -> None:
        for number in range(60):
            make(directory / "new", bytes([number % 256]) * 1000)
            os.rename(directory / "new", directory / "file")

    def read() -> list[object]:
        seen = []
        for _ in range(120):
            data = attempt((directory / "file").read_bytes)
            seen.append(isinstance(data, bytes) and len(data) == 1000 and len(set(data)) == 1)
        return seen

    _, seen = together([write, read])
    assert all(seen)
    return len(seen)


def check_deep_tree_moves(directory: Path) -> object:
    """After its root moved, everything below a tree is found under the new path and nothing under the old."""
    deep = directory / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    make(deep / "file", b"deep")
    os.stat(deep / "file")
    os.rename(directory / "a", directory / "z")
    moved = directory / "z" / "b" / "c" / "d" / "file"
    result = moved.read_bytes(), try_open(deep / "file", os.O_RDONLY)
    assert result == (b"deep", "ENOENT")
    (directory / "a").mkdir()
    return result, names(directory / "a")


def check_swap_by_three_renames(directory: Path) -> object:
    """Two names exchanged through a third lead to each other's inode at once."""
    make(directory / "a", b"a")
    make(directory / "b", b"b")
    for source, target in (("a", "t"), ("b", "a"), ("t", "b")):
        os.rename(directory / source, directory / target)
    result = (directory / "a").read_bytes(), (directory / "b").read_bytes()
    assert result == (b"b", b"a")
    return result, same_inode(directory / "a", directory / "b")


def check_relative_descriptors(directory: Path) -> object:
    """renameat works between two directory descriptors."""
    for name in ("from", "to"):
        (directory / name).mkdir()
    make(directory / "from" / "a", b"moved")
    with opened(directory / "from", os.O_RDONLY) as source, opened(directory / "to", os.O_RDONLY) as target:
        os.rename("a", "b", src_dir_fd=source, dst_dir_fd=target)
        again = attempt(os.rename, "a", "b", src_dir_fd=source, dst_dir_fd=target)
    assert again == "ENOENT"
    return names(directory / "from"), (directory / "to" / "b").read_bytes()


def check_rename_over_open_directory(directory: Path) -> object:
    """A directory that was replaced while it was open is empty and dead to its descriptor."""
    (directory / "a").mkdir()
    (directory / "b").mkdir()
    make(directory / "a" / "file")
    with opened(directory / "b", os.O_RDONLY) as fd:
        os.rename(directory / "a", directory / "b")
        result = os.listdir(fd), try_open("file", os.O_RDONLY, dir_fd=fd), os.fstat(fd).st_nlink
    assert result[:2] == ([], "ENOENT")
    return result
