"""Where a journal is: in a state directory, named itself or by the mount that uses it; or, for a tenant's user who may
not read that, in what the mount shows of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final

from automation.errors import CallerError
from automation.journal.database import reading
from automation.journal.journal import NAME
from automation.journal.schema import MIGRATIONS
from automation.terminal.place import control_of

_KEPT: Final = re.compile(r"^state dir +(.+)$", re.MULTILINE)
_TENANT: Final = re.compile(r"^tenant +(.+)$", re.MULTILINE)


def journal_of(place: str) -> str:
    """The state directory that `place` is, or that of the mount at `place`; CallerError when it is neither."""
    if os.path.exists(os.path.join(place, NAME)):
        return place
    found = _page(place)
    if (kept := _KEPT.search(found)) is not None:
        return kept[1]
    if (tenant := _TENANT.search(found)) is not None:
        raise CallerError(f"the whole trail of the tenant {tenant[1]} is the operator's to read and to verify")
    raise CallerError(f"the mount at {place} keeps nothing (--volatile): it has no journal")


@contextlib.contextmanager
def trail(place: str) -> Iterator[tuple[sqlite3.Connection, str]]:
    """The audit trail at `place`, and its directory. A tenant's user has the newest 1,000 records of the tenant's."""
    if not os.path.exists(os.path.join(place, NAME)) and _TENANT.search(_page(place)) is not None:
        directory = control_of(place)
        with open(os.path.join(directory, "journal"), encoding="utf-8") as file:
            lines = file.read().splitlines()
        with contextlib.closing(_table(lines)) as connection:
            yield connection, directory
        return
    directory = journal_of(place)
    with reading(os.path.join(directory, NAME)) as connection:
        yield connection, directory


def _page(place: str) -> str:
    """The status of the mount at `place`."""
    try:
        with open(os.path.join(control_of(place), "status"), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        raise CallerError(f"{place} is neither a mount of VexFS nor a state directory: {error.strerror}") from error


def _table(lines: Iterable[str]) -> sqlite3.Connection:
    """A database in memory with these records, to be asked as one in a file is."""
    connection = sqlite3.connect(":memory:")
    for step in MIGRATIONS:
        connection.executescript(step)
    for line in lines:
        about = json.loads(line)
        record = line.rpartition(',"hash":"')[0]
        columns = [about[name] for name in ("seq", "at", "kind", "path", "uid", "run")]
        connection.execute(
            "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [*columns, f"{record}}}", about["hash"]]
        )
    return connection
