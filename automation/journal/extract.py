"""`vexfs journal`: the audit trail from outside, of a mount or of a state directory."""

from __future__ import annotations

import argparse
import datetime
import os
import pwd
import sqlite3
import sys
import time
from collections.abc import Iterator
from typing import Final

from automation.errors import CallerError, VexError
from automation.journal.cloudevents import batch, cloud_event, sources
from automation.journal.path_redaction import KEY, PathRedactor, read_key
from automation.journal.place import trail
from automation.journal.query import Question, line, records
from automation.quantities import parse_duration

FORMATS: Final = ("json", "cloudevents", "cloudevents-batch")


def main(argv: list[str] | None = None) -> int:
    """`vexfs journal`: records as lines of JSON or as CloudEvents, oldest first."""
    parser = argparse.ArgumentParser(prog="vexfs journal", description="the audit trail, oldest first")
    parser.add_argument("place", metavar="MOUNTPOINT", help="or a state directory, of a mount that is over")
    parser.add_argument("--since", type=_time, metavar="TIME", help="2026-11-26T14:00, or an age such as 2h")
    parser.add_argument("--until", type=_time, metavar="TIME")
    parser.add_argument("--path", metavar="PATH", help="in the mount; a directory stands for all below it")
    parser.add_argument("--user", type=_uid, metavar="UID", help="a number or a name")
    parser.add_argument("--run", metavar="ID")
    parser.add_argument("--kind", metavar="KIND", help="such as rule.denied, or workflow for all below it")
    parser.add_argument(
        "--limit", type=int, default=1000, metavar="N", help="only the newest N; 0 for all (default: 1000)"
    )
    parser.add_argument(
        "--format", choices=FORMATS, default="json", help="what is printed (default: json, a line each)"
    )
    parser.add_argument("--source", metavar="URI", help="the source of CloudEvents (default: vexfs:MOUNTPOINT)")
    given = parser.parse_args(argv)
    path = given.path.strip("/") if given.path else None
    try:
        with trail(given.place) as (connection, directory):
            key = read_key(os.path.join(directory, KEY), make=False) if path else None
            shown = tuple(PathRedactor({}, key).alternatives(path)) if path and key else ()
            question = Question(given.since, given.until, path, given.user, given.run, given.kind, given.limit, shown)
            for text in _lines(connection, question, given.format, given.source, directory):
                print(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `| head`: nobody reads on
    except (VexError, sqlite3.Error) as error:
        print(f"vexfs journal: {error}", file=sys.stderr)
        return 2 if isinstance(error, CallerError) else 1
    return 0


def _lines(
    connection: sqlite3.Connection, question: Question, shape: str, source: str | None, directory: str
) -> Iterator[str]:
    found = records(connection, question)
    if shape == "json":
        return (line(record, digest) for _, record, digest in found)
    at = sources(connection, os.path.abspath(directory))
    events = (cloud_event(record, digest, source or at(seq)) for seq, record, digest in found)
    return events if shape == "cloudevents" else batch(events)


def _uid(text: str) -> int:
    """A user, by number or name."""
    try:
        return int(text) if text.isdecimal() else pwd.getpwnam(text).pw_uid
    except KeyError:
        raise argparse.ArgumentTypeError(f"there is no user {text!r}") from None


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
