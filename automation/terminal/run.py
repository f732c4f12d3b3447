"""`vexfs run`: start a run of a workflow by hand."""

from __future__ import annotations

import argparse
import json
import re
import sys

from automation.errors import CallerError, VexError
from automation.terminal.mount import ControlFiles
from automation.terminal.trace import follow


def main(argv: list[str] | None = None) -> int:
    """0 when it was started; with --wait 1 when it did not succeed. 2 when it could not be started."""
    parser = argparse.ArgumentParser(prog="vexfs run", description="start a run of a workflow by hand")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    parser.add_argument("workflow", metavar="NAME")
    parser.add_argument("input", metavar="JSON", nargs="?", default="", help='such as {"path": "in/a.csv"}')
    parser.add_argument("--dry-run", action="store_true", help="do nothing, and show what would be done")
    parser.add_argument("--wait", action="store_true", help="draw the run until it has ended")
    given = parser.parse_args(argv)
    try:
        files = ControlFiles(given.mountpoint)
        option = "--dry-run " if given.dry_run else ""
        answer = files.command(f"run {option}{given.workflow} {_one_line(given.input)}".rstrip())
        started = re.search(r"started the (?:dry )?run ([0-9a-f]+) ", answer)
        if started is None:
            print(answer)
            return 0
        if given.wait or given.dry_run:
            return 0 if follow(files, started[1])["status"] == "succeeded" else 1
    except VexError as error:
        print(f"vexfs run: {error}", file=sys.stderr)
        return 2 if isinstance(error, CallerError) else 1
    except KeyboardInterrupt:
        return 130
    print(started[1])
    return 0


def _one_line(text: str) -> str:
    """The input as a JSON object in one line."""
    if not text.strip():
        return ""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise CallerError(f"the input is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise CallerError('the input is a JSON object, such as {"size": 10}')
    return json.dumps(value)
