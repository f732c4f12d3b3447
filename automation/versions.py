"""The last versions of every definition, to roll back to: in the state directory, else in memory until the mount ends.

One SQLite file, `versions.sqlite`. What is written survives a kill of this process; after a power loss the newest may
be missing. A file that cannot be read is put aside under another name; one that cannot be written keeps what it has.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import zlib
from collections.abc import Iterator
from typing import Any, Final

log: Final = logging.getLogger(__name__)

FILE: Final = "versions.sqlite"
KEPT: Final = 10
MOST_NAMES: Final = 10_000
_MEMORY: Final = ":memory:"
_SCHEMA: Final = """
create table if not exists versions (
    name text, number integer, file text, loaded_ns integer, text blob, primary key (name, number)
) without rowid
"""
_EXCESS: Final = """
delete from versions where name in
    (select name from versions group by name order by max(loaded_ns) desc limit -1 offset ?)
"""


class Versions:
    """The last 10 of each name, of at most 10,000 names. `path` is the file, None for memory. Used in one thread."""

    def __init__(self, path: str | None = None) -> None:
        self._seen: Final[set[str]] = set()
        self._database = _opened(path or _MEMORY)

    def keep(self, name: str, file: str, text: str, loaded_ns: int, above: int = 0) -> int:
        """Keep a version that has been loaded; its number, greater than `above`. What is loaded first in a mount and
        was the newest version of an earlier one stays that version.
        """
        data = zlib.compress(_bytes(text))
        try:
            return self._keep(name, file, data, loaded_ns, above)
        except sqlite3.Error as error:
            log.warning("version of %s is not kept: %s", name, error)
            return max([above, *self.of(name)]) + 1

    def of(self, name: str) -> dict[int, int]:
        """By number, when each was loaded (ns); oldest first."""
        query = "select number, loaded_ns from versions where name = ? order by number"
        return dict(self._rows(query, _bytes(name)))

    def text(self, name: str, number: int) -> tuple[str, str] | None:
        """File and text of a version."""
        query = "select file, text from versions where name = ? and number = ?"
        for file, data in self._rows(query, _bytes(name), number):
            return _text(file), _text(zlib.decompress(data))
        return None

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Keep all versions of this block, or none, in one transaction: 10,000 files are loaded at once."""
        with contextlib.suppress(sqlite3.Error):
            self._database.execute("begin")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("commit")

    def close(self) -> None:
        """Let the file go."""
        self._database.close()

    def _keep(self, name: str, file: str, data: bytes, loaded_ns: int, above: int) -> int:
        key = _bytes(name)
        newest = self._rows("select number, text from versions where name = ? order by number desc limit 1", key)
        for number, before in newest:
            if name not in self._seen and before == data:
                self._seen.add(name)
                return int(number)
            above = max(above, number)
        self._seen.add(name)
        row = (key, above + 1, _bytes(file), loaded_ns, data)
        self._database.execute("insert into versions values (?, ?, ?, ?, ?)", row)
        oldest = "select number from versions where name = ? order by number desc limit 1 offset ?"
        self._database.execute(f"delete from versions where name = ? and number <= ({oldest})", (key, key, KEPT))
        return above + 1

    def _rows(self, query: str, *values: object) -> list[tuple[Any, Any]]:
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            log.warning("versions of definitions cannot be read: %s", error)
            return []


def _opened(path: str) -> sqlite3.Connection:
    """The file, or a new one in its place, or memory."""
    for attempt in (path, path, _MEMORY):
        try:
            return _ready(sqlite3.connect(attempt, isolation_level=None, check_same_thread=False))
        except sqlite3.DatabaseError as error:
            log.warning("%s cannot be used, it is put aside: %s", attempt, error)
            with contextlib.suppress(OSError):
                os.replace(attempt, f"{attempt}.damaged")
    raise sqlite3.DatabaseError("not even in memory")


def _ready(database: sqlite3.Connection) -> sqlite3.Connection:
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = off")
    database.execute(_SCHEMA)
    database.execute("select count(*), sum(length(text)) from versions").fetchone()  # reads every page once
    database.execute(_EXCESS, (MOST_NAMES,))
    return database


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
