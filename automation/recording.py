"""`vexfs record`: the events of a mount as lines for `vexfs replay`, until it is told to stop."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from typing import Final

from automation.errors import CallerError
from automation.terminal.mount import ControlFiles
from automation.terminal.place import control_of

BLOCK: Final = 1 << 18


def lines_of(fd: int, seconds: float | None) -> Iterator[bytes]:
    """Whole lines from the stream `fd` (non-blocking) until it ends, or for so long."""
    deadline = None if seconds is None else time.monotonic() + seconds
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    rest = b""
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return
        if not poll.poll(None if left is None else left * 1000):
            return
        try:
            block = os.read(fd, BLOCK)
        except BlockingIOError:
            continue
        except OSError:
            return  # the mount was killed
        if not block:
            return
        *whole, rest = (rest + block).split(b"\n")
        yield from whole


def _clock() -> bytes:
    """What time it is, as a line."""
    return json.dumps({"advance_to_ns": time.time_ns()}).encode() + b"\n"


def _state(mountpoint: str) -> bytes:
    """The shared state as it is, as a line; nothing where it cannot be read, or where there is none."""
    try:
        with open(os.path.join(control_of(mountpoint), "state"), "rb") as file:
            tree = json.load(file)
    except (OSError, ValueError):
        return b""
    tree.pop("system", None)  # VexFS's own
    return json.dumps({"state": tree}).encode() + b"\n" if tree else b""


def main(argv: list[str] | None = None) -> int:
    """0 when it was recorded until the mount ended, the time was over, or SIGINT or SIGTERM came, 1 when it cannot be,
    2 when the request is wrong.
    """
    parser = argparse.ArgumentParser(prog="vexfs record", description="write a mount's events down, for vexfs replay")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    parser.add_argument("file", nargs="?", metavar="FILE", help="where to (default: standard output); is overwritten")
    parser.add_argument("--types", metavar="TYPE,...", help="only these, and all below them (default: all)")
    parser.add_argument("--seconds", type=float, metavar="N", help="for so long (default: until interrupted)")
    arguments = parser.parse_args(argv)
    types = f"events.d/{arguments.types}" if arguments.types else "events"
    try:
        stream = os.path.join(ControlFiles(arguments.mountpoint).path, types)
        fd = os.open(stream, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except CallerError as error:
        print(f"vexfs record: {error}", file=sys.stderr)
        return 2
    except FileNotFoundError:
        folder = os.path.join(arguments.mountpoint, ".vexfs/events.d")
        print(f"vexfs record: --types {arguments.types}: no such types; {folder} lists them", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"vexfs record: cannot read {stream}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        out = sys.stdout.buffer if arguments.file in (None, "-") else open(arguments.file, "wb")  # noqa: SIM115 - closed below
    except OSError as error:
        os.close(fd)
        print(f"vexfs record: cannot write {arguments.file}: {error.strerror}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        out.write(_clock() + _state(arguments.mountpoint))
        out.flush()
        for line in lines_of(fd, arguments.seconds):
            out.write(line + b"\n")
            out.flush()
    except KeyboardInterrupt:
        pass  # the usual end
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    finally:
        with contextlib.suppress(OSError):  # of a mount that is gone
            os.close(fd)
    out.write(_clock())  # what was to be absent until now has been
    out.flush()
    if out is not sys.stdout.buffer:
        out.close()
    return 0
