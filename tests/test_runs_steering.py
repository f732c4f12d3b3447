"""Runs from the outside: started again, started dry, seen with what their steps were given."""

import pytest

from automation.errors import CallerError
from tests.automation_rig import rig

FLAKY = """
triggers: {path: in/*}
steps:
  - {name: get, read: {path: "need/{{ event.name }}"}}
  - {name: out, write: {path: out, content: "{{ event.name }}"}}
"""


async def test_a_failed_run_is_started_again_as_a_fresh_one(tmp_path):
    """The same event and input, another identity, the present version; as often as asked for."""
    async with rig(tmp_path, w=FLAKY) as r:
        r.save("in/a")
        (failed,) = await r.settled()
        assert failed.status == "failed"
        assert "started the run" in await r.service.command(f"retry {failed.id}", 0)
        _, second = await r.settled()
        assert second.status == "failed" and second.id != failed.id
        r.save("need/a", b"here")
        await r.service.command(f"retry {failed.id}", 0)
        *_, third = await r.settled()
        assert third.status == "succeeded" and r.text("out") == "a"
        trace = await r.service.archive.trace(third.id)
        assert trace["again"] == failed.id and trace["events"][0]["path"] == "in/a"
        with pytest.raises(CallerError, match="has succeeded: start another one with `run w`"):
            await r.service.command(f"retry {third.id}", 0)
        with pytest.raises(CallerError, match="there is no run 00aa"):
            await r.service.command("retry 00aa", 0)


async def test_a_dry_run_by_hand_does_nothing(tmp_path):
    """Its trace says what would be done; the next run of the workflow is a real one."""
    text = "steps: [{name: out, write: {path: out, content: '{{ input.word }}'}}]"
    async with rig(tmp_path, w=text) as r:
        answer = await r.service.command('run --dry-run w {"word": "hi"}', 0)
        assert answer.startswith("started the dry run ")
        (run,) = await r.settled()
        assert run.status == "succeeded" and run.output["dry_run"] and r.files() == []
        await r.service.command('run w {"word": "hi"}', 0)
        await r.settled()
        assert r.text("out") == "hi"


async def test_a_trace_shows_what_steps_were_given(tmp_path):
    """Rendered, without what is a secret, and long texts cut."""
    long = "x" * 5000
    step = "{name: out, write: {path: '{{ input.to }}', content: '{{ vars.long }}'}}"
    text = f"vars: {{long: {long}}}\nsteps: [{step}]"
    async with rig(tmp_path, w=text) as r:
        await r.service.command('run w {"to": "there"}', 0)
        (run,) = await r.settled()
        (step,) = (await r.service.archive.trace(run.id))["steps"]
        assert step["input"]["path"] == "there" and step["input"]["content"].endswith("… (5000 characters)")
        assert len(step["input"]["content"]) < 300 and len(r.text("there")) == 5000
