"""fio: bytes in and out, sequential and random, in small and large pieces, by one and four jobs."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Final

from bench.commands import UnavailableError
from bench.samples import Cell, Sample
from bench.systems import Running

FILE_MIB: Final = 64
JOBS: Final = 4


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of fio job: buffered, as programs do it, or `direct`, which asks the server each time."""

    pattern: str
    block_kib: int
    jobs: int
    direct: bool = False

    @property
    def name(self) -> str:
        """What the load is."""
        return f"{self.pattern} {self.block_kib}k x{self.jobs}"


LOADS: Final = tuple(
    Load(pattern, block, jobs)
    for pattern in ("read", "randread", "write", "randwrite")
    for block in (4, 128)
    for jobs in (1, JOBS)
)

DIRECT: Final = tuple(
    Load(pattern, 4, jobs, direct=True) for pattern in ("read", "randread", "write", "randwrite") for jobs in (1, JOBS)
)


def prepare(source: str) -> None:
    """Lay the files down in the backing directory, all of them written, so that no run measures allocation."""
    os.mkdir(os.path.join(source, "fio"))
    block = os.urandom(1 << 20)
    for number in range(JOBS):
        with open(os.path.join(source, "fio", f"data.{number}"), "wb") as file:
            for _ in range(FILE_MIB):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())  # else whoever is measured first shares the disk with the writing back


def measure(load: Load, system: Running, seconds: float, group: str) -> list[Sample]:
    """MiB/s over all jobs of the load, for a cell of `group`; raises UnavailableError when fio or the system fails."""
    command = [
        "fio",
        "--name=load",
        f"--directory={os.path.join(system.directory, 'fio')}",
        "--filename_format=data.$jobnum",
        f"--size={FILE_MIB}M",
        f"--rw={load.pattern}",
        f"--bs={load.block_kib}k",
        f"--numjobs={load.jobs}",
        f"--direct={int(load.direct)}",
        "--time_based",
        f"--runtime={round(seconds * 1000)}ms",
        "--ioengine=psync",
        "--thread",
        "--group_reporting",
        "--fallocate=none",
        "--invalidate=0",  # a FUSE server's page cache would keep what the bare directory's has to forget
        "--disk_util=0",
        "--eta=never",
        "--output-format=json",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 4 * seconds, check=False)
    except subprocess.TimeoutExpired:
        raise UnavailableError("fio did not end") from None
    except FileNotFoundError:
        raise UnavailableError("fio is not installed") from None
    if done.returncode:
        raise UnavailableError(f"fio: {done.stderr.strip()[-300:]} {system.last_words()}")
    job = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]
    direction = "read" if "read" in load.pattern else "write"
    return [Sample(Cell(group, load.name, "MiB/s"), system.name, job[direction]["bw_bytes"] / 2**20)]
