"""The journal's SQLite database: opened, brought to this version, set aside when it is damaged.

A damaged database never keeps a mount from coming up: it is renamed to `NAME.damaged-TIME` with all that belongs to it,
which is logged, and a new one is begun.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from typing import Final

from automation.errors import CallerError, WorldError
from automation.journal.schema import MIGRATIONS

log: Final = logging.getLogger(__name__)

CHECKED_BYTES: Final = 64 << 20  # a database up to this size is read through when it is opened (0.2 s)
LOG_BYTES: Final = 64 << 20
_MARK: Final = ".condemned"
_COMPANIONS: Final = ("", "-wal", "-shm")
_DAMAGED: Final = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})


class Database:
    """The file at `path`, of the version of this program. `set_aside` is where a damaged predecessor went.

    `sync` is SQLite's: `full` keeps what is committed through a power failure, `normal` through the end of the process
    and of the system, `off` through the end of the process. `most_bytes` is how large it is to become: its write-ahead
    log is kept below a quarter of that. With `erases` what is deleted is overwritten.
    """

    def __init__(self, path: str, *, sync: str = "full", most_bytes: int | None = None, erases: bool = False) -> None:
        """Open or make it. CallerError when a newer program wrote it, WorldError when the disk does not let us."""
        self.path: Final = path
        self.set_aside: str | None = None
        self._sync: Final = sync
        self._erases: Final = erases
        self._log_bytes: Final = min(LOG_BYTES, most_bytes or LOG_BYTES)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            if not damaged(error):
                raise WorldError(f"the journal {path} cannot be opened: {error}") from error
            self._put_away(str(error))
            try:
                self._prepare()
            except sqlite3.DatabaseError as again:
                raise WorldError(f"the journal {path} cannot be made: {again}") from again

    def connect(self) -> sqlite3.Connection:
        """A connection that writes; any thread may use it, one at a time."""
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._sync}")
        connection.execute(f"PRAGMA secure_delete = {int(self._erases)}")
        connection.execute(f"PRAGMA journal_size_limit = {self._log_bytes}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {min(4000, self._log_bytes // 16_384)}")
        connection.execute("PRAGMA cache_size = -16384")  # KiB: the index by path is written in many places
        return connection

    def reader(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        """A connection of one's own that reads, for a thread and a `with`."""
        return reading(self.path)

    def condemn(self) -> None:
        """Have it set aside when it is next opened: damage was met while it was in use."""
        with contextlib.suppress(OSError):
            os.close(os.open(self.path + _MARK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _prepare(self) -> None:
        if os.path.exists(self.path + _MARK):
            raise _corrupt("found while it was in use")
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with contextlib.closing(self.connect()) as connection:
            if os.stat(self.path).st_size <= CHECKED_BYTES:
                (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if said != "ok":
                    raise _corrupt(said)
            self._migrate(connection)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise CallerError(
                f"the journal {self.path} is of version {version}, and this VexFS knows versions up to"
                f" {len(MIGRATIONS)}: use the newer VexFS, or name another directory with --state-dir"
            )
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT")
            if version:
                log.info("the journal %s was brought to version %d", self.path, number)

    def _put_away(self, reason: str) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.set_aside = next(
            name
            for name in (f"{self.path}.damaged-{stamp}{more}" for more in ("", *(f".{n}" for n in range(1, 1000))))
            if not os.path.exists(name)
        )
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path + _MARK)
        for suffix in _COMPANIONS:
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.path + suffix, self.set_aside + suffix)
        log.critical(
            "the journal %s is damaged (%s): it was set aside as %s and a new one is begun; runs that were under way"
            " are lost, and what they had done stays",
            self.path,
            reason,
            self.set_aside,
        )


@contextlib.contextmanager
def reading(path: str) -> Iterator[sqlite3.Connection]:
    """A connection to an existing journal that only reads; another process may be writing it."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        connection.execute("PRAGMA query_only = 1")
        yield connection
    finally:
        connection.close()


def used_bytes(connection: sqlite3.Connection) -> int:
    """The size of the database without its free pages; one statement, since each has to wait for Python's lock."""
    pragmas = "pragma_page_count, pragma_freelist_count, pragma_page_size"
    return int(connection.execute(f"SELECT (page_count - freelist_count) * page_size FROM {pragmas}").fetchone()[0])


def damaged(error: sqlite3.Error) -> bool:
    """Whether the database itself is at fault."""
    return getattr(error, "sqlite_errorname", "").partition("_VTAB")[0] in _DAMAGED


def _corrupt(said: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(said)
    error.sqlite_errorname = "SQLITE_CORRUPT"
    return error
