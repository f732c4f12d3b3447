"""Actions on the tree and on what VexFS itself holds."""

import logging
import os
from pathlib import Path

import pytest

from automation.errors import WorldError
from tests.effects import CAUSE, acting_in


@pytest.fixture
async def act(tmp_path: Path):
    async with acting_in(tmp_path) as one:
        yield one


async def test_file_actions_result_in_plain_values(act):
    """Each action on the tree answers with what docs/actions.md says."""
    top = act.tree.top
    assert await act("write", path="in/a.txt", content="äh\n") == {"path": "in/a.txt", "written": 4}
    assert await act("write", path="j.json", content={"a": [1]}) == {"path": "j.json", "written": 11}
    assert await act("read", path="in/a.txt") == {"text": "äh\n", "size": 4}
    assert await act("copy", **{"from": "in/a.txt", "to": "out/"}) == {"path": "out/a.txt", "size": 4}
    assert await act("move", source="out/a.txt", target="b/c.txt") == {"path": "b/c.txt"}
    assert await act("mkdir", path="/d/", mode="0700") == {"path": "d", "created": True}
    assert await act("set_mode", path="d", mode="755") == {"mode": "0755", "before": "0700"}
    assert await act("set_xattr", path="b/c.txt", name="tag", value=True) == {"name": "user.tag", "value": True}
    assert os.getxattr(top / "b/c.txt", "user.tag") == b"true"
    assert await act("set_xattr", path="b/c.txt", name="user.tag", value=None) == {"name": "user.tag", "value": None}
    assert (await act("checksum", path="b/c.txt", algorithm="sha1"))["size"] == 4
    assert (await act("stat", path="b/c.txt"))["mode"] == "0644"
    assert await act("stat", path="none") == {"exists": False}
    assert [e["name"] for e in (await act("list"))["entries"]] == ["b", "d", "in", "j.json", "out"]
    assert await act("delete", path="d", recursive=True) == {"deleted": 1}
    assert await act("delete", path="d", missing_ok=True) == {"deleted": 0}


async def test_every_event_carries_the_cause(act):
    """Whatever an action brings about can be told from what a person did: the loop guard's ground."""
    await act("write", path="a", content="x")
    await act("copy", source="a", target="b")
    await act("move", source="b", target="c")
    await act("set_mode", path="c", mode="600")
    await act("set_xattr", path="c", name="x", value="y")
    await act("delete", path="c")
    await act("mkdir", path="d")
    await act("emit_event", event="user.done", path="a", data={"n": 1})
    await act("update_state", path="k", value=1)
    events = act.tree.events()
    assert len(events) > 12
    assert {e.cause for e in events} == {CAUSE}


async def test_text_that_is_not_utf8_survives_reading_and_writing(act):
    """`read` and `write` together lose no byte."""
    data = bytes(range(256))
    (act.tree.top / "raw").write_bytes(data)
    text = (await act("read", path="raw"))["text"]
    await act("write", path="copy", content=text)
    assert (act.tree.top / "copy").read_bytes() == data


async def test_an_event_of_ones_own_is_published(act):
    """`emit_event` publishes the type, path and data as given."""
    assert await act("emit_event", event="user.report.ready", path="/r.pdf", data={"pages": 3}) == {
        "event": "user.report.ready"
    }
    (event,) = act.tree.events()
    assert (event.type, event.path, dict(event.attrs)) == ("user.report.ready", "r.pdf", {"pages": 3})


async def test_state_is_changed_and_the_old_value_returned(act):
    """`update_state` sets a dotted path; an impossible one is an error of the step, not a crash."""
    assert await act("update_state", path="a.b", value=[1]) == {"path": "a.b", "value": [1], "before": None}
    assert (await act("update_state", state_path="a.b", new_value=2))["before"] == [1]
    with pytest.raises(WorldError, match="cannot set the state"):
        await act("update_state", path="a.b.c", value=1)


async def test_a_log_line_stays_one_line(act, caplog):
    """What a file name or script puts into a message cannot forge log lines."""
    with caplog.at_level(logging.DEBUG, "automation.workflow"):
        await act("log", message="one\nERROR forged\x1b[2J", level="warning")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "sorter: one\\nERROR forged\\x1b[2J"
