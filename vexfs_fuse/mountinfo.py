"""The kernel's table of mounts, as this process sees it. Reading it never touches a mount, however dead."""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vexfs_fuse.options import FSTYPE

TABLE: Final = "/proc/self/mountinfo"


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line of /proc/self/mountinfo. `device` is the minor number, for FUSE that of the connection."""

    id: int
    parent: int
    device: int
    mountpoint: str
    options: str
    fstype: str
    source: str

    @property
    def ours(self) -> bool:
        """Whether it is a mount of VexFS."""
        return self.fstype == FSTYPE


def parse(table: bytes) -> list[Mounted]:
    """The mounts in the text of a mountinfo file."""
    return [_line(line) for line in table.splitlines() if b" - " in line]


def mounts() -> list[Mounted]:
    """All mounts of this process's namespace."""
    with open(TABLE, "rb") as file:
        return parse(file.read())


def topmost(path: str, table: list[Mounted] | None = None) -> Mounted | None:
    """The mount that lies uppermost at exactly the absolute `path`; None where nothing is mounted."""
    here = [entry for entry in (mounts() if table is None else table) if entry.mountpoint == path]
    # The order of lines does not tell which one covers the others (ids are reused); parenthood does.
    covered = {entry.parent for entry in here if entry.parent != entry.id}
    return next((entry for entry in here if entry.id not in covered), None)


def changes(until: float) -> Iterator[None]:
    """Yield now and then whenever the table changes, until the monotonic time `until`."""
    with open(TABLE, "rb") as file:
        poll = select.poll()
        poll.register(file, select.POLLERR | select.POLLPRI)
        file.read()
        while True:
            yield
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return


def _line(line: bytes) -> Mounted:
    before, _, after = line.partition(b" - ")
    fields, rest = before.split(b" "), after.split(b" ")
    return Mounted(
        id=int(fields[0]),
        parent=int(fields[1]),
        device=int(fields[2].partition(b":")[2]),
        mountpoint=_unescaped(fields[4]),
        options=fields[5].decode(),
        fstype=_unescaped(rest[0]),
        source=_unescaped(rest[1]),
    )


def _unescaped(field: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field))
