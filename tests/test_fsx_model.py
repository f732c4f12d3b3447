"""Random operations with mmap, holes and copies leave on the mount what they leave in memory, in every mode."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fsx import Fsx
from tests.mounting import mounted

OPERATIONS = int(os.environ.get("VEXFS_FSX_OPERATIONS", "1500"))
pytestmark = pytest.mark.mount


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


@pytest.fixture(params=["native", "traced", "mixed", "fallback"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Reader, str]]:
    (tmp_path / "none").mkdir()
    (tmp_path / "source").mkdir()
    environment = {"VEXFS_NO_NATIVE": "1"} if request.param == "fallback" else {}
    arguments = ["--workflows", str(tmp_path / "none")]
    with mounted(tmp_path / "source", (), arguments=arguments, environment=environment) as mount:
        reader = Reader(mount.mountpoint)
        if request.param == "traced":
            reader.toggle()
        yield mount.mountpoint, reader, request.param
        reader.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_the_file_is_what_the_model_says(directory: tuple[Path, Reader, str], seed: int) -> None:
    """Native, traced, changing from one to the other at every reopening, and without the native library."""
    place, reader, mode = directory
    fsx = Fsx(str(place / "file"), seed, reader.toggle if mode == "mixed" else lambda: None)
    fsx.run(OPERATIONS)
    assert (place / "file").read_bytes() == bytes(fsx.model)
