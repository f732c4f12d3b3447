"""Part of the stored graph as nodes and edges, in the words of W3C PROV."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from automation.provenance.tracker import MOST_SOURCES

MOST_FOUND: Final = 250  # versions of an answer, which then takes some 7 ms (bench/provenance.py)
KINDS: Final = {"renamed": "renamed", "linked": "linked", "invalidated": "wasInvalidatedBy", "started": "wasStartedBy"}
SOURCES: Final = f"""reads ON reads.agent = v.maker AND reads.number <= v.upto
  AND reads.number > v.upto - {MOST_SOURCES} AND reads.version <> v.before"""
"""Joins a version `v` with the reads that it is derived from."""
_AMONG: Final = "IN (SELECT value FROM json_each(?))"
_VERSIONS: Final = f"""SELECT v.id, v.file, v.path, v.maker, v.before, v.labels, v.ts, a.kind, a.number FROM versions v
  LEFT JOIN agents a ON a.id = v.maker WHERE v.id {_AMONG} ORDER BY v.id"""
_DERIVED: Final = (
    f"SELECT v.id, reads.version, v.ts FROM versions v JOIN {SOURCES} WHERE v.id {_AMONG} AND +reads.version {_AMONG}"
)
_AGENTS: Final = f"SELECT id, kind, number, name, uid, ts FROM agents WHERE id {_AMONG} ORDER BY id"
_READS: Final = f"SELECT agent, version, ts FROM reads WHERE agent {_AMONG} AND +version {_AMONG}"
_ACTS: Final = f"SELECT agent, kind, target, ts FROM acts WHERE agent {_AMONG}"
_DEEDS: Final = (
    f"SELECT version FROM reads WHERE agent {_AMONG}",
    f"SELECT id FROM versions WHERE maker > 0 AND maker {_AMONG}",
    f"SELECT target FROM acts WHERE kind = 'started' AND agent {_AMONG}",
)
_HANDLED: Final = f"SELECT target FROM acts WHERE kind <> 'started' AND agent {_AMONG}"
_FILES: Final = f"SELECT id, path, ts FROM files WHERE id {_AMONG} ORDER BY id"


def stored(text: str) -> str | bytes:
    """A path as SQLite takes it: bytes where it is no Unicode."""
    return text if text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text) else os.fsencode(text)


def shown(value: str | bytes) -> str:
    """And back."""
    return value if isinstance(value, str) else os.fsdecode(value)


class Graph:
    """One answer in the making."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db: Final = db
        self._nodes: Final[dict[str, dict[str, Any]]] = {}
        self._edges: Final[dict[tuple[str, str, str], int]] = {}

    def of(
        self, *, versions: Iterable[int] = (), agents: Iterable[int] = (), makers: bool = False, deeds: bool = False
    ) -> dict[str, Any]:
        """Versions and agents, on demand with the makers of the versions and the deeds of the agents, and all edges
        between them. At most `MOST_FOUND` versions, the newest; `cut` says that there were more.
        """
        wanted, doers, files = set(versions), set(agents), set[int]()
        if deeds:
            wanted |= {row[0] for query in _DEEDS for row in self._rows(query, doers)}
            files |= {row[0] for row in self._rows(_HANDLED, doers)}
        known = set(sorted(wanted, reverse=True)[:MOST_FOUND])
        rows = self._rows(_VERSIONS, known)
        doers |= {row[3] for row in rows if row[3]} if makers else set()
        files |= {row[1] for row in rows} if deeds else set()
        for version, _, path, _, _, labels, ts, *_ in rows:
            self._add(f"version:{version}", "version", shown(path), ts, labels.split())
        for file, path, ts in self._rows(_FILES, set(sorted(files, reverse=True)[:MOST_FOUND])):
            self._add(f"file:{file}", "file", shown(path), ts)
        keys = self._agents(doers, known)
        for version, file, _, maker, before, _, ts, *_ in rows:
            self._edge(f"version:{version}", "specializationOf", f"file:{file}", ts)
            self._edge(f"version:{version}", "wasGeneratedBy", keys.get(maker, ""), ts)
            self._edge(f"version:{version}", "wasRevisionOf", f"version:{before}", ts)
        for version, source, ts in self._rows(_DERIVED, known, known):
            self._edge(f"version:{version}", "wasDerivedFrom", f"version:{source}", ts)
        edges = [{"from": one, "kind": kind, "to": to, "ts": ts} for (one, kind, to), ts in self._edges.items()]
        cut = {"cut": True} if len(wanted) > MOST_FOUND else {}
        return {"nodes": list(self._nodes.values()), "edges": edges, **cut}

    def _agents(self, doers: set[int], known: set[int]) -> dict[int, str]:
        """Processes and runs, for whom they were, and what they did to what is there already; their keys."""
        keys: dict[int, str] = {}
        for agent, kind, number, name, uid, ts in self._rows(_AGENTS, doers):
            key = keys[agent] = f"run:{number}" if kind == "run" else f"process:{agent}"
            self._add(key, kind, f"{name} ({number})", ts)
            if kind == "process":
                self._add(f"user:{uid}", "user", f"uid {uid}", ts)
                self._edge(key, "wasAssociatedWith", f"user:{uid}", ts)
        for agent, version, ts in self._rows(_READS, doers, known):
            self._edge(keys.get(agent, ""), "used", f"version:{version}", ts)
        for agent, kind, target, ts in self._rows(_ACTS, doers):
            if kind == "invalidated":
                self._edge(f"file:{target}", KINDS[kind], keys.get(agent, ""), ts)
            else:
                end = "version" if kind == "started" else "file"
                self._edge(keys.get(agent, ""), KINDS[kind], f"{end}:{target}", ts)
        return keys

    def _rows(self, query: str, *ids: set[int]) -> list[tuple[Any, ...]]:
        return list(self._db.execute(query, [json.dumps(list(some)) for some in ids]))

    def _add(self, key: str, kind: str, label: str, ts: int, labels: Iterable[str] = ()) -> None:
        self._nodes.setdefault(key, {"id": key, "kind": kind, "label": label, "ts": ts, "labels": list(labels)})

    def _edge(self, source: str, kind: str, target: str, ts: int) -> None:
        """Between nodes that are there."""
        if source in self._nodes and target in self._nodes:
            self._edges.setdefault((source, kind, target), ts)
