"""A law: wherever a run is interrupted, resuming it performs each step once as the ledger has it, and ends the same."""

import copy
import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from automation.definitions import Workflow
from automation.runner import Plan
from tests.runner_rig import MortalLedger, Performer, life, outcome

names = st.integers(0, 10**9).map(lambda n: f"s{n}")


def act(name, path="x", **more):
    return {"name": name, "action": {"type": "read", "path": path}, **more}


@st.composite
def leaves(draw):
    """An action that works, fails or is undone; a wait; a variable."""
    name = draw(names)
    kind = draw(st.sampled_from(["act", "act", "undone", "undone", "bad", "flaky", "wait", "set", "when"]))
    undo = {"compensate": [{"type": "stat", "path": f"undo-{name}"}]}
    return {
        "act": act(name, "{{ string(vars.n) + 'x' }}"),
        "undone": act(name, **undo),
        "bad": act(name, "bad", on_error=draw(st.sampled_from(["fail", "continue", "continue", "continue"]))),
        "flaky": act(name, "flaky", retry={"attempts": 3, "backoff": 5}),
        "wait": {"name": name, "wait": draw(st.integers(0, 1000))},
        "set": {"name": name, "set": {"n": "{{ vars.n + 1 }}"}},
        "when": act(name, when=f"now() > timestamp('{draw(st.sampled_from(['2000', '2100']))}-01-01T00:00:00Z')"),
    }[kind]


def groups(inner):
    many = st.lists(inner, min_size=1, max_size=3)
    plain = st.lists(inner.filter(lambda s: "set" not in str(s)), min_size=1, max_size=3)
    return st.one_of(
        st.builds(lambda n, s: {"name": n, "sequence": s}, names, many),
        st.builds(lambda n, s, c: {"name": n, "loop": {"for_each": [1, 2], "do": s}, **c}, names, many, undos),
        st.builds(
            lambda n, s: {
                "name": n,
                "loop": {"for_each": [1, 2, 3], "max_concurrency": 2, "on_failure": "collect", "do": s},
            },
            names,
            plain,
        ),
        st.builds(lambda n, s: {"name": n, "parallel": {"steps": chained(s), "on_failure": "collect"}}, names, plain),
        st.builds(
            lambda n, a, b: {"name": n, "decision": {"if": "vars.n > 1", "then": a, "else": b}}, names, many, many
        ),
    )


undos = st.just({}) | st.just({"compensate": [{"type": "stat", "path": "undo-group"}]})


def chained(steps):
    """The last of parallel steps depends on the first."""
    if len(steps) > 2:
        steps = [*steps[:-1], {**steps[-1], "depends_on": [steps[0]["name"]]}]
    return steps


def renamed(steps, counter):
    """The same steps with unique names."""
    for step in steps:
        old = step["name"]
        step["name"] = f"n{next(counter)}"
        for other in steps:
            if "depends_on" in other:
                other["depends_on"] = [step["name"] if d == old else d for d in other["depends_on"]]
        body = [step.get("sequence"), *(step.get(k, {}).get(f) for k, f in WITHIN)]
        for inner in body:
            renamed(inner or [], counter)
    return steps


WITHIN = [("loop", "do"), ("parallel", "steps"), ("decision", "then"), ("decision", "else")]


@st.composite
def definitions(draw):
    steps = draw(st.lists(st.recursive(leaves(), groups, max_leaves=8), min_size=1, max_size=4))
    kinds = ["linear"] if "set" in str(steps) else ["linear", "parallel"]  # who sets first is up to the loop
    kind = draw(st.sampled_from(kinds))
    definition = {
        "name": "w",
        "workflow_type": kind,
        "on_failure": "collect",
        "vars": {"n": 0},
        "steps": renamed(copy.deepcopy(steps), itertools.count()),
        "compensation_steps": [act("last", "last")],
    }
    return definition


@given(definitions(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_run_ends_the_same_wherever_it_was_interrupted(definition, drawn):
    """Once or twice, before or after any write; what was interrupted is performed again, everything else once."""
    plan = Plan.of(Workflow.model_validate(definition))
    whole, performer = MortalLedger(), Performer()
    assert life(plan, whole, performer) is not None
    expected = outcome(whole)
    deaths = drawn.draw(st.lists(st.tuples(st.integers(1, whole.writes), st.booleans()), min_size=1, max_size=2))
    ledger, second = MortalLedger(), Performer()
    for dies_at, before in deaths:
        ledger.writes, ledger.dies_at, ledger.before = 0, dies_at, before
        if life(plan, ledger, second, later=10**9 * bool(ledger.runs)) is not None:
            break
    ledger.dies_at = None
    if not ledger.runs or next(iter(ledger.runs.values())).finished is None:
        assert life(plan, ledger, second, later=10**9) is not None
    data, ends = outcome(ledger)
    assert data == expected[0]
    assert ends == expected[1], [
        (place, ends.get(place), end) for place, end in expected[1].items() if end != ends.get(place)
    ]
    assert second.done.keys() == performer.done.keys()
    again = sum((second.done - performer.done).values())
    assert again <= len(deaths) * 16 and all(second.done[key] >= n for key, n in performer.done.items() if n == 1)


@given(definitions(), st.data())
@settings(max_examples=25, deadline=None)
def test_what_fails_fast_still_ends_once(definition, drawn):
    """Which of several branches got how far is up to chance, before an interruption as after it; but every run ends, no
    place ends twice, and what was completed and can be undone is undone when the run failed.
    """
    text = json.dumps(definition).replace("collect", "fail_fast")
    plan = Plan.of(Workflow.model_validate_json(text))
    ledger, performer = MortalLedger(), Performer()
    for dies_at, before in drawn.draw(st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=3)):
        ledger.writes, ledger.dies_at, ledger.before = 0, dies_at, before
        if life(plan, ledger, performer, later=10**9 * bool(ledger.runs)) is not None:
            break
    ledger.dies_at = None
    if not ledger.runs or next(iter(ledger.runs.values())).finished is None:
        assert life(plan, ledger, performer, later=10**9) is not None
    data, ends = outcome(ledger)
    undone = {place.removeprefix("undo/") for place in ends if place.startswith("undo/")} - {"!last"}
    undoable = {step.name for step in plan.every_step() if step.compensate}
    done = {place for place, (status, _) in ends.items() if status == "succeeded" and place.split(".")[-1] in undoable}
    assert done <= undone if data["status"] != "succeeded" else not undone
