"""The four ways in which a mount reads and writes files, each with somebody to listen who comes and goes."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fsx import Fsx
from tests.mounting import mounted

MODES = ("native", "traced", "mixed", "fallback")


class Reader:
    """Somebody who listens to every write while it is there, which makes new opens traced ones."""

    def __init__(self, mountpoint: Path) -> None:
        self._path = mountpoint / ".vexfs" / "events.d" / "file.written"
        self._process: subprocess.Popen[bytes] | None = None

    def toggle(self) -> None:
        """Come or go."""
        if self._process is None:
            self._process = subprocess.Popen(["cat", self._path], stdout=subprocess.DEVNULL)
        else:
            self.close()

    def close(self) -> None:
        """Go."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@dataclass(frozen=True, slots=True)
class Place:
    """A mount in one of the modes; `turn` is to be called at each reopening of a file."""

    mountpoint: Path
    turn: Callable[[], None]

    def fsx(self, seed: int, operations: int) -> None:
        """Random operations on a new file; raises AssertionError with the last of them where it is not the model's."""
        path = self.mountpoint / f"file-{seed}"
        fsx = Fsx(str(path), seed, self.turn)
        fsx.run(operations)
        assert path.read_bytes() == bytes(fsx.model)
        path.unlink()


@contextlib.contextmanager
def serving(mode: str, directory: Path) -> Iterator[Place]:
    """Mount a new directory in `directory`: native, traced, changing between the two, or without the native library."""
    for name in ("none", "source"):
        (directory / name).mkdir()
    environment = {"VEXFS_NO_NATIVE": "1"} if mode == "fallback" else {}
    arguments = ["--workflows", str(directory / "none"), *(["--io", "traced"] if mode == "traced" else [])]
    with mounted(directory / "source", (), arguments=arguments, environment=environment) as mount:
        reader = Reader(mount.mountpoint)
        yield Place(mount.mountpoint, reader.toggle if mode == "mixed" else lambda: None)
        reader.close()
