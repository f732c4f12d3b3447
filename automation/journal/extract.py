"""`vexfs journal`: the audit trail from outside, of a mount or of a state directory."""

from __future__ import annotations

import argparse
import datetime
import os
import sqlite3
import sys
import time

from automation.errors import CallerError, VexError
from automation.journal.database import reading
from automation.journal.journal import NAME
from automation.journal.place import journal_of
from automation.journal.query import Question, ask
from automation.quantities import parse_duration


def main(argv: list[str] | None = None) -> int:
    """`vexfs journal`: records as lines of JSON, oldest first."""
    parser = argparse.ArgumentParser(prog="vexfs journal", description="the audit trail as lines of JSON")
    parser.add_argument("place", metavar="MOUNTPOINT", help="or a state directory, of a mount that is over")
    parser.add_argument("--since", type=_time, metavar="TIME", help="2026-11-26T14:00, or an age such as 2h")
    parser.add_argument("--until", type=_time, metavar="TIME")
    parser.add_argument("--path", metavar="PATH", help="in the mount; a directory stands for all below it")
    parser.add_argument("--user", type=int, metavar="UID")
    parser.add_argument("--run", metavar="ID")
    parser.add_argument("--kind", metavar="KIND", help="such as rule.denied, or workflow for all below it")
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="only the newest N (default: 1000)")
    given = parser.parse_args(argv)
    path = given.path.strip("/") if given.path else None
    question = Question(given.since, given.until, path, given.user, given.run, given.kind, given.limit)
    try:
        with reading(os.path.join(journal_of(given.place), NAME)) as connection:
            lines = ask(connection, question)
    except (VexError, sqlite3.Error) as error:
        print(f"vexfs journal: {error}", file=sys.stderr)
        return 2 if isinstance(error, CallerError) else 1
    for line in lines:
        print(line)
    return 0


def _time(text: str) -> int:
    """A time, local unless it says otherwise, or an age."""
    try:
        return int(datetime.datetime.fromisoformat(text).timestamp() * 1e9)
    except ValueError:
        pass
    try:
        return time.time_ns() - int(parse_duration(text) * 1e9)
    except ValueError:
        reason = f"{text!r} is no time; write for instance 2026-11-26T14:00 or 2h, which is two hours ago"
        raise argparse.ArgumentTypeError(reason) from None
