"""What becomes of a run that a restart interrupted, by what it was doing."""

import pytest

from automation.definitions import Workflow
from automation.events import SemanticEvent
from automation.runner import Plan
from automation.runner.history import History
from automation.runner.ledger import MemoryLedger, NewRun, Record, StoredRun
from automation.runner.mailbox import Mailbox
from automation.triggers.firing import Firing
from tests.runner_rig import MortalLedger, Performer, life, outcome


def plan(**definition):
    return Plan.of(Workflow.model_validate({"name": "w", **definition}))


def act(name, path="x", **more):
    return {"name": name, "action": {"type": "read", "path": path}, **more}


def interrupted(one, dies_at, *, before=False, later=0.0, during=lambda bus, runner: None):
    """The ledger, the performer and the run after an interruption at a write and a second life."""
    ledger, performer = MortalLedger(dies_at, before), Performer()
    assert life(one, ledger, performer, during=during) is None
    ledger.dies_at = None
    return ledger, performer, life(one, ledger, performer, later=later, during=during)


def count(performer):
    return {key.partition(":")[2]: n for key, n in performer.done.items()}


def test_an_interrupted_step_is_performed_again():
    """With the same key; those before it are not."""
    one = plan(steps=[act("a"), act("b"), act("c")])
    _, performer, run = interrupted(one, 3, before=True)  # a ended, c's start is lost, b's effect was made
    assert run.status == "succeeded" and count(performer) == {"a": 1, "b": 2, "c": 1}


def test_a_step_at_most_once_is_not():
    """It fails as interrupted, and what was done is undone."""
    undo = [{"type": "stat", "path": "back"}]
    one = plan(steps=[act("a", compensate=undo), act("b", at_most_once=True), act("c")])
    _, performer, run = interrupted(one, 3, before=True)
    assert run.status == "compensated" and "at most once" in run.error
    assert count(performer) == {"a": 1, "b": 1, "undo/a": 1}


def test_policy_compensate_undoes_rather_than_resumes():
    """Every completed step, found from the records."""
    undo = [{"type": "stat", "path": "back"}]
    one = plan(
        on_restart="compensate",
        steps=[
            act("a", compensate=undo),
            {"name": "each", "loop": {"for_each": [1, 2], "do": [act("b", compensate=undo)]}},
            act("c", compensate=undo),
        ],
    )
    ledger, performer, run = interrupted(one, 4, before=True)  # c's start is lost
    assert run.status == "compensated" and "not resumed" in run.error
    assert count(performer) == {"a": 1, "each[0].b": 1, "each[1].b": 1, "undo/a": 1, "undo/each[0].b": 1}
    undone = [record.place for record in next(iter(ledger.runs.values())).records if record.kind == "ended"][-2:]
    assert undone == ["undo/each[0].b", "undo/a"]


@pytest.mark.parametrize("later", [10, 100_000])
def test_timers_go_on_by_the_wall_clock(later):
    """A wait ends when it would have, at once when that is over."""
    one = plan(steps=[act("a"), {"name": "nap", "wait": "1h"}, act("b")])
    ledger, performer, run = interrupted(one, 2, later=later)
    assert count(performer) == {"a": 1, "b": 1} and run.status == "succeeded"
    records = next(iter(ledger.runs.values())).records
    (wake,) = [record.data["wake"] for record in records if record.kind == "timer"]
    assert wake == records[0].at + 3600 * 10**9 and run.ended_ns >= wake


def test_a_run_ends_on_its_own_version():
    """Whatever its workflow says now."""
    old = plan(steps=[act("a"), act("b")])
    ledger, performer = MortalLedger(1), Performer()
    assert life(old, ledger, performer) is None
    ledger.dies_at = None
    new = plan(steps=[act("a"), act("c")])
    run = life(new, ledger, performer)
    assert run.status == "succeeded" and set(count(performer)) == {"a", "b"}


