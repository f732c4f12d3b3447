"""Statements on databases: SQLite files in allowed places, PostgreSQL servers. It blocks and belongs in a thread."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from automation.actions.hosts import Hosts
from automation.breakers import Harmless
from automation.errors import TimedOut, WorldError
from automation.identity import Identity, acting

Parameters = Sequence[Any] | Mapping[str, Any]
_STEPS: Final = 10_000  # of SQLite's machine between two looks at the clock
_PORT: Final = 5432
_CONNECT: Final = 10  # seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """`rows` as mappings, at most as many as were asked for; `changed` is how many the statement changed."""

    rows: list[dict[str, Any]]
    changed: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """What to do, within how many seconds, and how many rows to bring back."""

    sql: str
    parameters: Parameters
    timeout: float
    most: int


class Databases:
    """`allowed` are the directories in which SQLite files may be; a relative name is looked up in the first. With an
    `identity`, that user must be able to reach them, and PostgreSQL is reached by TCP only: on a socket of this machine
    a server would believe that it talks to root.
    """

    def __init__(self, allowed: Sequence[str] = (), *, identity: Identity | None = None) -> None:
        self.identity: Final = identity
        self._allowed: Final = [os.path.realpath(one) for one in allowed]

    def place(self, path: str, *, create: bool) -> str:
        """The real path of a SQLite file; WorldError when it lies elsewhere, or is not there and shall not be made."""
        if not self._allowed:
            raise WorldError(
                "no place is allowed for SQLite files: name directories as `databases` in the configuration"
            )
        with acting(self.identity):
            return self._place(path, create=create)

    def on_sqlite(self, path: str, statement: Statement) -> Answer:
        """See the function of that name."""
        with acting(self.identity):
            return on_sqlite(path, statement)

    def on_server(self, task: Postgres) -> Answer:
        """Run it; the files that a DSN names are read as the user."""
        with acting(self.identity):
            return task.run()

    def _place(self, path: str, *, create: bool) -> str:
        real = os.path.realpath(os.path.join(self._allowed[0], path))
        if not any(real.startswith(f"{one}/") for one in self._allowed):
            raise WorldError(f"the database '{path}' is not in an allowed place: {', '.join(self._allowed)}")
        if not create and not os.path.isfile(real):
            raise WorldError(f"there is no database '{path}'; say `create: true` to make it")
        return real


def on_sqlite(path: str, statement: Statement) -> Answer:
    """In a transaction of its own. No other file can be attached. Stops when cancelled or late."""
    late = time.monotonic() + statement.timeout
    with closing(_opened(path, statement.timeout)) as connection:
        connection.row_factory = sqlite3.Row
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(lambda: _stopped(late), _STEPS)
        try:
            connection.execute("BEGIN IMMEDIATE")
            before = connection.total_changes
            cursor = connection.execute(statement.sql, _plain(statement.parameters))
            rows = [dict(row) for row in cursor.fetchmany(statement.most + 1)] if cursor.description else []
            cursor.close()
            changed = connection.total_changes - before
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            trio.from_thread.check_cancelled()
            if "interrupted" in str(error) or "locked" in str(error):
                raise TimedOut(f"the statement took longer than {statement.timeout:g} s ({error})") from None
            raise Harmless(WorldError(f"the statement failed: {error}")) from None
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            raise Harmless(WorldError(f"the statement failed: {error}")) from None
    return _answer(rows, changed, statement.most)


def _opened(path: str, timeout: float) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path, timeout=timeout, isolation_level=None)
    except sqlite3.Error as error:
        raise WorldError(f"the database cannot be opened: {error}") from None


def _authorize(action: int, *_: object) -> int:
    return sqlite3.SQLITE_DENY if action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH) else sqlite3.SQLITE_OK


def _stopped(late: float) -> int:
    try:
        trio.from_thread.check_cancelled()
    except trio.Cancelled:
        return 1  # the loop hears of it again when the thread is back
    return int(time.monotonic() > late)


def server(dsn: str) -> tuple[str, str | None]:
    """The name of a PostgreSQL database for people, and the password in its DSN; WorldError when it is none."""
    import psycopg.conninfo

    try:
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        raise WorldError("the DSN is none: write for instance postgresql://user@host/database") from None
    where = f"{parts.get('host', 'local')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"
    password = parts.get("password")
    return f"postgresql {where}", None if password is None else str(password)


async def pinned(dsn: str, hosts: Hosts) -> str:
    """The DSN with the addresses that were judged, for a tenant: WorldError for a socket of this machine, where a
    server would believe that it talks to root, and for a private address that is not allowed.
    """
    import psycopg.conninfo

    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    names = str(parts.get("hostaddr") or parts.get("host") or "").split(",")
    if any(not name or name.startswith(("/", "@")) for name in names):
        raise WorldError("a tenant reaches PostgreSQL by TCP only: name the `host` in the DSN")
    if "service" in parts:
        raise WorldError("a tenant's DSN names no `service`: say what it stands for")
    addresses = [(await hosts.addresses(name, _PORT))[0] for name in names]
    password = parts.get("password") or ""  # not that of our environment, which is the default
    return psycopg.conninfo.make_conninfo(dsn, hostaddr=",".join(addresses), password=password)


@dataclass(slots=True)
class Postgres:
    """One statement on a PostgreSQL server; `cancel` from another thread stops it."""

    dsn: str
    statement: Statement
    _cancel: Callable[[], None] = field(default=lambda: None)

    def run(self) -> Answer:
        """In a transaction of its own."""
        import psycopg
        from psycopg.rows import dict_row

        statement = self.statement
        try:
            with psycopg.connect(self.dsn, connect_timeout=_CONNECT, row_factory=dict_row) as connection:
                self._cancel = connection.cancel
                milliseconds = max(1, int(statement.timeout * 1000))
                connection.execute("SELECT set_config('statement_timeout', %s, true)", [str(milliseconds)])
                cursor = connection.execute(statement.sql.encode(), _plain(statement.parameters) or None)
                rows = cursor.fetchmany(statement.most + 1) if cursor.description else []
                return _answer([_json(row) for row in rows], cursor.rowcount, statement.most)
        except psycopg.errors.QueryCanceled:
            raise TimedOut(f"the statement took longer than {statement.timeout:g} s") from None
        except psycopg.OperationalError as error:
            raise WorldError(f"the server failed: {_line(error)}") from None
        except psycopg.Error as error:
            raise Harmless(WorldError(f"the statement failed: {_line(error)}")) from None

    def cancel(self) -> None:
        """Ask the server to stop."""
        self._cancel()


def _answer(rows: list[dict[str, Any]], changed: int, most: int) -> Answer:
    return Answer([_json(row) for row in rows[:most]], max(0, changed), len(rows) > most)


def _plain(parameters: Parameters) -> Any:
    """Lists and mappings go as JSON."""
    import json

    def one(value: Any) -> Any:
        return json.dumps(value) if isinstance(value, list | dict) else value

    if isinstance(parameters, Mapping):
        return {name: one(value) for name, value in parameters.items()}
    return [one(value) for value in parameters]


def _json(row: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON knows stays, bytes become hexadecimal text, all else (times, decimals) its own text."""
    known = (str, int, float, bool, type(None), list, dict)
    return {
        name: value.hex() if isinstance(value, bytes) else value if isinstance(value, known) else str(value)
        for name, value in row.items()
    }


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
