"""Random operations with mmap, holes and copies leave on the mount what they leave in memory, in every mode."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fsx_modes import MODES, Place, serving

OPERATIONS = int(os.environ.get("VEXFS_FSX_OPERATIONS", "1500"))  # `python -m tests.soak fsx` does a million
pytestmark = pytest.mark.mount


@pytest.fixture(params=MODES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with serving(request.param, tmp_path) as place:
        yield place


def test_the_file_is_what_the_model_says(place: Place) -> None:
    """Native, traced, changing from one to the other at every reopening, and without the native library."""
    for seed in (1, 2):
        place.fsx(seed, OPERATIONS)
