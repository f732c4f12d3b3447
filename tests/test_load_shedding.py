"""Under load things are given up in the stated order, counted exactly, and taken up again."""

import re
from pathlib import Path

import pytest

from automation.shedding import ORDER
from tests.automation_rig import rig

PAGE = (Path(__file__).parent.parent / "docs" / "load.md").read_text()
WORKFLOW = """
priority: {priority}
triggers: {{types: user.go}}
concurrency: parallel
steps: [{{write: {{path: {priority}, content: x, append: true}}}}]
"""
STREAM = "kind: analytics\nstreams: {s: {events: user.go, window: {count: 1}}}"
PRIORITIES = ("low", "normal", "high", "critical")


@pytest.mark.parametrize(
    ("state", "starts", "analysed"),
    [
        ("Normal", PRIORITIES, 3),
        ("Scaling", PRIORITIES, 3),
        ("HighLoad", PRIORITIES, 0),
        ("Degraded", ("normal", "high", "critical"), 0),
        ("Emergency", ("high", "critical"), 0),
        ("Maintenance", PRIORITIES, 3),
    ],
)
async def test_each_state_gives_up_what_is_stated(tmp_path, autojump_clock, state, starts, analysed):
    """Three events: who reacts, and the exact count of what did not; Normal takes everything up again."""
    definitions = {priority: WORKFLOW.format(priority=priority) for priority in PRIORITIES}
    async with rig(tmp_path, stream=STREAM, **definitions) as one:
        service = one.service
        service.state.set("system.state", state)
        for _ in range(3):
            one.publish("user.go")
        await one.settled()
        assert sorted(one.files()) == sorted(starts)
        assert service.analytics.node("stream.s").taken == analysed
        given_up = ORDER.get(state, ())
        assert service.shedding.counts == {what: 3 for what in given_up if what in ("analytics", *PRIORITIES)}
        assert service.shedding.given_up == given_up
        for priority in set(PRIORITIES) - set(starts):
            assert service.workflow_status(priority)["dropped"] == {"shed": 3}
        service.state.set("system.state", "Normal")
        one.publish("user.go")
        await one.settled()
        assert sorted(one.files()) == sorted(PRIORITIES) and service.shedding.given_up == ()


async def test_it_is_announced(tmp_path, autojump_clock):
    """When it begins and when it ends, with the state and what was counted."""
    async with rig(tmp_path, stream=STREAM) as one:
        one.service.state.set("system.state", "HighLoad")
        one.publish("user.go")
        one.service.state.set("system.state", "Normal")
        said = [event.attrs for event in one.events("system.overload") if event.attrs["reason"] == "shedding"]
        assert [(attrs["state"], attrs["given_up"]) for attrs in said] == [
            ("HighLoad", ["analytics", "provenance"]),
            ("Normal", []),
        ]
        assert said[1]["counts"]["analytics"] == 1


def test_the_documentation_has_the_order():
    """Each state that gives something up, and every part."""
    for state, parts in ORDER.items():
        assert re.search(rf"^\| `{state}` \|", PAGE, re.MULTILINE), state
        assert all(f"`{part}`" in PAGE for part in parts)
