"""Rows written in crowds: one statement takes up to 256 rows of a table.

Python's lock is given up once a statement, and beside a busy event loop each return of it has to be waited for; row by
row a commit would wait a hundred times. Statements are of few sizes, so that SQLite keeps them prepared: what is left
over of one is filled up with rows that begin with NULL, which are not taken.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from automation.journal.schema import Row

# By kind of row, in the order in which they are written: the statement around the rows, and how many values each has.
TAKES: Final[dict[str, tuple[str, int]]] = {
    "definition": ("INSERT OR IGNORE INTO definitions {rows}", 2),
    "run": ("INSERT INTO runs (id, workflow, digest, at, facts) {rows}", 5),
    "record": ("INSERT INTO records (run, kind, place, at, data) {rows}", 5),
    "end": ("UPDATE runs SET status = column2, ended = column3 FROM ({rows}) WHERE id = column1", 3),
    "audit": ("INSERT INTO audit {rows}", 8),
}
_SIZES: Final = (1, 4, 16, 64, 256)


def write_rows(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Write rows of all tables, each table's in order; in a transaction of the caller's."""
    kinds: dict[str, list[Any]] = {kind: [] for kind in TAKES}
    for kind, *values in rows:
        kinds[kind] += values
    for kind, values in kinds.items():
        width = TAKES[kind][1]
        for at in range(0, len(values), _SIZES[-1] * width):
            crowd = values[at : at + _SIZES[-1] * width]
            size = next(size for size in _SIZES if size * width >= len(crowd))
            connection.execute(_statement(kind, size), crowd + [None] * (size * width - len(crowd)))


@cache
def _statement(kind: str, size: int) -> str:
    around, width = TAKES[kind]
    row = f"({', '.join('?' * width)})"
    return around.format(rows=f"SELECT * FROM (VALUES {', '.join([row] * size)}) WHERE column1 IS NOT NULL")
