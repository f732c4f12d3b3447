"""Run a program in a directory; skip where it is not installed."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

PROGRAM_SECONDS = 120.0


def need(*programs: str) -> None:
    """Skip the test, with the reason, if a program is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def run(
    directory: Path,
    *command: str,
    fails: bool = False,
    data: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What the command prints; it must succeed, or fail if `fails`, within PROGRAM_SECONDS."""
    done = subprocess.run(
        command,
        cwd=directory,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        input=data,
        timeout=PROGRAM_SECONDS,
        check=False,
        env={**os.environ, "HOME": str(directory), "LC_ALL": "C", **(environment or {})},
    )
    assert (done.returncode != 0) == fails, (
        f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}"
    )
    return done.stdout + done.stderr
