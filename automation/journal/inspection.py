"""`vexfs verify`: whether the audit trail of a mount or of a state directory is as it was written."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys

from automation.errors import CallerError, VexError, WorldError
from automation.journal.chain import Head, parse_head
from automation.journal.database import reading
from automation.journal.journal import HEAD, NAME
from automation.journal.place import journal_of
from automation.journal.verification import verify


def main(argv: list[str] | None = None) -> int:
    """`vexfs verify`: 0 when the trail is as it was written, 1 when it is not, 2 when there is none."""
    parser = argparse.ArgumentParser(prog="vexfs verify", description="check that the audit trail was not changed")
    parser.add_argument("place", metavar="MOUNTPOINT", help="or a state directory, of a mount that is over")
    parser.add_argument("--head", metavar="FILE", help="a copy of journal.head taken earlier, to check against too")
    given = parser.parse_args(argv)
    try:
        directory = journal_of(given.place)
        with reading(os.path.join(directory, NAME)) as connection:
            # the file first: the trail that is read afterwards is not older
            published = _head(os.path.join(directory, HEAD))
            copies = [_head(given.head)] if given.head else []
            verdict = verify(connection, published, *copies)
    except (VexError, sqlite3.Error) as error:
        print(f"vexfs verify: {error}", file=sys.stderr)
        return 2 if isinstance(error, CallerError) else 1
    for problem in verdict.problems:
        print(problem)
    for seq in verdict.unchecked:
        print(f"record {seq}, whose head was copied, was pruned: the copy proves nothing any more, take a new one")
    if not verdict.problems:
        print(f"{verdict.records} records are as they were written; the newest is {verdict.newest.seq}")
        print(f"{verdict.newest.seq:020d} {verdict.newest.hash}")
    return 1 if verdict.problems else 0


def _head(path: str) -> Head:
    try:
        with open(path, "rb") as file:
            text = file.read(200)
    except OSError as error:
        raise WorldError(f"the published head {path} cannot be read: {error.strerror}") from error
    head = parse_head(text)
    if text and not head.seq:
        raise WorldError(f"the published head {path} was altered: it is no number and hash")
    return head
