"""The graph on disk: SQLite, written in batches, asked step by step. Bounded by the number of edges.

What can be told from the rest is not stored: a version is derived from what its maker had read by then.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from automation.provenance.facts import Act, Fact, Moved, Named, NewAgent, NewFile, NewVersion, Read
from automation.provenance.graph import MOST_FOUND, Graph, shown, stored
from automation.provenance.tracker import MOST_SOURCES

PRUNED: Final = 0.1  # the share that goes when there are too many edges
_LAYOUT: Final = 2
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS files (id INTEGER PRIMARY KEY, path TEXT NOT NULL, ts INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS versions (id INTEGER PRIMARY KEY, file INTEGER NOT NULL, path TEXT NOT NULL,
  maker INTEGER NOT NULL, before INTEGER NOT NULL, labels TEXT NOT NULL, ts INTEGER NOT NULL,
  upto INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS versions_file ON versions (file);
CREATE INDEX IF NOT EXISTS versions_maker ON versions (maker, upto) WHERE maker > 0;
CREATE INDEX IF NOT EXISTS versions_before ON versions (before) WHERE before > 0;
CREATE TABLE IF NOT EXISTS agents (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, number TEXT NOT NULL,
  name TEXT NOT NULL, uid INTEGER NOT NULL, ts INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS agents_number ON agents (number, kind);
CREATE INDEX IF NOT EXISTS agents_uid ON agents (uid, kind);
CREATE TABLE IF NOT EXISTS reads (agent INTEGER NOT NULL, number INTEGER NOT NULL, version INTEGER NOT NULL,
  ts INTEGER NOT NULL, PRIMARY KEY (agent, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reads_back ON reads (version);
CREATE TABLE IF NOT EXISTS acts (agent INTEGER NOT NULL, target INTEGER NOT NULL, kind TEXT NOT NULL,
  ts INTEGER NOT NULL, PRIMARY KEY (agent, target, kind)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS names (path TEXT NOT NULL, file INTEGER NOT NULL, ts INTEGER NOT NULL,
  gone INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (path, file)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS moved (path TEXT PRIMARY KEY, before TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS living (file INTEGER PRIMARY KEY, inode INTEGER NOT NULL, version INTEGER NOT NULL,
  paths TEXT NOT NULL, labels TEXT NOT NULL, hands TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS labels (name TEXT PRIMARY KEY, places TEXT NOT NULL);
"""
_INSERTS: Final[dict[type, tuple[str, Callable[[Any], Sequence[Any]]]]] = {
    NewFile: ("INSERT OR IGNORE INTO files VALUES (?, ?, ?)", lambda fact: (fact.id, stored(fact.path), fact.ts)),
    NewVersion: (
        "INSERT OR IGNORE INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        lambda fact: (fact.id, fact.file, stored(fact.path), *fact[3:8]),
    ),
    NewAgent: ("INSERT OR REPLACE INTO agents VALUES (?, ?, ?, ?, ?, ?)", lambda fact: fact[:6]),
    Read: ("INSERT OR IGNORE INTO reads VALUES (?, ?, ?, ?)", lambda fact: fact),
    Act: ("INSERT OR IGNORE INTO acts (kind, agent, target, ts) VALUES (?, ?, ?, ?)", lambda fact: fact),
    Named: (
        "INSERT OR REPLACE INTO names (file, path, ts, gone) VALUES (?, ?, ?, ?)",
        lambda fact: (fact.file, stored(fact.path), *fact[2:]),
    ),
    Moved: ("INSERT OR REPLACE INTO moved VALUES (?, ?)", lambda fact: (stored(fact.path), stored(fact.before))),
}
_BACK: Final = f"""SELECT v.before, reads.version FROM json_each(?) AS one CROSS JOIN versions v ON v.id = one.value
  LEFT JOIN reads ON reads.agent = v.maker AND reads.number <= v.upto AND reads.number > v.upto - {MOST_SOURCES}"""
_FORTH: Final = f"""SELECT next.id, v.id FROM json_each(?) AS one
  LEFT JOIN versions next ON next.before = one.value AND next.before > 0
  LEFT JOIN reads ON reads.version = one.value
  LEFT JOIN versions v ON v.maker = reads.agent AND v.maker > 0
    AND v.upto BETWEEN reads.number AND reads.number + {MOST_SOURCES - 1}"""
