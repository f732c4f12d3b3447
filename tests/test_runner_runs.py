"""Runs: steps in order, conditions, limits, retries, compensation, cancellation, and what is told of them."""

import random

import pytest
import trio

from automation.errors import CallerError
from automation.runner.retry import delay_before
from automation.step_forms import Retry
from tests.automation_rig import rig


def statuses(run):
    return [(step.name, step.status) for step in run.steps]


async def test_steps_see_the_event_and_earlier_results(tmp_path):
    """Templates reach event, steps, vars, state and run; the last result is the output."""
    text = """
vars: {greeting: hello}
triggers: {path: in/*}
steps:
  - {name: sum, checksum: {path: "{{ event.target }}"}}
  - {name: set, update_state: {path: last, value: "{{ steps.sum.size }}"}}
  - name: out
    write:
      path: "out/{{ event.stem }}"
      content: "{{ vars.greeting }} {{ steps.sum.digest.substring(0, 6) }} {{ state.last }} {{ run.workflow }}"
"""
    async with rig(tmp_path, w=text) as r:
        r.save("in/a.txt", b"hello")
        (run,) = await r.settled()
        assert run.status == "succeeded" and r.text("out/a") == "hello 2cf24d 5 w"
        assert run.output["path"] == "out/a" and run.as_dict()["steps"][0]["result"]["size"] == 5


async def test_a_condition_skips_a_step(tmp_path):
    """A skipped step has the result null and the run goes on."""
    text = """
triggers: {path: in/*}
steps:
  - {name: big, when: event.size > 3, log: {message: big}}
  - {name: after, when: steps.big == null, log: {message: small}}
"""
    async with rig(tmp_path, w=text) as r:
        r.save("in/a", b"12345")
        r.save("in/b", b"1")
        first, second = await r.settled()
        assert statuses(first) == [("big", "succeeded"), ("after", "skipped")]
        assert statuses(second) == [("big", "skipped"), ("after", "succeeded")]


async def test_a_failing_step_ends_the_run_and_is_told(tmp_path):
    """Later steps stay pending; the events say what failed and who caused it."""
    text = """
triggers: {path: in/*}
steps:
  - {name: gone, delete: {path: nothing}}
  - {name: never, log: {message: x}}
"""
    async with rig(tmp_path, w=text) as r:
        r.save("in/a")
        (run,) = await r.settled()
        assert run.status == "failed" and "nothing" in run.error and run.error.startswith("gone: ")
        assert statuses(run) == [("gone", "failed"), ("never", "pending")]
        told = r.events("workflow.")
        assert [e.type for e in told] == ["workflow.started", "workflow.step", "workflow.failed"]
        assert {(e.cause.run, e.cause.workflow, e.cause.depth) for e in told} == {(run.id, "w", 1)}
        assert told[-1].attrs["error"] == run.error and told[-1].path == "in/a"


async def test_on_error_continue_goes_on_with_the_error_as_result(tmp_path):
    """Later steps can read it."""
    text = """
triggers: {path: in/*}
steps:
  - {name: gone, delete: {path: nothing}, on_error: continue}
  - {name: note, log: {message: "{{ steps.gone.error }}"}}
"""
    async with rig(tmp_path, w=text) as r:
        r.save("in/a")
        (run,) = await r.settled()
        assert run.status == "succeeded" and "nothing" in run.output["message"]


async def test_a_step_is_tried_again(tmp_path):
    """As often as `attempts` says, waiting longer each time; the retries are counted."""
    text = """
triggers: {type: manual}
steps:
  - name: flaky
    retry: {attempts: 4, backoff: 20ms, jitter: 0}
    command: {argv: [sh, -c, "echo x >> tries; test $(wc -l < tries) -ge 3"]}
"""
    async with rig(tmp_path, w=text) as r:
        began = trio.current_time()
        await r.service.command("run w", 0)
        (run,) = await r.settled()
        assert run.status == "succeeded" and run.steps[0].attempts == 3 and run.steps[0].error == ""
        assert trio.current_time() - began >= 0.06


async def test_retries_end(tmp_path):
    """The last error is the step's."""
    text = "steps: [{name: a, retry: {attempts: 3, backoff: 1ms}, delete: {path: nothing}}]"
    async with rig(tmp_path, w=text) as r:
        await r.service.command("run w", 0)
        (run,) = await r.settled()
        assert run.status == "failed" and run.steps[0].attempts == 3


def test_waits_double_up_to_their_bound():
    """The jitter spreads them by its share."""
    retry = Retry(attempts=9, backoff=1, max_delay=10, jitter=0)
    dice = random.Random(1)
    assert [delay_before(retry, n, dice) for n in range(2, 8)] == [1, 2, 4, 8, 10, 10]
    spread = Retry(attempts=9, backoff=1, jitter=0.5)
    delays = {delay_before(spread, 2, dice) for _ in range(100)}
    assert len(delays) > 50 and all(0.5 <= d <= 1.5 for d in delays)
    assert delay_before(Retry(attempts=1000, factor=100, jitter=0), 1000, dice) == 60


async def test_a_step_that_takes_too_long_fails(tmp_path):
    """A command is killed."""
    text = "steps: [{name: slow, timeout: 100ms, command: {argv: [sleep, '100']}}]"
    async with rig(tmp_path, w=text) as r:
        await r.service.command("run w", 0)
        (run,) = await r.settled()
        assert run.status == "failed" and "longer than 0.1 s" in run.error


