"""`vexfs runs`: the newest runs of a mount."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from typing import Final

from automation.errors import CallerError, VexError
from automation.terminal.drawing import console, listing
from automation.terminal.mount import FINISHED, ControlFiles

UNFINISHED: Final = ("pending", "running", "waiting", "suspended", "compensating")


def main(argv: list[str] | None = None) -> int:
    """0, or 2 when there is no such mount, workflow or status."""
    parser = argparse.ArgumentParser(prog="vexfs runs", description="the newest runs of a mount, newest first")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    parser.add_argument("--workflow", metavar="NAME", help="only of this workflow")
    parser.add_argument("--status", metavar="STATUS", help="only with this status: running, failed, succeeded, ...")
    parser.add_argument("-n", "--limit", type=int, default=20, metavar="N", help="at most so many (default: 20)")
    parser.add_argument("--json", action="store_true", help="their traces, one JSON object a line")
    given = parser.parse_args(argv)
    try:
        if given.status not in (None, *FINISHED, *UNFINISHED):
            raise CallerError(f"--status {given.status}: a run is one of {', '.join((*UNFINISHED, *sorted(FINISHED)))}")
        files = ControlFiles(given.mountpoint)
        ids = files.runs_of(given.workflow) if given.workflow else files.run_ids()
        wanted = (t for t in files.traces(iter(ids)) if given.status in (None, t["status"]))
        found = list(itertools.islice(wanted, given.limit))
    except VexError as error:
        print(f"vexfs runs: {error}", file=sys.stderr)
        return 2 if isinstance(error, CallerError) else 1
    if given.json:
        for trace in found:
            print(json.dumps(trace))
    elif found:
        console().print(listing(found))
    else:
        print("no runs")
    return 0
