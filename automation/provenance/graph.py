"""Part of the stored graph as nodes and edges, in the words of W3C PROV."""

from __future__ import annotations

import json
import os
import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

from automation.provenance.tracker import MOST_SOURCES

MOST_FOUND: Final = 250  # versions of an answer, which then takes some 4 ms (bench/provenance.py)
LONG: Final = 1000  # reads of an agent, of more than which those of the versions are looked up one by one
KINDS: Final = {"renamed": "renamed", "linked": "linked", "invalidated": "wasInvalidatedBy", "started": "wasStartedBy"}
_AMONG: Final = "IN (SELECT value FROM json_each(?))"
_VERSIONS: Final = f"SELECT id, file, path, maker, before, labels, ts, upto FROM versions WHERE id {_AMONG} ORDER BY id"
_AGENTS: Final = f"SELECT id, kind, number, name, uid, ts FROM agents WHERE id {_AMONG} ORDER BY id"
_LONG: Final = (
    f"SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM reads WHERE agent = value AND number > {LONG})"
)
_READS: Final = f"SELECT agent, number, version, ts FROM reads WHERE agent {_AMONG} AND +version {_AMONG}"
_LONG_READS: Final = _READS.replace("reads WHERE", "reads INDEXED BY reads_back WHERE").replace("+version", "version")
_ACTS: Final = f"SELECT agent, kind, target, ts FROM acts WHERE agent {_AMONG} AND +target {_AMONG}"
_NEWEST: Final = f"ORDER BY 1 DESC LIMIT {MOST_FOUND + 1}"
_DEEDS: Final = (
    f"SELECT DISTINCT version FROM reads WHERE agent {_AMONG} {_NEWEST}",
    f"SELECT id FROM versions WHERE maker > 0 AND maker {_AMONG} {_NEWEST}",
    f"SELECT DISTINCT target FROM acts WHERE kind = 'started' AND agent {_AMONG} {_NEWEST}",
)
_HANDLED: Final = f"SELECT DISTINCT target FROM acts WHERE kind <> 'started' AND agent {_AMONG} {_NEWEST}"
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
        self._versions: Final[dict[int, str]] = {}  # the nodes by what they are numbers of
        self._files: Final[dict[int, str]] = {}
        self._agents: Final[dict[int, str]] = {}

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
        authors = {row[3] for row in rows if row[3]}
        doers |= authors if makers else set()
        files |= {row[1] for row in rows} if deeds else set()
        for version, _, path, _, _, labels, ts, _ in rows:
            self._versions[version] = self._add(f"version:{version}", "version", shown(path), ts, labels.split())
        for file, path, ts in self._rows(_FILES, set(sorted(files, reverse=True)[:MOST_FOUND])):
            self._files[file] = self._add(f"file:{file}", "file", shown(path), ts)
        self._add_agents(doers)
        reads = self._reads(doers | authors, known)
        self._add_deeds(doers, reads)
        self._add_origins(rows, reads)
        edges = [{"from": one, "kind": kind, "to": to, "ts": ts} for (one, kind, to), ts in self._edges.items()]
        cut = {"cut": True} if len(wanted) > MOST_FOUND else {}
        return {"nodes": list(self._nodes.values()), "edges": edges, **cut}

    def _add_agents(self, doers: set[int]) -> None:
        """Processes and runs, and for whom they were."""
        for agent, kind, number, name, uid, ts in self._rows(_AGENTS, doers):
            key = f"run:{number}" if kind == "run" else f"process:{agent}"
            self._agents[agent] = self._add(key, kind, f"{name} ({number})", ts)
            if kind == "process":
                self._edge(key, "wasAssociatedWith", self._add(f"user:{uid}", "user", f"uid {uid}", ts), ts)

    def _add_deeds(self, doers: set[int], reads: Iterable[tuple[int, ...]]) -> None:
        """What they did to what is there."""
        for agent, _, version, ts in reads:
            self._edge(self._agents.get(agent), "used", self._versions.get(version), ts)
        for agent, kind, target, ts in self._rows(_ACTS, doers, self._versions.keys() | self._files.keys()):
            if kind == "invalidated":
                self._edge(self._files.get(target), KINDS[kind], self._agents.get(agent), ts)
            else:
                ends = self._versions if kind == "started" else self._files
                self._edge(self._agents.get(agent), KINDS[kind], ends.get(target), ts)

    def _add_origins(self, versions: Iterable[tuple[Any, ...]], reads: Iterable[tuple[int, ...]]) -> None:
        """Of which file versions are, and by whom and from what they were made."""
        for version, file, _, maker, before, _, ts, _ in versions:
            key = self._versions[version]
            self._edge(key, "specializationOf", self._files.get(file), ts)
            self._edge(key, "wasGeneratedBy", self._agents.get(maker), ts)
            self._edge(key, "wasRevisionOf", self._versions.get(before), ts)
        for version, source, ts in _derivations(versions, reads):
            self._edge(self._versions[version], "wasDerivedFrom", self._versions.get(source), ts)

    def _reads(self, agents: set[int], known: set[int]) -> list[tuple[int, ...]]:
        """Which of the known versions each has read, in the order in which it did."""
        long = {row[0] for row in self._rows(_LONG, agents)}
        return sorted(self._rows(_READS, agents - long, known) + self._rows(_LONG_READS, long, known))

    def _rows(self, query: str, *ids: Iterable[int]) -> list[tuple[Any, ...]]:
        return list(self._db.execute(query, [json.dumps(list(some)) for some in ids]))

    def _add(self, key: str, kind: str, label: str, ts: int, labels: Iterable[str] = ()) -> str:
        self._nodes.setdefault(key, {"id": key, "kind": kind, "label": label, "ts": ts, "labels": list(labels)})
        return key

    def _edge(self, source: str | None, kind: str, target: str | None, ts: int) -> None:
        """Between nodes that are there."""
        if source and target:
            self._edges.setdefault((source, kind, target), ts)


def _derivations(
    versions: Iterable[tuple[Any, ...]], reads: Iterable[tuple[int, ...]]
) -> Iterator[tuple[int, int, int]]:
    """A version is derived from the last that its maker had read by then, but for the one that it revises."""
    numbers, sources = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
    for agent, number, version, _ in reads:
        numbers[agent].append(number)
        sources[agent].append(version)
    for version, _, _, maker, before, _, ts, upto in versions:
        if maker in numbers:
            first = bisect_right(numbers[maker], upto - MOST_SOURCES)
            for source in sources[maker][first : bisect_right(numbers[maker], upto)]:
                if source != before:
                    yield version, source, ts
