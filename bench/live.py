"""A mount for a benchmark: `mount.py` in a process of its own, until the block ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench.commands import REPOSITORY

START_SECONDS: Final = 30


@contextmanager
def live(source: str, point: str, *arguments: str) -> Iterator[int]:
    """`source` is mounted on `point`, which answers; the process. SystemExit when it does not come up."""
    command = [sys.executable, f"{REPOSITORY}/mount.py", "--foreground", source, point, "--log-level", "error"]
    server = subprocess.Popen([*command, *arguments], stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not os.path.ismount(point) or not os.path.exists(f"{point}/.vexfs/README"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the mount did not come up")
            time.sleep(0.02)
        yield server.pid
    finally:
        server.terminate()
        server.wait(30)
