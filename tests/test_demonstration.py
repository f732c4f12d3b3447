"""`make demo`: every scenario is played and passes; what it prints is a table."""

import re

import pytest

from bench.demonstration import __main__ as demonstration
from bench.demonstration.scenarios import SCENARIOS


@pytest.mark.mount
def test_the_eight_demonstrations_pass(capfd):
    """Each says what was seen."""
    status = demonstration.main([])
    shown = capfd.readouterr().out
    assert status == 0, shown
    assert len(SCENARIOS) == 8
    for name in SCENARIOS:
        assert re.search(rf"^{name} +passed +\d+\.\d  \S", shown, re.MULTILINE), shown
