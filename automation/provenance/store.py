"""The graph on disk: SQLite, written in batches, asked by recursive queries. Bounded by the number of edges."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Final

from automation.provenance.tracker import Edge, Fact, File, Named, Node

MOST_FOUND: Final = 2000  # nodes of an answer
PRUNED: Final = 0.1  # the share that goes when there are too many edges
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS nodes (id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, kind TEXT NOT NULL,
  label TEXT NOT NULL, ts INTEGER NOT NULL, labels TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS edges (source INTEGER NOT NULL, kind TEXT NOT NULL, target INTEGER NOT NULL,
  ts INTEGER NOT NULL, PRIMARY KEY (source, kind, target)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS edges_back ON edges (target, kind, source);
CREATE INDEX IF NOT EXISTS edges_time ON edges (ts);
CREATE TABLE IF NOT EXISTS names (path TEXT NOT NULL, file INTEGER NOT NULL, ts INTEGER NOT NULL,
  PRIMARY KEY (path, file)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS living (inode INTEGER PRIMARY KEY, key TEXT, path TEXT, version INTEGER, labels TEXT);
"""
_CLOSURE: Final = """
WITH RECURSIVE found(id, depth) AS (
  SELECT id, 0 FROM start UNION SELECT {next}, depth + 1 FROM found JOIN edges ON {here} = found.id
  WHERE edges.kind IN ('wasDerivedFrom', 'wasRevisionOf') AND depth < :depth LIMIT :most)
SELECT DISTINCT id FROM found
"""


