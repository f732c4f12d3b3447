"""Random operations with mmap, holes and copies leave on the mount what they leave in memory, in every mode."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fsx import run
from tests.modes import MODES, mounted_in

OPERATIONS = int(os.environ.get("VEXFS_FSX_OPERATIONS", "1500"))  # `python -m tests.soak fsx` does a million
pytestmark = pytest.mark.mount


@pytest.fixture(params=MODES)
def mountpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    for name in ("none", "source"):
        (tmp_path / name).mkdir()
    with mounted_in(request.param, tmp_path / "source", tmp_path / "none", ()) as mount:
        yield mount.mountpoint


def test_the_file_is_what_the_model_says(mountpoint: Path) -> None:
    """Native, traced, changing from one to the other, and without the native library."""
    for seed in (1, 2):
        run(mountpoint, seed, OPERATIONS)
