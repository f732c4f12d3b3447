"""What is kept of runs: firings as JSON and back, the ledger in memory."""

import json

from hypothesis import given
from hypothesis import strategies as st

from automation.events import Cause, SemanticEvent
from automation.patterns.outcomes import Match
from automation.runner.ledger import MemoryLedger, NewRun, Record
from automation.triggers.firing import Firing
from automation.triggers.firing_records import firing_record, read_firing

texts = st.text(st.characters(exclude_categories=())) | st.just("caf\udce9.txt")
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts, lambda inner: st.lists(inner, max_size=3)
)


@st.composite
def events(draw):
    cause = draw(st.none() | st.just(Cause("r1", "w", 3)))
    event = SemanticEvent(
        draw(st.sampled_from(["file.closed", "user.x", "file.renamed"])),
        draw(texts),
        draw(st.none() | texts),
        inode=draw(st.integers(0, 2**63)),
        size=draw(st.none() | st.integers(0, 2**60)),
        uid=draw(st.integers(0, 2**31)),
        comm=draw(texts),
        tenant=draw(texts),
        cause=cause,
        attrs=draw(st.dictionaries(texts, plain, max_size=3)),
    )
    event.seq = draw(st.integers(0, 2**40))
    return event


@given(st.lists(events(), min_size=1, max_size=4), st.dictionaries(texts, plain, max_size=3), st.booleans())
def test_a_firing_survives_as_json(found, given_input, matched):
    """Events with numbers and causes, names of any bytes; what is shared stays shared, the identity stays."""
    match = Match("p", "ab", {"a": found[:1], "b": found}, 0.5, "event", 7, {"mean": 1.5}) if matched else None
    firing = Firing("w", 2, "pattern", "k", tuple(found), 9, given_input, ({"type": "log"},), match)
    back = read_firing(json.loads(json.dumps(firing_record(firing))))
    assert [e.as_dict() for e in back.events] == [e.as_dict() for e in found]
    assert (back.key, back.input, back.actions, back.run_id(5)) == ("k", given_input, firing.actions, firing.run_id(5))
    if matched:
        assert back.match.steps["a"][0] is back.events[0] and back.match.values == {"mean": 1.5}


async def test_a_run_is_created_once():
    """The second of the same identity changes nothing; records come back in order."""
    ledger = MemoryLedger(history=1)
    new = NewRun("r", "w", "d", "{}", {}, "k", 1)
    assert await ledger.create(new, [Record("decided", "a", 1, {"value": 1})])
    assert not await ledger.create(new, [Record("decided", "a", 2, {"value": 2})])
    await ledger.append("r", [Record("finished", "", 3, {"status": "succeeded"})])
    stored = await ledger.load("r")
    assert [r.at for r in stored.records] == [1, 3] and stored.finished.data["status"] == "succeeded"
    await ledger.create(NewRun("s", "w", "d", "{}", {}, "k", 1), [Record("finished", "", 3, {})])
    assert await ledger.load("r") is None