async def test_a_workflow_that_takes_too_long_fails(tmp_path):
    """Its own limit is over all steps and waits."""
    text = "timeout: 100ms\nsteps: [{name: slow, command: {argv: [sleep, '100']}}]"
    async with rig(tmp_path, w=text) as r:
        await r.service.command("run w", 0)
        (run,) = await r.settled()
        assert run.status == "failed" and "workflow took longer" in run.error and run.steps[0].status == "failed"


UNDO = """
steps:
  - name: first
    write: {path: a, content: x}
    compensate: {type: delete, path: a}
  - name: second
    copy: {source: a, target: b}
    compensate:
      - {type: write, path: log, content: "second ", append: true}
      - {type: delete, path: "{{ steps.second.path }}"}
  - name: third
    command: {argv: [sh, -c, "%s"]}
compensation_steps:
  - {name: note, write: {path: log, content: "after {{ run.error }}", append: true}}
"""


async def test_a_failed_run_is_undone_last_step_first(tmp_path):
    """The steps' own compensation, then the workflow's; the run is compensated."""
    async with rig(tmp_path, w=UNDO % "exit 3") as r:
        await r.service.command("run w", 0)
        (run,) = await r.settled()
        assert run.status == "compensated" and r.files() == ["log"]
        assert r.text("log").startswith("second after third: ")
        names = [name for name, status in statuses(run) if status == "compensated"]
        assert names == ["undo second", "undo second", "undo first", "note"]
        assert r.events("workflow.")[-1].type == "workflow.compensated"


async def test_a_compensation_that_fails_is_loud(tmp_path):
    """The others are tried all the same; status, error and event say what is left to do by hand."""
    async with rig(tmp_path, w=UNDO % "rm b; exit 3") as r:
        await r.service.command("run w", 0)
        (run,) = await r.settled()
        assert run.status == "compensation_failed" and "undo second failed too" in run.error
        assert r.files() == ["log"]
        (left,) = r.events("workflow.compensation_failed")[0].attrs["left"]
        assert left["action"] == {"type": "delete", "path": "b"} and left["place"] == "second/1" and left["error"]
        assert run.as_dict()["left"] == [left]


async def test_a_cancelled_run_is_undone_too(tmp_path):
    """By hand; its status says cancelled."""
    async with rig(tmp_path, w=UNDO % "sleep 100") as r:
        await r.service.command("run w", 0)
        await r.until((tmp_path / "root" / "b").exists)
        (run,) = r.runs
        assert run.id in await r.service.command(f"cancel {run.id}", 0)
        await r.settled()
        assert run.status == "cancelled" and r.files() == ["log"] and r.events("workflow.cancelled")
        with pytest.raises(CallerError, match="has cancelled already"):
            await r.service.command(f"cancel {run.id}", 0)
        with pytest.raises(CallerError, match="no run"):
            await r.service.command("cancel nosuch", 0)


async def test_shutdown_lets_runs_finish_within_the_grace(tmp_path):
    """What takes longer is cancelled."""
    text = "steps: [{name: a, command: {argv: [sleep, '%s']}}]"
    async with rig(tmp_path, quick=text % 0.1, slow=text % 100) as r:
        await r.service.command("run quick", 0)
        await r.service.command("run slow", 0)
        await r.service.shutdown(3)
    assert {run.workflow: run.status for run in r.runs} == {"quick": "succeeded", "slow": "cancelled"}


async def test_wrong_rendered_parameters_fail_with_a_sentence(tmp_path):
    """What a template makes is validated when it is known."""
    text = """
steps:
  - {name: a, checksum: {path: x, algorithm: "{{ 'rot' + '13' }}"}}
"""
    async with rig(tmp_path, w=text) as r:
        await r.service.command("run w", 0)
        (run,) = await r.settled()
        assert run.status == "failed" and "algorithm" in run.error and "\n" not in run.error


async def test_a_missing_value_in_a_template_fails_its_step(tmp_path):
    """The expression is named."""
    async with rig(tmp_path, w="steps: [{name: a, log: {message: '{{ vars.nope }}'}}]") as r:
        await r.service.command("run w", 0)
        (run,) = await r.settled()
        assert "vars.nope" in run.error and run.status == "failed"


async def test_finished_runs_are_kept_up_to_the_bound(tmp_path):
    """The oldest go first."""
    async with rig(tmp_path, _history=3, w="triggers: {}\nsteps: [{log: {message: x}}]") as r:
        for i in range(10):
            r.save(f"f{i}")
        runs = await r.settled()
        assert len(runs) == 3 and r.service.runner.counts["w", "succeeded"] == 10


async def test_what_finds_the_mailbox_full_is_counted(tmp_path, monkeypatch):
    """A run that is busy keeps so many events and no more; its status says how many it missed."""
    monkeypatch.setattr("automation.runner.mailbox.MOST", 3)
    text = "workflow_type: event_driven\ntriggers: {types: user.x, key: workflow}\nlifetime: {idle: 1s}\n"
    text += "steps: [{command: {argv: [sleep, '0.3']}}]"
    async with rig(tmp_path, w=text) as r:
        for _ in range(8):
            r.publish("user.x")
        await r.until(lambda: bool(r.runs) and r.runs[0].missed == 4)
        (run,) = await r.settled()
        assert run.as_dict()["missed"] == 4 and run.received == 4
