"""The tables of the journal, by version."""

from __future__ import annotations

from typing import Any, Final

Row = list[Any]  # what is written: the kind of the row first, then its values in the order of `rows.TAKES`

_AUDIT: Final = """
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    path TEXT NOT NULL,
    uid INTEGER NOT NULL,
    run TEXT NOT NULL,
    record TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_path ON audit (path) WHERE path <> '';
CREATE INDEX audit_run ON audit (run) WHERE run <> '';
CREATE VIEW intake AS SELECT '' AS kind, '' AS a, '' AS b, '' AS c, '' AS d, '' AS e, '' AS f, '' AS g, '' AS h;
CREATE TRIGGER intake_audit INSTEAD OF INSERT ON intake WHEN NEW.kind = 'audit' BEGIN
    INSERT INTO audit VALUES (NEW.a, NEW.b, NEW.c, NEW.d, NEW.e, NEW.f, NEW.g, NEW.h);
END;
"""

_RUNS: Final = """
CREATE TABLE definitions (digest TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    workflow TEXT NOT NULL,
    digest TEXT NOT NULL,
    at INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT '',
    ended INTEGER NOT NULL DEFAULT 0,
    facts TEXT NOT NULL
);
CREATE INDEX runs_open ON runs (number) WHERE status = '';
CREATE INDEX runs_digest ON runs (digest);
CREATE TABLE records (
    number INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    kind TEXT NOT NULL,
    place TEXT NOT NULL,
    at INTEGER NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX records_run ON records (run);
CREATE TRIGGER intake_definition INSTEAD OF INSERT ON intake WHEN NEW.kind = 'definition' BEGIN
    INSERT OR IGNORE INTO definitions VALUES (NEW.a, NEW.b);
END;
CREATE TRIGGER intake_run INSTEAD OF INSERT ON intake WHEN NEW.kind = 'run' BEGIN
    INSERT INTO runs (id, workflow, digest, at, facts) VALUES (NEW.a, NEW.b, NEW.c, NEW.d, NEW.e);
END;
CREATE TRIGGER intake_record INSTEAD OF INSERT ON intake WHEN NEW.kind = 'record' BEGIN
    INSERT INTO records (run, kind, place, at, data) VALUES (NEW.a, NEW.b, NEW.c, NEW.d, NEW.e);
END;
CREATE TRIGGER intake_end INSTEAD OF INSERT ON intake WHEN NEW.kind = 'end' BEGIN
    UPDATE runs SET status = NEW.b, ended = NEW.c WHERE id = NEW.a;
END;
"""

# Up to version 2 all rows passed through one view; `rows` does without.
_DIRECT: Final = "DROP VIEW intake;"

# What proof and export look for, wherever in a long trail it is.
_MARKS: Final = """
CREATE INDEX audit_begun ON audit (seq) WHERE kind = 'audit.begun';
CREATE INDEX audit_mounted ON audit (seq) WHERE kind = 'system.mounted';
CREATE INDEX audit_pruned ON audit (seq) WHERE kind = 'audit.pruned';
"""

# By kind instead, and by user; both grow at few places, so that they cost little while much is written.
_ASKED: Final = """
DROP INDEX audit_begun;
DROP INDEX audit_mounted;
DROP INDEX audit_pruned;
CREATE INDEX audit_kind ON audit (kind);
CREATE INDEX audit_uid ON audit (uid) WHERE uid <> 0;
"""

# Each entry brings the database from the version that is its index to the next; entries are never changed.
MIGRATIONS: Final[tuple[str, ...]] = (_AUDIT, _RUNS, _DIRECT, _MARKS, _ASKED)
