"""renameat2(2): RENAME_NOREPLACE and RENAME_EXCHANGE."""

import os
from pathlib import Path

from tests.posix.calls import RENAME_EXCHANGE, RENAME_NOREPLACE, attempt, kind, make, names, opened, renameat2, shape
from tests.posix.children import ALICE, BOB, as_user


def check_noreplace_to_new_name(directory: Path) -> object:
    """NOREPLACE to a free name is a plain rename."""
    make(directory / "a", b"text")
    result = attempt(renameat2, directory / "a", directory / "b", RENAME_NOREPLACE)
    assert (result, names(directory)) == (None, ["b"])
    return result


def check_noreplace_refuses(directory: Path) -> object:
    """NOREPLACE over anything is EEXIST and changes nothing."""
    make(directory / "a", b"a")
    make(directory / "file", b"kept")
    (directory / "dir").mkdir()
    (directory / "link").symlink_to("nowhere")
    cases = ("file", "dir", "link", "a")
    result = {name: attempt(renameat2, directory / "a", directory / name, RENAME_NOREPLACE) for name in cases}
    assert set(result.values()) == {"EEXIST"}
    return result, names(directory), (directory / "file").read_bytes()


def check_noreplace_missing_source(directory: Path) -> object:
    """NOREPLACE without a source is ENOENT."""
    result = attempt(renameat2, directory / "a", directory / "b", RENAME_NOREPLACE)
    assert result == "ENOENT"
    return result


def check_noreplace_directory(directory: Path) -> object:
    """NOREPLACE does not even replace an empty directory."""
    (directory / "a").mkdir()
    (directory / "b").mkdir()
    result = attempt(renameat2, directory / "a", directory / "b", RENAME_NOREPLACE)
    assert result == "EEXIST"
    return result


def check_exchange_files(directory: Path) -> object:
    """EXCHANGE swaps two files, inode for inode."""
    make(directory / "a", b"a", 0o600)
    make(directory / "b", b"bb", 0o644)
    before = [(directory / name).stat().st_ino for name in "ab"]
    renameat2(directory / "a", directory / "b", RENAME_EXCHANGE)
    assert [(directory / name).stat().st_ino for name in "ba"] == before
    return [(shape(directory / name), (directory / name).read_bytes()) for name in "ab"]


def check_exchange_file_and_directory(directory: Path) -> object:
    """EXCHANGE swaps different kinds, across directories, and the link counts follow."""
    (directory / "one").mkdir()
    (directory / "two" / "dir").mkdir(parents=True)
    make(directory / "one" / "file", b"text")
    make(directory / "two" / "dir" / "inner")
    renameat2(directory / "one" / "file", directory / "two" / "dir", RENAME_EXCHANGE)
    assert kind(directory / "one" / "file") == "directory"
    assert (directory / "two" / "dir").read_bytes() == b"text"
    return shape(directory / "one"), shape(directory / "two"), names(directory / "one" / "file")


def check_exchange_missing(directory: Path) -> object:
    """EXCHANGE needs both names."""
    make(directory / "a")
    result = [
        attempt(renameat2, directory / "a", directory / "none", RENAME_EXCHANGE),
        attempt(renameat2, directory / "none", directory / "a", RENAME_EXCHANGE),
    ]
    assert result == ["ENOENT", "ENOENT"]
    return names(directory)


def check_exchange_full_directories(directory: Path) -> object:
    """EXCHANGE swaps directories that hold entries, and paths below are found at once."""
    for name in ("a", "b"):
        (directory / name).mkdir()
        make(directory / name / name, name.encode())
        os.stat(directory / name / name)
    renameat2(directory / "a", directory / "b", RENAME_EXCHANGE)
    result = (
        names(directory / "a"),
        names(directory / "b"),
        kind(directory / "a" / "a"),
        (directory / "a" / "b").read_bytes(),
    )
    assert result == (["b"], ["a"], "ENOENT", b"b")
    return result


def check_exchange_into_itself(directory: Path) -> object:
    """EXCHANGE of a directory with something below it is EINVAL."""
    (directory / "a" / "b").mkdir(parents=True)
    result = [
        attempt(renameat2, directory / "a", directory / "a" / "b", RENAME_EXCHANGE),
        attempt(renameat2, directory / "a" / "b", directory / "a", RENAME_EXCHANGE),
    ]
    assert all(isinstance(one, str) for one in result)
    return result


def check_exchange_symlinks(directory: Path) -> object:
    """EXCHANGE swaps links, not their targets."""
    make(directory / "file", b"text")
    (directory / "link").symlink_to("elsewhere")
    renameat2(directory / "file", directory / "link", RENAME_EXCHANGE)
    assert (kind(directory / "file"), kind(directory / "link")) == ("symlink", "file")
    return os.readlink(directory / "file"), (directory / "link").read_bytes()


def check_exchange_open_files(directory: Path) -> object:
    """Descriptors stay with their inodes when names are exchanged."""
    make(directory / "a", b"a")
    make(directory / "b", b"b")
    with opened(directory / "a", os.O_RDWR) as fd:
        renameat2(directory / "a", directory / "b", RENAME_EXCHANGE)
        os.write(fd, b"A")
    assert (directory / "b").read_bytes() == b"A"
    return (directory / "a").read_bytes()


def check_flags_exclude_each_other(directory: Path) -> object:
    """NOREPLACE with EXCHANGE, and unknown flags, are EINVAL."""
    make(directory / "a")
    make(directory / "b")
    result = [attempt(renameat2, directory / "a", directory / "b", flags) for flags in (3, 1 << 10, 1 << 31)]
    assert result == ["EINVAL"] * 3
    return result


def check_exchange_permissions(directory: Path) -> object:
    """EXCHANGE in a directory without write permission is EACCES; in a sticky one it minds both owners."""
    (directory / "closed").mkdir(0o755)
    (directory / "sticky").mkdir()
    (directory / "sticky").chmod(0o1777)
    for name in ("closed", "sticky"):
        make(directory / name / "a", owner=ALICE.owner)
        make(directory / name / "b", owner=BOB.owner)

    def swap(name: str) -> object:
        return attempt(renameat2, directory / name / "a", directory / name / "b", RENAME_EXCHANGE)

    result = as_user(ALICE, swap, "closed"), as_user(ALICE, swap, "sticky")
    assert result == ("EACCES", "EPERM")
    return result
