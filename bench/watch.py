"""What the watch on the backing tree costs those who use the mount: `python -m bench.watch` (root).

Two mounts, one watched and one `--exclusive`, take turns at the same work, each on a tmpfs of its own, since a watch
sees its whole filesystem. The bar: creating and removing files must not get slower by more than 3 %. On a busy machine
compare the quickest turns: whatever disturbs only adds.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Final

from bench.live import live

ROUNDS: Final = 151
FILES: Final = 200  # of a turn, about 40 ms: neighbours then meet the same disturbances


def create_and_unlink(directory: str) -> None:
    """A file is created, closed and removed."""
    for number in range(FILES):
        path = f"{directory}/f{number % 50}"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
        os.unlink(path)


def write_natively(directory: str) -> None:
    """4 KiB writes that the kernel does for the client, each a notification with the client's number."""
    fd = os.open(f"{directory}/data", os.O_CREAT | os.O_WRONLY, 0o644)
    block = bytes(4096)
    for number in range(200 * FILES):
        os.pwrite(fd, block, number % 256 * 4096)
    os.close(fd)


def rename(directory: str) -> None:
    """One file is renamed to and fro."""
    os.close(os.open(f"{directory}/a", os.O_CREAT | os.O_WRONLY, 0o644))
    for _ in range(FILES):
        os.rename(f"{directory}/a", f"{directory}/b")
        os.rename(f"{directory}/b", f"{directory}/a")


WORK: Final[dict[str, Callable[[str], None]]] = {
    "create+unlink": create_and_unlink,
    "rename": rename,
    "native write": write_natively,
}


@contextlib.contextmanager
def mounted(source: str, *arguments: str) -> Iterator[tuple[str, int]]:
    """A mount without automations; its mountpoint and process."""
    with tempfile.TemporaryDirectory() as scratch:
        point, workflows = os.path.join(scratch, "mount"), os.path.join(scratch, "workflows")
        os.mkdir(point)
        os.mkdir(workflows)
        with live(source, point, "--workflows", workflows, *arguments) as process:
            yield point, process


def seconds(work: Callable[[str], None], directory: str) -> float:
    """How long one turn takes."""
    start = time.perf_counter()
    work(directory)
    return time.perf_counter() - start


@contextlib.contextmanager
def filesystem() -> Iterator[str]:
    """A tmpfs."""
    with tempfile.TemporaryDirectory() as root:
        subprocess.run(["mount", "-t", "tmpfs", "vexfs-bench", root], check=True)
        try:
            yield root
        finally:
            subprocess.run(["umount", root], check=True)


def cpu_seconds(process: int) -> float:
    """What the server has used."""
    with open(f"/proc/{process}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(
    work: Callable[[str], None], without: tuple[str, int], watched: tuple[str, int], label: str = "watched"
) -> str:
    """One line: the quickest turns, the median of the ratios, and the servers' processor time."""
    took: dict[tuple[str, int], list[float]] = {without: [], watched: []}
    used = {mount: -cpu_seconds(mount[1]) for mount in took}
    for turn in range(ROUNDS):
        for mount in (without, watched) if turn % 2 else (watched, without):
            with tempfile.TemporaryDirectory(dir=mount[0]) as directory:
                took[mount].append(seconds(work, directory))
    used = {mount: before + cpu_seconds(mount[1]) for mount, before in used.items()}
    quick = {mount: statistics.quantiles(times, n=10)[0] for mount, times in took.items()}
    ratio = statistics.median(a / b for a, b in zip(took[watched], took[without], strict=True))
    return (
        f"{quick[without] * 1e3:7.2f} ms a turn; {label} {quick[watched] / quick[without] - 1:+.1%} (quick turns), "
        f"{ratio - 1:+.1%} (all), server {used[without]:.2f} s → {used[watched]:.2f} s"
    )


def main() -> None:
    """Compare each kind of work."""
    with filesystem() as one, filesystem() as other, mounted(one, "--exclusive") as alone, mounted(other) as watched:
        for name, work in WORK.items():
            print(f"{name:<14} {compare(work, alone, watched)}", flush=True)


if __name__ == "__main__":
    main()
