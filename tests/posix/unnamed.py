"""O_TMPFILE: files without a name."""

import os
import stat
from pathlib import Path

from tests.posix.calls import AT_EMPTY_PATH, attempt, linkat, make, mode, names, opened, try_open
from tests.posix.children import ALICE, BOB, STAFF, as_user

AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400
UNNAMED = os.O_TMPFILE | os.O_RDWR


def check_write_and_link(directory: Path) -> object:
    """An unnamed file has no links, and gets its name by linkat."""
    with opened(directory, UNNAMED, 0o640) as fd:
        os.write(fd, b"text")
        before = os.fstat(fd).st_nlink, names(directory)
        linkat(fd, b"", directory / "file", AT_EMPTY_PATH)
        after = os.fstat(fd).st_nlink, names(directory)
    assert (before, after) == ((0, []), (1, ["file"]))
    return (directory / "file").read_bytes()


def check_never_named(directory: Path) -> object:
    """With O_EXCL it can never get a name."""
    with opened(directory, UNNAMED | os.O_EXCL, 0o600) as fd:
        result = attempt(linkat, fd, b"", directory / "file", AT_EMPTY_PATH)
    assert result == "ENOENT"
    return result, names(directory)


def check_belongs_to_its_maker(directory: Path) -> object:
    """An unnamed file has its maker's owner and group, the directory's where that is set-gid, and gets a name there."""
    os.chown(directory, BOB.uid, STAFF)
    directory.chmod(0o2777)

    def work() -> object:
        with opened(directory, UNNAMED, 0o640) as fd:
            found = os.fstat(fd)
            link = attempt(linkat, AT_FDCWD, b"/proc/self/fd/%d" % fd, directory / "file", AT_SYMLINK_FOLLOW)
        return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), link

    result = as_user(ALICE, work)
    assert result == (ALICE.uid, STAFF, 0o640, None)
    found = (directory / "file").stat()
    return result, (found.st_uid, found.st_gid, found.st_nlink)


def check_umask(directory: Path) -> object:
    """The umask is taken off the mode."""
    os.umask(0o027)
    with opened(directory, UNNAMED, 0o666) as fd:
        return mode(fd)


def check_is_gone_with_its_last_descriptor(directory: Path) -> object:
    """An unnamed file that nobody linked leaves nothing."""
    try_open(directory, UNNAMED, 0o600)
    return names(directory)


def check_errors(directory: Path) -> object:
    """Read-only is EINVAL, below a file ENOTDIR, in nothing ENOENT."""
    make(directory / "file")
    result = [
        try_open(directory, os.O_TMPFILE | os.O_RDONLY),
        try_open(directory / "file", UNNAMED),
        try_open(directory / "none", UNNAMED),
    ]
    assert result == ["EINVAL", "ENOTDIR", "ENOENT"]
    return result
