"""Reading the audit trail: the newest records, or those of a time, a path, a user, a kind or a run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """What must hold of a record; None asks for nothing. Times in nanoseconds since the epoch, `until` is excluded;
    `path` (and what it may be `shown_as` where paths are redacted) and `kind` stand for all below them too. The newest
    `limit` are answered, all of them if it is 0.
    """

    since: int | None = None
    until: int | None = None
    path: str | None = None
    uid: int | None = None
    run: str | None = None
    kind: str | None = None
    limit: int = 1000
    shown_as: tuple[str, ...] = ()


def ask(connection: sqlite3.Connection, question: Question) -> list[str]:
    """The records as lines of JSON, oldest first: what was hashed, and the hash."""
    return [line(record, digest) for _, record, digest in records(connection, question)]


def records(connection: sqlite3.Connection, question: Question) -> Iterator[tuple[int, str, str]]:
    """Number, text and hash of each record, oldest first."""
    where, values = _conditions(question)
    if question.limit:  # the numbers first: texts need not be sorted
        others = (question.path, question.uid, question.run, question.kind)
        newest = "seq" if question.since is None or any(one is not None for one in others) else "at"  # by its index
        where = f"seq IN (SELECT seq FROM audit WHERE {where} ORDER BY {newest} DESC LIMIT ?)"
        values.append(question.limit)
    yield from connection.execute(f"SELECT seq, record, hash FROM audit WHERE {where} ORDER BY seq", values)


def line(record: str, digest: str) -> str:
    """A record with its hash, as JSON."""
    return f'{record[:-1]},"hash":"{digest}"}}'


def _conditions(question: Question) -> tuple[str, list[Any]]:
    asked = {
        "at >= ?": question.since,
        "at < ?": question.until,
        "uid = ? AND uid <> 0" if question.uid else "uid = ?": question.uid,  # as their indexes are made
        "run = ? AND run <> ''": question.run,
    }
    terms = [term for term, value in asked.items() if value is not None]
    values: list[Any] = [value for value in asked.values() if value is not None]
    paths = [question.path, *question.shown_as] if question.path else []
    for column, every, between in (("path", paths, "/"), ("kind", [question.kind] if question.kind else [], ".")):
        if every:
            one = f"{column} <> '' AND {column} = ? OR ({column} <> '' AND {column} >= ? AND {column} < ?)"
            terms.append(f"({' OR '.join([one] * len(every))})")
            values += [value for a in every for value in (a, a + between, a + chr(ord(between) + 1))]
    return " AND ".join(terms) or "1", values
