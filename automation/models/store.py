"""Versions of models and what adaptive values were moved to, on disk: SQLite, each body with its sha256."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import trio

from automation.state_directory import StateDirectory

T = TypeVar("T")
FILE: Final = "learning.sqlite3"
LIVE: Final = 0  # the number under which a model is kept as it was at the end of a mount
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS versions (model TEXT NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL,
  figures TEXT NOT NULL, body TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (model, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (name TEXT NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL,
  old REAL NOT NULL, new REAL NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (name, number)) WITHOUT ROWID;
"""
MOST_CHANGES: Final = 1000  # of one adaptive value that are kept


@dataclass(frozen=True, slots=True)
class Version:
    """What `versions` tells of one; `at` in ns."""

    number: int
    at: int
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """An adaptive value was moved from `old` to `new`; `at` in ns."""

    number: int
    at: int
    old: float
    new: float
    reason: str


class Store:
    """At `path`, or in memory for None; one thread at a time. sqlite3.Error where the disk does not let us."""

    def __init__(self, path: str | None) -> None:
        self._db: Final = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        for line in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"):
            self._db.execute(line)
        self._db.executescript(_SCHEMA)

    def keep(self, model: str, version: Version, body: Mapping[str, Any], most: int) -> None:
        """Keep a version, and of all but the live one the newest `most`."""
        text = json.dumps(body, separators=(",", ":"))
        row = (model, version.number, version.at, json.dumps(version.figures), text, _digest(model, text))
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute("INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?, ?)", row)
            older = "SELECT number FROM versions WHERE model = ? AND number > 0 ORDER BY number DESC LIMIT -1 OFFSET ?"
            self._db.execute(f"DELETE FROM versions WHERE model = ? AND number IN ({older})", (model, model, most))
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def versions(self, model: str) -> list[Version]:
        """Oldest first, without the live one."""
        rows = self._db.execute(
            "SELECT number, at, figures FROM versions WHERE model = ? AND number > 0 ORDER BY number", (model,)
        )
        return [Version(number, at, json.loads(figures)) for number, at, figures in rows]

    def body(self, model: str, number: int) -> dict[str, Any] | None:
        """What was kept; None when there is none, ValueError where it is not what was written."""
        query = "SELECT body, sha256 FROM versions WHERE model = ? AND number = ?"
        row = self._db.execute(query, (model, number)).fetchone()
        if row is None:
            return None
        text, digest = row
        if digest != _digest(model, text):
            raise ValueError("it is damaged: its sha256 is another one")
        body: dict[str, Any] = json.loads(text)
        return body

    def change(self, name: str, change: Change) -> None:
        """Write a change down."""
        row = (name, change.number, change.at, change.old, change.new, change.reason)
        self._db.execute("INSERT OR REPLACE INTO changes VALUES (?, ?, ?, ?, ?, ?)", row)
        self._db.execute("DELETE FROM changes WHERE name = ? AND number <= ?", (name, change.number - MOST_CHANGES))

    def changes(self, name: str) -> list[Change]:
        """Oldest first."""
        query = "SELECT number, at, old, new, reason FROM changes WHERE name = ? ORDER BY number"
        return [Change(*row) for row in self._db.execute(query, (name,))]

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class Shelf:
    """The store of a mount, in memory where nothing is kept; opened when it is first needed."""

    def __init__(self, kept: StateDirectory | None) -> None:
        self._path: Final = None if kept is None else kept.file(FILE)
        self._store: Store | None = None
        self._lock: Final = trio.Lock()

    async def do(self, work: Callable[[Store], T]) -> T:
        """In a thread, one after the other; sqlite3.Error and OSError where the disk does not let us."""
        async with self._lock:
            if self._store is None:
                self._store = await trio.to_thread.run_sync(Store, self._path)
            return await trio.to_thread.run_sync(work, self._store)

    async def aclose(self) -> None:
        """Close the store; what comes later opens it anew."""
        async with self._lock:
            store, self._store = self._store, None
            if store is not None:
                await trio.to_thread.run_sync(store.close)


def _digest(model: str, text: str) -> str:
    return hashlib.sha256(f"{model}\n{text}".encode("utf-8", "surrogateescape")).hexdigest()
