"""Whether the audit trail is as it was written: finds what was altered, removed or put elsewhere."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from automation.journal.chain import Head, linked, printable

PRUNED: Final = "audit.pruned"  # signs off the records up to `through`, whose last hash was `hash`
MOST: Final = 100

Anchors = dict[int, set[str]]  # by the number of a record: the hashes that it must have


@dataclass(slots=True)
class Verdict:
    """What was found: `problems` in the order of the trail (the first `MOST`), `records` looked at, the `newest`;
    `unchecked` are the copied heads whose records are pruned.
    """

    records: int = 0
    newest: Head = field(default_factory=Head)
    problems: list[str] = field(default_factory=list)
    unchecked: list[int] = field(default_factory=list)

    def add(self, problem: str) -> None:
        """Note a problem."""
        if len(self.problems) < MOST:
            self.problems.append(problem)


def verify(connection: sqlite3.Connection, published: Head, *copies: Head) -> Verdict:
    """Go through the whole trail; `published` is the head in the file beside the database, `copies` are earlier ones.
    About 10 µs a record.
    """
    verdict = Verdict()
    before: Head | None = None
    anchors: Anchors = {}
    for head in (*copies, published):
        anchors.setdefault(head.seq, set()).add(head.hash)
    anchored = set()
    for seq, digest, row, record in _rows(connection):
        before = before or _start(connection, verdict, seq, anchors)
        _check(verdict, before, seq, digest, row, record)
        if seq in anchors:
            anchored.add(seq)
            if anchors[seq] != {digest}:
                verdict.add(f"record {seq} is not the one whose hash was published")
        before = Head(seq, digest)
        verdict.records += 1
    verdict.newest = before or Head()
    for seq in sorted(anchors.keys() - anchored - {0}):
        if seq > verdict.newest.seq:
            verdict.add(f"records {verdict.newest.seq + 1} to {seq}, the newest, were removed")
        elif seq >= published.seq:
            verdict.add(f"record {seq}, whose hash was published, is not there")
        else:
            verdict.unchecked.append(seq)
    return verdict


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[int, str, tuple[Any, ...], str]]:
    sql = "SELECT seq, hash, at, kind, path, uid, run, record FROM audit ORDER BY seq"
    for seq, digest, *columns, record in connection.execute(sql):
        yield seq, digest, tuple(columns), record


def _start(connection: sqlite3.Connection, verdict: Verdict, first: int, anchors: Anchors) -> Head:
    """What the first record follows on: nothing, or the last of those that a later record signs off. Records that are
    signed off and still there (the process was killed meanwhile) must end in the hash that was signed.
    """
    if first == 1:
        return Head()
    signed = {}
    for (record,) in connection.execute(f"SELECT record FROM audit WHERE kind = '{PRUNED}' ORDER BY seq"):
        data = _parsed(record).get("data")
        data = data if isinstance(data, dict) else {}
        through = data.get("through")
        if isinstance(through, int) and through >= first - 1:
            signed[through] = str(data.get("hash"))
    if not signed:
        verdict.add(f"records 1 to {first - 1} were removed, and no record signs that off")
    for seq, digest in signed.items():
        if seq >= first:
            anchors.setdefault(seq, set()).add(digest)
    return Head(first - 1, signed.get(first - 1, ""))


def _check(verdict: Verdict, before: Head, seq: int, digest: str, row: tuple[Any, ...], record: str) -> None:
    facts = _parsed(record)
    missing = seq - before.seq - 1
    if missing:
        which = f"record {seq - 1} was" if missing == 1 else f"records {before.seq + 1} to {seq - 1} were"
        verdict.add(f"{which} removed")
    if facts.get("seq") != seq:
        verdict.add(f"record {seq} stands in another's place: it was written as {facts.get('seq')}")
    elif row != _columns(facts):
        verdict.add(f"record {seq} was altered: its columns are not what it says")
    elif not missing and before.hash and linked(before.hash, record) != digest:
        verdict.add(f"record {seq} was altered, or it does not follow on record {before.seq}")


def _columns(facts: dict[str, Any]) -> tuple[Any, ...]:
    path = facts.get("path")
    return (
        facts.get("at"),
        facts.get("kind"),
        printable(path) if isinstance(path, str) else None,
        facts.get("uid"),
        facts.get("run"),
    )


def _parsed(record: str) -> dict[str, Any]:
    try:
        facts = json.loads(record)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
