"""O_TMPFILE: files without a name."""

import os
from pathlib import Path

from tests.posix.calls import AT_EMPTY_PATH, attempt, linkat, make, names, opened, try_open

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
