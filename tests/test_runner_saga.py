"""Undoing: in the reverse order of completion, what actions recorded themselves, with retries, whatever else fails."""

from tests.automation_rig import rig, virtual_wall
from tests.runner_rig import MortalLedger, Performer, life
from tests.test_runner_resume import act, plan

BACK = [{"type": "stat", "path": "back"}]


def undone(ledger):
    (stored,) = ledger.runs.values()
    return [r.place for r in stored.records if r.kind == "ended" and r.data["status"] == "compensated"]


def test_a_graph_is_undone_in_a_valid_order():
    """Each step before those that it depended on, however they overlapped."""
    one = plan(
        workflow_type="parallel",
        steps=[
            act("a", compensate=BACK),
            {"name": "long", "sequence": [{"wait": 100}, act("b", compensate=BACK)], "depends_on": "a"},
            {"name": "short", "sequence": [{"wait": 1}, act("c", compensate=BACK)], "depends_on": "a"},
            act("d", compensate=BACK, depends_on=["long", "short"]),
            act("e", "bad", depends_on="d"),
        ],
    )
    ledger = MortalLedger()
    assert life(one, ledger, Performer()).status == "compensated"
    assert undone(ledger) == ["undo/d", "undo/long.b", "undo/short.c", "undo/a"]


def test_a_group_is_undone_before_what_is_in_it():
    """Its own compensation is for the whole."""
    group = {"name": "g", "sequence": [act("a", compensate=BACK), act("b", compensate=BACK)], "compensate": BACK}
    ledger = MortalLedger()
    life(plan(steps=[group, act("c", "bad")]), ledger, Performer())
    assert undone(ledger) == ["undo/g", "undo/g.b", "undo/g.a"]


def test_an_undo_is_tried_again():
    """By its own retries; a condition may let it be."""
    undo = [
        {"action": {"type": "stat", "path": "flaky"}, "retry": {"attempts": 2, "backoff": 60}},
        {"action": {"type": "stat", "path": "x"}, "when": "run.error.contains('other')"},
    ]
    ledger, performer = MortalLedger(), Performer()
    run = life(plan(steps=[act("a", compensate=undo), act("c", "bad")]), ledger, performer)
    assert run.status == "compensated" and undone(ledger) == ["undo/a/0"] and run.left == []
    assert [n for key, n in performer.done.items() if "undo" in key] == [2]


def test_what_cannot_be_undone_is_left_and_the_rest_is_undone():
    """With its place, what was to be done, why not, and what its author says of it."""
    bad = [{"action": {"type": "stat", "path": "bad"}, "description": "by phone"}]
    ledger = MortalLedger()
    one = plan(steps=[act("a", compensate=BACK), act("b", compensate=bad), act("c", "bad")])
    run = life(one, ledger, Performer())
    assert run.status == "compensation_failed" and undone(ledger) == ["undo/a"]
    left = {"place": "b", "action": {"type": "stat", "path": "bad"}, "error": "bad fails", "description": "by phone"}
    assert run.left == [left]
    (stored,) = ledger.runs.values()
    assert stored.finished.data["left"] == run.left


async def test_actions_undo_themselves(tmp_path):
    """`auto`: files come back as they were, in whatever order they were changed."""
    text = """
steps:
  - {name: a, write: {path: old, content: new}, compensate: auto}
  - {name: b, move: {source: other, target: moved/other}, compensate: auto}
  - {name: c, delete: {path: gone}, compensate: auto}
  - {name: d, loop: {for_each: [1, 2], do: [{name: e, write: {path: "made/{{ item }}", content: x}, compensate: auto}]}}
  - {name: f, command: {argv: ["false"]}}
"""
    async with rig(tmp_path, w=text) as r:
        for name in ("old", "other", "gone"):
            r.save(name, name.encode())
        run = await r.carried_out("w")
        assert run.status == "compensated", run.as_dict()
        assert r.files() == ["gone", "old", "other"] and r.text("old") == "old"


async def test_a_cancelled_run_undoes_what_was_completed(tmp_path, mock_clock):
    """Of a parallel step, what had ended; a cancelled one that cannot be undone says so."""
    text = """
steps:
  - name: both
    parallel:
      - {name: a, write: {path: a, content: x}, compensate: {delete: {path: a}}}
      - {name: b, sequence: [{wait: 1h}, {write: {path: b, content: x}}]}
"""
    async with rig(
        tmp_path, wall=virtual_wall(), w=text, bad=text.replace("delete: {path: a}", "delete: {path: z}")
    ) as r:
        for name, status in (("w", "cancelled"), ("bad", "compensation_failed")):
            await r.service.command(f"run {name}", 0)
            await r.until(lambda: r.runs[-1].status == "waiting" and (r.root / "a").exists())
            await r.service.command(f"cancel {r.runs[-1].id}", 0)
            await r.until(lambda: r.runs[-1].finished)
            assert r.runs[-1].status == status
        assert r.files() == ["a"] and "cancelled by hand" in r.runs[-1].error