class Store:
    """At `path`, or in memory for None; one thread at a time. sqlite3.Error where the disk does not let us."""

    def __init__(self, path: str | None, most_edges: int) -> None:
        self._db: Final = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._most: Final = most_edges
        self._ids: Final[dict[str, int]] = {}
        for line in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA cache_size = -65536"):
            self._db.execute(line)
        self._db.executescript(_SCHEMA)
        self._edges = self._count("edges")

    def add(self, facts: Iterable[Fact]) -> None:
        """Write a batch in one transaction."""
        with self._transaction():
            for fact in facts:
                if isinstance(fact, Node):
                    self._node(fact)
                elif isinstance(fact, Edge):
                    source, target = self._id(fact.source), self._id(fact.target)
                    if source and target:
                        row = (source, fact.kind, target, fact.ts)
                        done = self._db.execute("INSERT OR IGNORE INTO edges VALUES (?, ?, ?, ?)", row)
                        self._edges += done.rowcount
                elif isinstance(fact, Named):
                    file = self._id(fact.file)
                    if file:
                        self._db.execute("INSERT OR REPLACE INTO names VALUES (?, ?, ?)", (fact.path, file, fact.ts))
        if self._edges > self._most:
            self._prune()

    def keep(self, files: Iterable[tuple[int, File]]) -> None:
        """Remember which files live, for the next mount."""
        with self._transaction():
            self._db.execute("DELETE FROM living")
            rows = [(inode, f.key, f.path, f.version, " ".join(f.labels)) for inode, f in files]
            self._db.executemany("INSERT INTO living VALUES (?, ?, ?, ?, ?)", rows)

    def living(self) -> dict[int, File]:
        """The files that the last mount knew, by inode."""
        rows = self._db.execute("SELECT inode, key, path, version, labels FROM living")
        return {inode: File(key, path, version, tuple(labels.split())) for inode, key, path, version, labels in rows}

    def related(self, path: str, *, back: bool, depth: int = 50) -> dict[str, Any]:
        """What the file at `path` was made from, or what was made from it; empty when it is not known. With each
        version come those who made it, and for whom.
        """
        starts = self._versions(path)
        if not starts:
            return {"nodes": [], "edges": []}
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS start (id INTEGER PRIMARY KEY)")
        self._db.execute("DELETE FROM start")
        self._db.executemany("INSERT INTO start VALUES (?)", [(one,) for one in starts])
        here, step = ("edges.source", "edges.target") if back else ("edges.target", "edges.source")
        closure = _CLOSURE.format(here=here, next=step)
        found = {row[0] for row in self._db.execute(closure, {"depth": depth, "most": MOST_FOUND})}
        makers = self._targets(found, ("wasGeneratedBy",))
        users = self._targets(makers, ("wasAssociatedWith",))
        return self._subgraph(found | makers | users)

    def around(self, key: str) -> dict[str, Any]:
        """A process, user or run with everything that it has to do with; `key` may end in `%`."""
        rows = self._db.execute("SELECT id FROM nodes WHERE key LIKE ? LIMIT 100", (key,))
        found = {row[0] for row in rows}
        near = set(found)
        query = (
            "SELECT target FROM edges WHERE source = :id UNION SELECT source FROM edges WHERE target = :id LIMIT :most"
        )
        for one in found:
            near |= {row[0] for row in self._db.execute(query, {"id": one, "most": MOST_FOUND})}
        return self._subgraph(near)

    def counts(self) -> dict[str, int]:
        """How much there is."""
        kinds = dict(self._db.execute("SELECT kind, count(*) FROM nodes GROUP BY kind"))
        return {**kinds, "edges": self._edges}

    def close(self) -> None:
        """Done."""
        self._db.close()

    def _versions(self, path: str) -> list[int]:
        """The versions of the files that go or went by a path; of those that do now, if any does."""
        query = """SELECT v.id FROM names JOIN edges ON edges.target = names.file AND edges.kind = 'specializationOf'
            JOIN nodes v ON v.id = edges.source WHERE names.path = ? ORDER BY v.ts DESC LIMIT 100"""
        return [row[0] for row in self._db.execute(query, (path,))]

    def _targets(self, ids: Iterable[int], kinds: tuple[str, ...]) -> set[int]:
        marks = ", ".join("?" * len(kinds))
        query = f"SELECT target FROM edges WHERE source = ? AND kind IN ({marks})"
        return {row[0] for one in ids for row in self._db.execute(query, (one, *kinds))}

    def _subgraph(self, ids: set[int]) -> dict[str, Any]:
        nodes = []
        for one in sorted(ids)[:MOST_FOUND]:
            key, kind, label, ts, labels = self._db.execute(
                "SELECT key, kind, label, ts, labels FROM nodes WHERE id = ?", (one,)
            ).fetchone()
            nodes.append({"id": key, "kind": kind, "label": label, "ts": ts, "labels": labels.split()})
        names = {one: node["id"] for one, node in zip(sorted(ids)[:MOST_FOUND], nodes, strict=True)}
        edges = [
            {"from": names[one], "kind": kind, "to": names[target], "ts": ts}
            for one in names
            for kind, target, ts in self._db.execute("SELECT kind, target, ts FROM edges WHERE source = ?", (one,))
            if target in names
        ]
        return {"nodes": nodes, "edges": edges} | ({"cut": True} if len(ids) > MOST_FOUND else {})

    def _node(self, node: Node) -> None:
        row = (node.key, node.kind, node.label, node.ts, " ".join(node.labels))
        query = """INSERT INTO nodes (key, kind, label, ts, labels) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (key) DO UPDATE SET label = excluded.label RETURNING id"""
        (found,) = self._db.execute(query, row).fetchone()
        self._remember(node.key, found)

    def _id(self, key: str) -> int:
        known = self._ids.get(key)
        if known is None:
            row = self._db.execute("SELECT id FROM nodes WHERE key = ?", (key,)).fetchone()
            known = row[0] if row else 0
            if known:
                self._remember(key, known)
        return known

    def _remember(self, key: str, found: int) -> None:
        if len(self._ids) > 100_000:
            self._ids.clear()
        self._ids[key] = found

    def _prune(self) -> None:
        """Forget the oldest tenth of the edges, and the nodes that nothing is left of."""
        gone = int(self._most * PRUNED)
        with self._transaction():
            limit = self._db.execute("SELECT ts FROM edges ORDER BY ts LIMIT 1 OFFSET ?", (gone,)).fetchone()
            if limit is not None:
                self._db.execute("DELETE FROM edges WHERE ts < ?", limit)
                self._db.execute(
                    "DELETE FROM nodes WHERE ts < ? AND NOT EXISTS (SELECT 1 FROM edges WHERE source = nodes.id)"
                    " AND NOT EXISTS (SELECT 1 FROM edges WHERE target = nodes.id)",
                    limit,
                )
                self._db.execute("DELETE FROM names WHERE NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.id = names.file)")
        self._ids.clear()
        self._edges = self._count("edges")

    def _count(self, table: str) -> int:
        (count,) = self._db.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
