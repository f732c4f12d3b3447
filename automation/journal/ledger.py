"""The ledger of a mount that keeps things: runs in the journal's database.

Which runs there are is in memory (about 300 bytes each); their records are read when somebody asks.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from automation.journal.encoding import encoding
from automation.journal.journal import Journal
from automation.journal.path_redaction import PathRedactor
from automation.journal.schema import Row
from automation.runner.ledger import Kind, NewRun, Record, StoredRun, Summary

_encode: Final = encoding()
CHUNK: Final = 100  # runs of one transaction
_RUN: Final = "SELECT id, workflow, digest, at, facts, text FROM runs LEFT JOIN definitions USING (digest)"


class SqliteLedger:
    """Implements `automation.runner.ledger.Ledger`. A call returns when its commit is on the disk."""

    durable: Final = True

    def __init__(self, journal: Journal) -> None:
        """Learn which runs there are: 10,000 in about 20 ms."""
        self._journal: Final = journal
        self._known: Final[dict[str, Summary]] = {}
        with journal.database.reader() as connection:
            for run_id, workflow, at, status, ended in connection.execute(
                "SELECT id, workflow, at, status, ended FROM runs ORDER BY number"
            ):
                self._known[run_id] = Summary(workflow, at, status, ended)
            self._digests: Final = {digest for (digest,) in connection.execute("SELECT digest FROM definitions")}

    @property
    def known(self) -> Mapping[str, Summary]:
        """All runs, oldest first."""
        return MappingProxyType(self._known)

    async def create(self, run: NewRun, records: Sequence[Record] = ()) -> bool:
        """One commit, shared with whatever comes at the same time."""
        if run.id in self._known:
            return False
        self._known[run.id] = Summary(run.workflow, run.at)
        rows: list[Row] = [] if run.digest in self._digests else [["definition", run.digest, run.definition]]
        self._digests.add(run.digest)
        facts: dict[str, Any] = {"firing": run.firing, "key": run.key, "priority": run.priority}
        facts |= ({"tenant": run.tenant} if run.tenant else {}) | ({"parent": run.parent} if run.parent else {})
        rows.append(["run", run.id, run.workflow, run.digest, run.at, self._text(facts)])
        try:
            await self._journal.writer.write([*rows, *self._rows(run.id, records)])
        except Exception:
            self._known.pop(run.id, None)
            self._digests.clear()
            raise
        return True

    async def append(self, run_id: str, records: Sequence[Record]) -> None:
        """One commit, shared with whatever comes at the same time."""
        await self._journal.writer.write(self._rows(run_id, records))
        paths = self._journal.paths
        if paths is not None and self._known[run_id].status:
            await self._journal.writer.perform(partial(_conceal, ids=[run_id], paths=paths))

    async def conceal(self) -> None:
        """Take out of finished runs the paths that must not be kept, where a kill came in between or rules are new."""
        if self._journal.paths is None:
            return
        finished = [run_id for run_id, one in self._known.items() if one.status]
        for at in range(0, len(finished), CHUNK):
            work = partial(_conceal, ids=finished[at : at + CHUNK], paths=self._journal.paths)
            await self._journal.writer.perform(work)

    async def load(self, run_id: str) -> StoredRun | None:
        """Read it, in a thread."""
        if run_id not in self._known:
            return None
        found: StoredRun | None = await self._journal.read(lambda connection: _load(connection, run_id))
        return found

    async def unfinished(self) -> list[StoredRun]:
        """Every run without an end, oldest first, with its records; 10,000 take about half a second, in a thread."""
        found: list[StoredRun] = await self._journal.read(_unfinished)
        return found

    async def drop(self, ids: Sequence[str]) -> None:
        """Give these runs up, and definitions that no run needs any more."""
        self._digests.clear()  # who begins a run from here on brings its definition along
        await self._journal.writer.perform(lambda connection: _drop(connection, ids))
        for run_id in ids:
            self._known.pop(run_id, None)

    def _rows(self, run_id: str, records: Sequence[Record]) -> list[Row]:
        rows: list[Row] = []
        for record in records:
            rows.append(["record", run_id, record.kind, record.place, record.at, self._text(record.data)])
            if record.kind == "finished":
                summary = self._known[run_id] = self._known[run_id].ending(record)
                rows.append(["end", run_id, summary.status, summary.ended])
        return rows

    def _text(self, data: Mapping[str, Any]) -> str:
        """What is stored: JSON in which no value of a secret appears."""
        return self._journal.redact(_encode(data))


def _load(connection: sqlite3.Connection, run_id: str) -> StoredRun | None:
    row = connection.execute(f"{_RUN} WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        return None
    sql = "SELECT kind, place, at, data FROM records WHERE run = ? ORDER BY number"
    records = [_record(*found) for found in connection.execute(sql, (run_id,))]
    return StoredRun(_run(*row), records)


def _unfinished(connection: sqlite3.Connection) -> list[StoredRun]:
    connection.execute("BEGIN")  # one moment for both questions
    try:
        rows = connection.execute(f"{_RUN} WHERE status = '' ORDER BY number")
        found = {row[0]: StoredRun(_run(*row)) for row in rows}
        sql = "SELECT run, kind, place, records.at, data FROM records JOIN runs ON id = run WHERE status = ''"
        for run_id, *columns in connection.execute(f"{sql} ORDER BY records.number"):
            found[run_id].records.append(_record(*columns))
    finally:
        connection.execute("COMMIT")
    return list(found.values())


def _drop(connection: sqlite3.Connection, ids: Sequence[str]) -> None:
    for table, column in (("records", "run"), ("runs", "id")):
        connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(run_id,) for run_id in ids])
    connection.execute("DELETE FROM definitions WHERE digest NOT IN (SELECT digest FROM runs)")


def _conceal(connection: sqlite3.Connection, ids: Sequence[str], paths: PathRedactor) -> None:
    for run_id in ids:
        for facts, number in connection.execute("SELECT facts, number FROM runs WHERE id = ?", (run_id,)).fetchall():
            value = json.loads(facts)
            for event in value["firing"].get("events", ()):
                for path in (event.get("path"), event.get("dest")):
                    paths.see(path or "")
            _replace(connection, "runs", "facts", number, facts, _encode(paths.value(value)))
        rows = connection.execute("SELECT data, number FROM records WHERE run = ?", (run_id,)).fetchall()
        for data, number in rows:
            _replace(connection, "records", "data", number, data, _encode(paths.value(json.loads(data))))


def _replace(connection: sqlite3.Connection, table: str, column: str, number: int, old: str, new: str) -> None:
    if new != old:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE number = ?", (new, number))


def _record(kind: Kind, place: str, at: int, data: str) -> Record:
    return Record(kind, place, at, json.loads(data))


def _run(id: str, workflow: str, digest: str, at: int, facts: str, definition: str | None) -> NewRun:
    known = json.loads(facts)
    parent = known.get("parent")
    return NewRun(
        id,
        workflow,
        digest,
        definition or "",
        known["firing"],
        known["key"],
        at,
        known["priority"],
        known.get("tenant", ""),
        tuple(parent) if parent else None,
    )
