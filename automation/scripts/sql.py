"""SQL for one call: a SELECT over an SQLite database in memory, which holds the tables that were handed over.

The tables are in the argument `tables`: `{name: {columns: […], rows: [[…], …]}}`. The text finds the parameters of its
action as `:name`. Nothing can be written, attached or loaded: SQLite asks an authorizer for each thing that a statement
does.
"""

from __future__ import annotations

import json
import re
import sqlite3
from typing import Any, Final

from automation.scripts.call import Answer, Call, Failure, Late, Outside, plain
from automation.scripts.confinement import confine

MOST_ROWS: Final = 10_000
_STEPS: Final = 10_000  # of SQLite's machine between two looks at the clock: below 1 ms
_ALLOWED: Final = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
)
_REFUSED: Final = frozenset(("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"))
_LIMITS: Final = (
    (sqlite3.SQLITE_LIMIT_LENGTH, 8 << 20),
    (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 1 << 20),
    (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 200),
    (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 100),
    (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
    (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),
)
_NEAR: Final = re.compile(r'near "([^"]+)"|no such (?:column|table|function): (\S+)')


class Language:
    """SQLite in this process."""

    def __init__(self, memory: int) -> None:
        self._memory: Final = memory
        warm = Call("SELECT count(*) FROM t ORDER BY 1", "warm", None, {"tables": _NOTHING}, {}, 1.0)
        Sandbox(memory).run(warm, Outside(1.0, lambda action, notes: Answer(False, None)))

    def confine(self) -> None:
        """No files, no network, no rights."""
        confine(self._memory)

    def sandbox(self) -> Sandbox:
        """An empty database."""
        return Sandbox(self._memory)


_NOTHING: Final = {"t": {"columns": ["a"], "rows": [[1]]}}


class Sandbox:
    """One statement in one database of at most `memory` bytes."""

    def __init__(self, memory: int) -> None:
        self._database: Final = sqlite3.connect(":memory:", isolation_level=None)
        self._database.execute("PRAGMA temp_store = MEMORY")
        self._database.execute(f"PRAGMA hard_heap_limit = {memory}")

    def run(self, call: Call, outside: Outside) -> Any:
        """The rows, each an object by the names of its columns."""
        if call.entry is not None:
            raise Failure(f"{call.name}: SQL has no functions to call; leave 'function' out")
        try:
            self._fill(call.arguments.get("tables") or {})
            self._close(outside)
            return plain(self._rows(call))
        except sqlite3.OperationalError as error:
            if str(error) == "interrupted":
                raise Late from None
            raise _failure(call, str(error)) from None
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise _failure(call, str(error)) from None
        except MemoryError:
            raise Failure(f"{call.name}: the script ran out of memory") from None
        except (ValueError, OverflowError) as error:
            raise Failure(f"{call.name}: the result cannot be handed over: {error}") from None

    def _fill(self, tables: dict[str, Any]) -> None:
        self._database.execute("BEGIN")
        for name, table in tables.items():
            columns = ", ".join(f'"{column}"' for column in table["columns"])
            self._database.execute(f'CREATE TABLE "{name}" ({columns})')
            marks = ", ".join("?" * len(table["columns"]))
            rows = ([_cell(value) for value in row] for row in table["rows"])
            self._database.executemany(f'INSERT INTO "{name}" VALUES ({marks})', rows)
        self._database.execute("COMMIT")

    def _close(self, outside: Outside) -> None:
        """Nothing but reading from here on, and only as long as there is time."""
        for which, most in _LIMITS:
            self._database.setlimit(which, most)
        self._database.execute("PRAGMA query_only = ON")
        self._database.set_authorizer(_authorize)
        self._database.set_progress_handler(lambda: outside.left <= 0, _STEPS)

    def _rows(self, call: Call) -> list[dict[str, Any]]:
        parameters = {key: _cell(value) for key, value in (call.arguments.get("parameters") or {}).items()}
        cursor = self._database.execute(call.source, parameters)
        if cursor.description is None:
            return []
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchmany(MOST_ROWS + 1)
        if len(rows) > MOST_ROWS:
            raise Failure(f"{call.name}: more than {MOST_ROWS} rows; add a LIMIT")
        return [dict(zip(names, map(_shown, row), strict=True)) for row in rows]


def _authorize(action: int, first: str | None, second: str | None, *place: str | None) -> int:
    refused = action == sqlite3.SQLITE_FUNCTION and second in _REFUSED
    return sqlite3.SQLITE_OK if action in _ALLOWED and not refused else sqlite3.SQLITE_DENY


def _cell(value: Any) -> Any:
    """A JSON value as SQLite has it; what is no plain value becomes JSON text."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return float(value)
    if value is None or isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()


def _shown(value: Any) -> Any:
    """A cell as JSON has it: bytes are given in hexadecimal, as SQLite's hex() does."""
    return value.hex().upper() if isinstance(value, bytes) else value


def _failure(call: Call, message: str) -> Failure:
    """With the line of the word that SQLite names, if the text has it only once."""
    if message == "out of memory":
        message = "the script ran out of memory"
    found = _NEAR.search(message)
    word = (found[1] or found[2]) if found else ""
    places = list(re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", call.source)) if word else []
    if "not authorized" in message or "prohibited" in message:
        message = f"{message}; a script may only SELECT"
    if len(places) != 1:
        return Failure(f"{call.name}: {message}")
    return Failure(f"{call.name}:{call.source.count(chr(10), 0, places[0].start()) + 1}: {message}")
