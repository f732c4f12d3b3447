"""Runs that start runs: failure, cancellation, depth, rules; what a restart makes of both."""

from automation.targets import Automation
from tests.automation_rig import rig, virtual_wall

FAILS = """
steps:
  - {name: a, write: {path: made, content: x}, compensate: {delete: {path: made}}}
  - {name: b, delete: {path: no}}
"""


async def test_a_failure_of_the_child_is_the_steps(tmp_path):
    """With its reason, after it is undone; the class is `workflow`, and each attempt is another run."""
    text = "steps: [{name: a, trigger_workflow: {workflow: child}, retry: {attempts: 2, backoff: 1ms, on: workflow}}]"
    async with rig(tmp_path, w=text, child=FAILS) as r:
        run = await r.carried_out("w")
        assert run.status == "failed" and "failed and was undone" in run.error and "b: " in run.error
        assert [one.status for one in r.runs] == ["failed", "compensated", "compensated"] and r.files() == []


async def test_a_child_that_does_not_exist(tmp_path):
    """Is named, with what comes near; nothing is tried again."""
    text = "steps: [{name: a, trigger_workflow: {workflow: chidl}, retry: 3}]"
    async with rig(tmp_path, w=text, child=FAILS) as r:
        run = await r.carried_out("w")
        assert run.status == "failed" and "did you mean 'child'" in run.error and run.steps[0].attempts == 1


async def test_cancelling_goes_down(tmp_path, mock_clock):
    """The child is cancelled and undone before the parent is."""
    text = """
steps:
  - name: a
    write: {path: log, content: "parent "}
    compensate: {write: {path: log, content: "parent back", append: true}}
  - {name: b, trigger_workflow: {workflow: child}}
"""
    child = """
steps:
  - {name: a, write: {path: made, content: x}, compensate: {write: {path: log, content: "child back ", append: true}}}
  - {name: b, wait: 1h}
"""
    async with rig(tmp_path, wall=virtual_wall(), w=text, child=child) as r:
        await r.service.command("run w", 0)
        await r.until(lambda: len(r.runs) == 2 and r.runs[1].status == "waiting" and r.runs[0].status == "waiting")
        await r.service.command(f"cancel {r.runs[0].id}", 0)
        await r.until(lambda: r.runs[0].finished)
        assert [one.status for one in r.runs] == ["cancelled", "cancelled"]
        assert "parent is cancelled" in r.runs[1].error.replace("its parent " + r.runs[0].id, "parent")
        assert r.text("log").split() == ["parent", "child", "back", "parent", "back"]


async def test_a_chain_of_runs_ends(tmp_path):
    """A workflow that starts itself stops at the depth limit; all of them fail then."""
    async with rig(tmp_path, w="steps: [{name: a, trigger_workflow: {workflow: w}}]") as r:
        run = await r.carried_out("w")
        assert run.status == "failed" and "number 9 in a chain" in run.error and len(r.runs) == 8


async def test_a_rule_is_executed_by_name(tmp_path):
    """Its actions see the parameters; its conditions are not asked."""
    book = """
rules:
  - name: keep
    on: file.closed
    paths: [never/**]
    actions: [{write: {path: "{{ input.to }}", content: ok}}]
"""
    text = (
        "steps: [{name: a, execute_rule: {rule: keep, parameters: {to: kept}}}, {name: b, execute_rule: {rule: kep}}]"
    )
    async with rig(tmp_path, w=text, book=book) as r:
        run = await r.carried_out("w")
        assert r.text("kept").strip() == "ok" and run.status == "failed" and "did you mean 'keep'" in run.error


async def test_children_do_not_wait_for_their_parents_room(tmp_path):
    """A parent that waits for its child has given its room away."""
    text = "triggers: {path: in/*}\nsteps: [{trigger_workflow: {workflow: child}}]"
    one = Automation(max_concurrent_workflows=1)
    async with rig(tmp_path, one, w=text, child="steps: [{log: {message: x}}]") as r:
        for i in range(5):
            r.save(f"in/{i}")
        runs = await r.settled()
        assert len(runs) == 10 and {run.status for run in runs} == {"succeeded"}
