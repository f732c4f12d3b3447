"""A run from its records: the tree of its steps with times, attempts, branches, results, and how it ended."""

from automation.journal.recall import history, recalled
from automation.runner.ledger import NewRun, Record, StoredRun

FIRING = {
    "workflow": "flow",
    "trigger": 0,
    "kind": "event",
    "key": "in/a",
    "of": [0],
    "count": 1,
    "input": {"n": 1},
    "events": [{"seq": 5, "ts": 1, "type": "file.closed", "path": "in/a", "comm": "cp"}],
}
KINDS = {"copy": ("copy", "copy"), "each": ("each", "loop"), "x": ("x", "write"), "choose": ("choose", "decision")}


def stored(*records):
    return StoredRun(NewRun("r", "flow", "d", "{}", FIRING, "in/a", 100), [Record(*r) for r in records])


def test_a_run_is_seen_as_it_was():
    """Steps stand within those that hold them; each has what its records say."""
    run = recalled(
        stored(
            ("started", "copy", 110, {"action": "copy", "attempt": 1}),
            ("timer", "copy", 111, {"wake": 115, "attempt": 2, "error": "attempt 1: no"}),
            ("started", "copy", 116, {"action": "copy", "attempt": 2}),
            ("ended", "copy", 118, {"status": "succeeded", "result": {"path": "p"}, "attempts": 2, "input": {"a": 1}}),
            ("decided", "choose!value", 119, {"value": True}),
            ("decided", "choose.then.each!items", 120, {"value": [1, 2]}),
            ("started", "choose.then.each[0].x", 121, {"action": "write", "attempt": 1}),
            ("ended", "choose.then.each[0].x", 122, {"status": "succeeded", "result": 1}),
            ("started", "choose.then.each[1].x", 123, {"action": "write", "attempt": 1}),
            ("ended", "choose.then.each[1].x", 124, {"status": "failed", "error": "full", "attempts": 1}),
            ("compensating", "", 125, {"status": "failed", "error": "x: full"}),
            ("ended", "undo/copy", 126, {"status": "compensated"}),
            ("finished", "", 130, {"status": "compensated", "error": "x: full", "left": []}),
        ),
        KINDS,
    )
    copy, choose, undo = run.steps
    assert (copy.status, copy.attempts, copy.started_ns, copy.ended_ns) == ("succeeded", 2, 110, 118)
    assert copy.result == {"path": "p"} and copy.input == {"a": 1} and not copy.error
    assert choose.branch == "then" and choose.action == "decision" and choose.started_ns == 119
    (each,) = choose.steps
    assert [(x.name, x.place, x.status) for x in each.steps] == [
        ("x", "choose.then.each[0].x", "succeeded"),
        ("x", "choose.then.each[1].x", "failed"),
    ]
    assert undo.name == "undo copy" and undo.status == "compensated"
    assert run.status == "compensated" and run.ended_ns == 130 and run.error == "x: full"
    assert run.input == {"n": 1} and run.firing.event.comm == "cp" and run.as_dict()["steps"][0]["name"] == "copy"


def test_a_run_that_goes_on_has_no_end():
    """What has no end runs; a condition that did not hold is a skipped step; mail is counted."""
    run = recalled(
        stored(
            ("decided", "copy!when", 110, {"value": False}),
            ("started", "x", 111, {"action": "write", "attempt": 1}),
            ("mail", "", 112, {"number": 1, "event": {}}),
        ),
        KINDS,
    )
    assert [step.status for step in run.steps] == ["skipped", "running"] and not run.finished and run.received == 1


def test_the_history_has_every_record():
    """As plain values, oldest first."""
    one = stored(("started", "x", 111, {"attempt": 1}), ("finished", "", 112, {"status": "failed"}))
    assert [(r["kind"], r["at"]) for r in history(one)] == [("started", 111), ("finished", 112)]
