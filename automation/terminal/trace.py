"""`vexfs trace`: one run, step by step, and as it goes on."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Final

from rich.live import Live

from automation.errors import CallerError, VexError
from automation.terminal.drawing import console, drawn
from automation.terminal.mount import ControlFiles

EVERY_SECONDS: Final = 0.5  # how old the progress of long work may be on the screen


def follow(files: ControlFiles, run: str) -> dict[str, Any]:
    """Draw a run until it has ended; the last trace. Where there is no terminal only the end is drawn."""
    screen = console()
    if not screen.is_terminal:
        *_, last = files.following(run, 60)
        screen.print(drawn(last))
        return last
    trace: dict[str, Any] = {}
    with Live(console=screen, auto_refresh=False, vertical_overflow="visible") as live:
        for trace in files.following(run, EVERY_SECONDS):
            live.update(drawn(trace), refresh=True)
    return trace


def main(argv: list[str] | None = None) -> int:
    """0, or 2 when there is no such run; with --follow 1 when it did not succeed."""
    parser = argparse.ArgumentParser(prog="vexfs trace", description="one run, step by step")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    parser.add_argument("run", metavar="ID", nargs="?", help="default: the newest run")
    parser.add_argument("-f", "--follow", action="store_true", help="until the run has ended")
    parser.add_argument("--json", action="store_true", help="the trace as it is in /.vexfs/runs/ID/trace")
    given = parser.parse_args(argv)
    try:
        files = ControlFiles(given.mountpoint)
        run = given.run or next(iter(files.run_ids()), None)
        if run is None:
            raise CallerError("there are no runs yet")
        if given.follow:
            return 0 if follow(files, run)["status"] == "succeeded" else 1
        trace = files.trace(run)
    except VexError as error:
        print(f"vexfs trace: {error}", file=sys.stderr)
        return 2 if isinstance(error, CallerError) else 1
    except KeyboardInterrupt:
        return 130
    if given.json:
        print(json.dumps(trace, indent=2))
    else:
        console().print(drawn(trace))
    return 0
