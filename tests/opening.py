"""Opens in all the ways that could leave a file registered with the kernel for ever, and what the metrics say after."""

import os
import re
from pathlib import Path

from tests.patience import eventually
from tests.posix.children import Child

OPENS = 8  # of one turn


def _turn(directory: Path, number: int) -> None:
    """Two opens at once, one by a hard link, one of an unlinked file, one renamed over, one truncated by another."""
    path, link, other = (directory / f"{name}{number}" for name in ("file", "link", "other"))
    flags = os.O_RDWR | os.O_CREAT
    first, covered = os.open(path, flags), os.open(other, flags)
    os.link(path, link)
    again = [os.open(path, os.O_RDONLY), os.open(link, os.O_RDWR)]
    os.write(first, b"text")
    os.truncate(path, 2)
    path.rename(other)  # its file is open still
    again.append(os.open(other, os.O_WRONLY | os.O_TRUNC))
    other.unlink()
    again += [os.open(link, os.O_RDONLY), os.open(directory, os.O_TMPFILE | os.O_RDWR)]
    link.unlink()
    os.ftruncate(again[1], 10)
    for fd in (covered, *again, first):
        os.close(fd)
    os.close(os.open(directory / "kept", flags))


def _metric(mountpoint: Path, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", (mountpoint / ".vexfs" / "metrics").read_text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def open_many(mountpoint: Path, opens: int, processes: int = 2) -> float:
    """At least so many opens, by processes at once; returns how many registrations it took. None is left at the end."""
    before = _metric(mountpoint, "vexfs_backing_ids_given_total")

    def work(number: int) -> None:
        directory = mountpoint / f"opens{number}"
        directory.mkdir()
        for turn in range(opens // OPENS // processes + 1):
            _turn(directory, turn)

    for child in [Child(lambda number=number: work(number)) for number in range(processes)]:
        child.result(3600)
    eventually(lambda: _metric(mountpoint, "vexfs_backing_ids") == 0)  # a close is told after it has returned
    return _metric(mountpoint, "vexfs_backing_ids_given_total") - before