"""Steps from some versions: pairs of a revision and a derivation, either of which may be none, or found already."""
_PRUNING: Final = (
    "DELETE FROM reads WHERE ts < :limit",
    "DELETE FROM acts WHERE ts < :limit",
    """DELETE FROM versions WHERE ts < :limit AND id NOT IN (SELECT version FROM living)
      AND NOT EXISTS (SELECT 1 FROM reads WHERE version = versions.id)""",
    "DELETE FROM files WHERE ts < :limit AND NOT EXISTS (SELECT 1 FROM versions WHERE file = files.id)",
    "DELETE FROM names WHERE NOT EXISTS (SELECT 1 FROM files WHERE files.id = names.file)",
    """DELETE FROM agents WHERE ts < :limit AND NOT EXISTS (SELECT 1 FROM reads WHERE agent = agents.id)
      AND NOT EXISTS (SELECT 1 FROM versions WHERE maker = agents.id)
      AND NOT EXISTS (SELECT 1 FROM acts WHERE agent = agents.id)""",
)
Living = tuple[int, int, int, str, str, str]
"""A file that lives: its number, inode, version, then paths, labels and hands, each as lines."""


class Store:
    """At `path`, or in memory for None; one thread at a time. sqlite3.Error where the disk does not let us."""

    def __init__(self, path: str | None, most_edges: int) -> None:
        self.pruned = 0  # edges, so far
        self._db: Final = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._most: Final = most_edges
        for line in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA cache_size = -32768"):
            self._db.execute(line)
        (layout,) = self._db.execute("PRAGMA user_version").fetchone()
        if layout != _LAYOUT:
            for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                self._db.execute(f"DROP TABLE {name}")
        self._db.executescript(_SCHEMA + f"PRAGMA user_version = {_LAYOUT};")
        self._edges = self._count_edges()

    @property
    def first(self) -> int:
        """The first number that is free."""
        parts = [self._value(f"SELECT max(id) FROM {table}") for table in ("files", "versions", "agents")]
        return max(part or 0 for part in parts) + 1

    def add(self, facts: Iterable[Fact], living: Iterable[Living] = (), dead: Iterable[int] = ()) -> None:
        """Write a batch in one transaction, with the files that have changed and those that live no more."""
        rows: dict[type, list[Sequence[Any]]] = {kind: [] for kind in _INSERTS}
        edges = 0
        for fact in facts:
            kind = type(fact)
            if kind in rows:
                rows[kind].append(_INSERTS[kind][1](fact))
                edges += 1 if kind is not NewVersion else 3
        with self._transaction():
            for kind, some in rows.items():
                if some:
                    self._db.executemany(_INSERTS[kind][0], some)
            self._db.executemany("INSERT OR REPLACE INTO living VALUES (?, ?, ?, ?, ?, ?)", living)
            self._db.executemany("DELETE FROM living WHERE file = ?", [(one,) for one in dead])
        self._edges += edges
        if self._edges > self._most:
            self._prune()

    def living(self) -> list[Living]:
        """The files that the last mount knew, oldest first."""
        return list(self._db.execute("SELECT * FROM living ORDER BY version"))

    def moved(self) -> list[tuple[str, str]]:
        """The directories that have moved: where they are, where they were."""
        rows = self._db.execute("SELECT path, before FROM moved ORDER BY rowid")
        return [(shown(path), shown(before)) for path, before in rows]

    def labels(self) -> dict[str, str]:
        """The labels that are kept for all that is known, and where their places are."""
        return dict(self._db.execute("SELECT name, places FROM labels"))

    def keep_labels(self, labels: dict[str, str]) -> None:
        """These are kept from now on."""
        with self._transaction():
            self._db.execute("DELETE FROM labels")
            self._db.executemany("INSERT INTO labels VALUES (?, ?)", labels.items())

    def from_places(self, covers: Callable[[str], bool]) -> set[int]:
        """All versions of files that were at such a place, and what was made from those, over any number of steps."""
        files = {file for path, file in self._db.execute("SELECT path, file FROM names") if covers(shown(path))}
        found = {row[0] for row in self._many("SELECT id FROM versions WHERE file = ?", files)}
        return self._reached(found, back=False, most=sys.maxsize)

    # Questions

    def related(self, path: str, *, back: bool) -> dict[str, Any]:
        """What the file at `path` was made from, or what was made from it; empty when it is not known. With each
        version come those who made it, and for whom.
        """
        found = self._reached(self._versions(path), back=back)
        return Graph(self._db).of(versions=found, makers=True)

    def runs(self, path: str) -> dict[str, Any]:
        """The runs that made the file at `path` or what it was made from, and which versions those are."""
        found = self._reached(self._versions(path), back=True)
        made = self._db.execute(
            """SELECT v.id FROM versions v JOIN agents a ON a.id = v.maker
            WHERE v.id IN (SELECT value FROM json_each(?)) AND a.kind = 'run'""",
            (json.dumps(list(found)),),
        )
        return Graph(self._db).of(versions={row[0] for row in made}, makers=True)

    def around(self, kind: str, number: str) -> dict[str, Any]:
        """A process, user or run with everything that it has to do with: the last hundred of that number."""
        column = "uid" if kind == "user" else "number"
        query = f"SELECT id FROM agents WHERE {column} = ? AND kind = ? ORDER BY id DESC LIMIT 100"
        agents = {row[0] for row in self._db.execute(query, (number, "process" if kind == "user" else kind))}
        if kind == "user":
            return Graph(self._db).of(agents=agents)
        return Graph(self._db).of(agents=agents, deeds=True)

    def counts(self) -> dict[str, int]:
        """How much there is."""
        tables = {"file": "files", "version": "versions"}
        out = {name: int(self._value(f"SELECT count(*) FROM {table}")) for name, table in tables.items()}
        out |= dict(self._db.execute("SELECT kind, count(*) FROM agents GROUP BY kind"))
        return {**out, "user": self._value("SELECT count(DISTINCT uid) FROM agents"), "edges": self._edges}

    def close(self) -> None:
        """Done."""
        self._db.close()

    def _versions(self, path: str) -> list[int]:
        """The versions of the files that go or went by a path, the newest hundred."""
        query = "SELECT v.id FROM names JOIN versions v USING (file) WHERE names.path = ? ORDER BY v.id DESC LIMIT 100"
        return [row[0] for row in self._db.execute(query, (stored(path),))]

    def _reached(self, start: Iterable[int], *, back: bool, most: int = MOST_FOUND + 1) -> set[int]:
        """Over any number of steps of derivation and revision, nearest first: a query a step, read only as far as
        needed.
        """
        found = set(start)
        step = list(start)
        while step and len(found) < most:
            rows = self._db.execute(_BACK if back else _FORTH, (json.dumps(step),))
            step = []
            for one in itertools.chain.from_iterable(rows):
                if one and one not in found:
                    found.add(one)
                    step.append(one)
                    if len(found) == most:
                        break
        return found

    def _many(self, query: str, values: Iterable[int]) -> Iterator[tuple[int, ...]]:
        for one in values:
            yield from self._db.execute(query, (one,))

    def _value(self, query: str, values: Sequence[Any] = ()) -> Any:
        return self._db.execute(query, values).fetchone()[0]

    def _count_edges(self) -> int:
        reads, acts, names, versions = (
            self._value(f"SELECT count(*) FROM {table}") for table in ("reads", "acts", "names", "versions")
        )
        return int(reads + acts + names + 3 * versions)

    def _prune(self) -> None:
        """Forget the oldest tenth, by time, and the nodes that nothing is left of; what lives stays known."""
        before = self._edges
        limits = []
        for table in ("versions", "reads"):
            offset = int(self._value(f"SELECT count(*) FROM {table}") * PRUNED)
            row = self._db.execute(f"SELECT ts FROM {table} ORDER BY ts LIMIT 1 OFFSET ?", (offset,)).fetchone()
            limits += [row[0]] if row else []
        with self._transaction():
            for line in _PRUNING if limits else ():
                self._db.execute(line, {"limit": min(limits)})
        self._edges = self._count_edges()
        self.pruned += before - self._edges

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
