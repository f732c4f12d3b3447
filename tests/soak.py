"""Long runs, which the suite has short forms of: `python -m tests.soak fsx`.

fsx     random operations on a file against a model, a million in each mode, over several seeds
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.fsx import run
from tests.modes import MODES, mounted_in
from tests.mounting import filesystem


def fsx(operations: int, seeds: int, modes: list[str], kind: str) -> None:
    """`operations` in each mode, shared among the seeds, on a filesystem of `kind`."""
    for mode in modes:
        with filesystem(kind) as root:
            for name in ("none", "source"):
                (root / name).mkdir()
            begin = time.monotonic()
            with mounted_in(mode, root / "source", root / "none") as mount:
                for seed in range(1, seeds + 1):
                    run(mount.mountpoint, seed, operations // seeds)
                    print(f"{kind} {mode} seed {seed}: {time.monotonic() - begin:.0f} s", flush=True)
        print(f"{kind} {mode}: {operations:,} operations, the file was always what the model says", flush=True)


def main() -> None:
    """Run what was asked for; an AssertionError ends it with the operations before the difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", choices=("fsx",))
    parser.add_argument("--operations", type=int, default=1_000_000, help="in each mode (%(default)s)")
    parser.add_argument("--seeds", type=int, default=4, help="how many (%(default)s)")
    parser.add_argument("--modes", default=",".join(MODES), help="%(default)s")
    parser.add_argument("--filesystem", default="ext4", choices=("ext4", "tmpfs"), help="behind it (%(default)s)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = str(Path(state))
        fsx(chosen.operations, chosen.seeds, chosen.modes.split(","), chosen.filesystem)


if __name__ == "__main__":
    sys.exit(main())
