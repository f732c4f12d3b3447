"""kill -9 at random moments under load: no run lost, none doubled, none stuck."""

import os
import random
import subprocess
import sys

import pytest

from tests.mounting import REPOSITORY

KILLS = int(os.environ.get("VEXFS_KILLS", "12"))
MOUNTED_KILLS = int(os.environ.get("VEXFS_KILLS", "3"))


def test_runs_survive_being_killed():
    """Every effect agrees with the journal after kills at random moments (VEXFS_KILLS for more of them)."""
    _torture(KILLS)


@pytest.mark.mount
def test_runs_survive_the_kills_of_a_mount():
    """The same with mount.py, whose events are those of renames on the mount."""
    _torture(MOUNTED_KILLS, "--mounted")


def _torture(kills: int, *more: str) -> None:
    command = [sys.executable, "-m", "bench.crash", "--kills", str(kills), *more]
    command += ["--seed", str(random.randrange(1 << 32))]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=180 + 10 * kills, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"
    assert "all runs came out right" in done.stdout
