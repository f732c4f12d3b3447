"""kill -9 of the mount in the middle of operations: what was completed is there, and the next start works."""

from pathlib import Path

import pytest

from tests.killing import kill_in_the_middle
from tests.modes import MODES

pytestmark = pytest.mark.mount


@pytest.mark.parametrize("mode", MODES)
def test_backing_data_is_what_the_last_completed_call_left(tmp_path: Path, mode: str) -> None:
    """In each mode; `python -m tests.soak killed` does it many times."""
    assert kill_in_the_middle(mode, tmp_path, seed=1) > 20
