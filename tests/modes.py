"""The four ways in which a mount reads and writes files: a mount in each of them.

native    the kernel does it, nobody listens
traced    each read and write comes through us
mixed     somebody listens for some milliseconds and then not, so that files are open in both ways at once
fallback  without the native library
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.mounting import Mount, mounted

MODES = ("native", "traced", "mixed", "fallback")
_COME_AND_GO = """
import os, random, sys, time
while True:
    try:
        fd = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
        time.sleep(random.uniform(0.001, 0.02))
        os.close(fd)
    except OSError as error:  # the mount was killed, and the next one clears it away: ECONNABORTED, ENOTCONN, ENOENT
        sys.exit(f"{error}" if error.errno not in (103, 107, 2) else 0)
    time.sleep(random.uniform(0.001, 0.02))
"""


@contextlib.contextmanager
def mounted_in(
    mode: str,
    source: Path,
    workflows: Path,
    options: Sequence[str] = ("allow_other",),
    *,
    mountpoint: Path | None = None,
    exit_code: int | None = 0,
) -> Iterator[Mount]:
    """`mounted`, with the definitions in `workflows`, in a mode."""
    arguments = ["--workflows", str(workflows), *(["--io", "traced"] if mode == "traced" else [])]
    environment = {"VEXFS_NO_NATIVE": "1"} if mode == "fallback" else {}
    more = {"arguments": arguments, "environment": environment, "mountpoint": mountpoint, "exit_code": exit_code}
    with mounted(source, options, **more) as mount, contextlib.ExitStack() as stack:
        if mode == "mixed":
            stack.enter_context(_coming_and_going(mount.mountpoint))
        yield mount


@contextlib.contextmanager
def _coming_and_going(mountpoint: Path) -> Iterator[None]:
    events = mountpoint / ".vexfs" / "events.d" / "file.read,file.written"
    process = subprocess.Popen([sys.executable, "-c", _COME_AND_GO, str(events)])
    try:
        yield
    finally:
        ended = process.poll()
        process.kill()
        process.wait()
    assert not ended, "whoever listens now and then did not get in"
