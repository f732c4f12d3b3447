"""kill -9 at random moments under load: no run lost, none doubled, none stuck."""

import os
import random
import subprocess
import sys

from tests.mounting import REPOSITORY

KILLS = int(os.environ.get("VEXFS_KILLS", "12"))


def test_runs_survive_being_killed():
    """Every effect agrees with the journal after kills at random moments (VEXFS_KILLS for more of them)."""
    seed = str(random.randrange(1 << 32))
    command = [sys.executable, "-m", "bench.crash", "--kills", str(KILLS), "--seed", seed]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60 + 5 * KILLS, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"
    assert "all runs came out right" in done.stdout
