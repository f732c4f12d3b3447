"""Operations on names and attributes a second, by clients in C (metadata.c), so that their own cost is nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from typing import Final

from bench.commands import UnavailableError, compile_c
from bench.samples import Cell, Sample
from bench.systems import Running

CLIENTS: Final = (1, 4)
FILES: Final = 200  # of each client in a repetition, which is over before the kernel forgets names (1 s)
LIMIT_SECONDS: Final = 120


def build(scratch: str) -> str:
    """Compile the client; returns its path. Raises UnavailableError without a C compiler."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "metadata.c")
    return compile_c(source, os.path.join(scratch, "metadata"), ["-Wall", "-Wextra", "-pthread"])


def measure(client: str, system: Running, clients: int, seconds: float) -> list[Sample]:
    """Operations a second of each phase; raises UnavailableError when the system fails."""
    inside = tempfile.mkdtemp(prefix="metadata-", dir=system.source)  # a name that no mount remembers from before
    command = [client, os.path.join(system.directory, os.path.basename(inside)), inside]
    try:
        done = subprocess.run(
            [*command, str(clients), str(FILES), str(seconds)],
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"the clients got no answer within {LIMIT_SECONDS} s") from None
    finally:
        # Through the mount, so that the server lets go of it; else passthrough_ll runs out of descriptors.
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(["rm", "-rf", command[1]], capture_output=True, timeout=LIMIT_SECONDS, check=False)
        shutil.rmtree(inside, ignore_errors=True)
    if done.returncode:
        raise UnavailableError(f"{done.stderr.strip()} {system.last_words()}")
    return [_sample(line, system.name, clients) for line in done.stdout.splitlines()]


def _sample(line: str, system: str, clients: int) -> Sample:
    phase, operations, nanoseconds = line.split()
    cell = Cell("metadata", f"{phase} x{clients}", "op/s")
    return Sample(cell, system, int(operations) * 1e9 / int(nanoseconds))