def test_compensation_goes_on():
    """What is undone is not undone again."""
    undo = [{"type": "stat", "path": "back"}]
    one = plan(steps=[act("a", compensate=undo), act("b", compensate=undo), act("c", "bad")])
    whole = MortalLedger()
    life(one, whole, Performer())
    for dies_at in range(1, whole.writes):
        for before in (False, True):
            ledger, performer = MortalLedger(dies_at, before), Performer()
            assert life(one, ledger, performer) is None
            ledger.dies_at = None
            run = life(one, ledger, performer)
            assert run.status == "compensated" and outcome(ledger) == outcome(whole), dies_at
            assert sum(performer.done.values()) <= 6


MACHINE = {
    "workflow_type": "state_machine",
    "steps": [
        act("a", transitions=[{"to": "wait"}]),
        {
            "name": "wait",
            "transitions": [{"to": "b", "on": {"types": ["user.go"], "where": "event.path == 'x'"}}],
        },
        act("b", "{{ event.path }}", final="succeeded"),
    ],
}
EVENTS = {
    "workflow_type": "event_driven",
    "triggers": [{"types": ["user.run"]}],
    "lifetime": {"count": 3, "idle": "1d"},
    "steps": [act("a", "{{ event.path + 'x' }}")],
}


def go(bus, runner):
    bus.publish(SemanticEvent("user.go", "y"))
    bus.publish(SemanticEvent("user.go", "x"))
    runner.deliver(Firing("w", 0, "event", "k", (SemanticEvent("user.run", "p"),)))


@pytest.mark.parametrize("definition", [MACHINE, EVENTS], ids=["machine", "events"])
def test_states_and_received_events_are_remembered(definition):
    """Wherever a machine or an event-driven run is interrupted, it ends as if it had not been."""
    one = plan(**definition)
    whole = MortalLedger()
    during = go
    run = life(one, whole, Performer(), during=during)
    assert run.status == "succeeded" and run.received in (0, 3)
    expected = outcome(whole)
    for dies_at in range(1, whole.writes):
        for before in (False, True):
            ledger, performer = MortalLedger(dies_at, before), Performer()
            run = life(one, ledger, performer, during=during)
            if run is None:  # mail that came together may have saved it a write
                ledger.dies_at = None
                run = life(one, ledger, performer, during=during)
            assert run.status == "succeeded"
            assert outcome(ledger) == expected, (dies_at, before)


def test_an_event_that_several_transitions_hear_comes_once():
    """And the numbers of events go on over restarts, whatever was taken out."""
    ledger = MemoryLedger()
    new = NewRun("r", "w", "d", "{}", {}, "k", 1)
    history = History(ledger, new, lambda: 1)
    box, event = Mailbox(history, "", lambda: None), SemanticEvent("user.x")
    event.seq = 7
    box.put(event)
    assert box.take(lambda n, e: True) == (0, event)
    box.put(event)
    assert box.take(lambda n, e: True) is None
    taken = {"value": {"box": "", "number": 0}}
    stored = StoredRun(new, [*history.pending, Record("decided", "a!mail", 1, taken)])
    again = Mailbox(History(ledger, new, lambda: 1, stored), "", lambda: None)
    assert again.take(lambda n, e: True) is None and again.seen == 1


def test_a_long_run_shows_its_last_steps():
    """A thousand of them; how many there were before is counted."""
    loop = [
        {
            "name": "a",
            "set": {"n": "{{ vars.n + 1 }}"},
            "transitions": [{"to": "b", "when": "vars.n > 1500"}, {"to": "a"}],
        }
    ]
    one = plan(
        workflow_type="state_machine",
        max_transitions=2000,
        vars={"n": 0},
        steps=[*loop, {"name": "b", "final": "succeeded"}],
    )
    run = life(one, MortalLedger(), Performer())
    assert run.status == "succeeded" and len(run.steps) == 1000 and run.omitted == 502 and run.steps[-1].name == "b"
