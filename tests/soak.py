"""Long runs, which the suite has short forms of: `python -m tests.soak fsx`, `traced`, `killed`, or all by `make soak`.

fsx     random operations on a file against a model, a million in each mode, over several seeds
traced  a million reads and writes, each of which must be an event with its offset and length, in order
opens   a hundred thousand opens in ways that could leave a file registered with the kernel, which none does
killed  the mount gets SIGKILL in the midst of operations, once for each seed in each mode
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fsx import run
from tests.killing import kill_in_the_middle
from tests.modes import MODES, mounted_in
from tests.mounting import filesystem
from tests.opening import open_many
from tests.tracing import trace


def fsx(chosen: argparse.Namespace) -> None:
    """`operations` in each mode, shared among the seeds."""
    for mode in chosen.modes.split(","):
        with mountpoint(mode, chosen.filesystem) as point:
            for seed in range(1, chosen.seeds + 1):
                begin = time.monotonic()
                run(point, seed, chosen.operations // chosen.seeds)
                print(f"{mode}, seed {seed}: {time.monotonic() - begin:.0f} s", flush=True)
        print(f"{mode}: {chosen.operations:,} operations, the file was always what the model says", flush=True)


def traced(chosen: argparse.Namespace) -> None:
    """One process reads and writes, another reads the event stream and misses nothing."""
    with mountpoint("native", chosen.filesystem) as point:
        begin = time.monotonic()
        trace(point, chosen.operations)
        rate = chosen.operations / (time.monotonic() - begin)
    print(f"{chosen.operations:,} reads and writes, as many events, none lost, {rate:,.0f} a second")


def opens(chosen: argparse.Namespace) -> None:
    """A tenth of `operations`, native and mixed."""
    for mode in ("native", "mixed"):
        with mountpoint(mode, chosen.filesystem) as point:
            given = open_many(point, chosen.operations // 10)
        print(f"{mode}: {chosen.operations // 10:,} opens, {given:,.0f} registrations, none left", flush=True)


def killed(chosen: argparse.Namespace) -> None:
    """The backing directory holds what was completed, and the next mount works."""
    for mode in chosen.modes.split(","):
        for seed in range(1, chosen.seeds + 1):
            with filesystem(chosen.filesystem) as root:
                done = kill_in_the_middle(mode, root, seed)
            print(f"{mode}, seed {seed}: killed after {done} operations, all of which are there", flush=True)


@contextlib.contextmanager
def mountpoint(mode: str, kind: str) -> Iterator[Path]:
    """A mount without automations, of a new filesystem of this kind."""
    with filesystem(kind) as root:
        for name in ("none", "source"):
            (root / name).mkdir()
        with mounted_in(mode, root / "source", root / "none") as mount:
            yield mount.mountpoint


def main() -> None:
    """Run what was asked for; an AssertionError ends it with what was found instead."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", choices=[*_RUNS, "all"])
    parser.add_argument("--operations", type=int, default=1_000_000, help="fsx: in each mode (%(default)s)")
    parser.add_argument("--seeds", type=int, default=4, help="fsx, killed: how many (%(default)s)")
    parser.add_argument("--modes", default=",".join(MODES), help="fsx, killed: %(default)s")
    parser.add_argument("--filesystem", default="ext4", choices=("ext4", "tmpfs"), help="behind it (%(default)s)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state
        for name, soak in _RUNS.items():
            if chosen.what in (name, "all"):
                soak(chosen)


_RUNS = {"fsx": fsx, "traced": traced, "opens": opens, "killed": killed}


if __name__ == "__main__":
    sys.exit(main())
