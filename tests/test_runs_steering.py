"""Runs from the outside: started again, started dry, seen with what their steps were given."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.errors import CallerError
from automation.journal.keeping import Keeping
from automation.runner.brief import brief
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
    """Rendered; whole, unless it is longer than the journal's `step-inputs`: then long texts are cut."""
    long = "x" * 5000
    step = "{name: out, write: {path: '{{ input.to }}', content: '{{ vars.long }}'}}"
    text = f"vars: {{long: {long}}}\nsteps: [{step}]"
    async with rig(tmp_path, w=text) as r:
        await r.service.command('run w {"to": "there"}', 0)
        (run,) = await r.settled()
        (step,) = (await r.service.archive.trace(run.id))["steps"]
        assert step["input"] == {"path": "there", "content": long}
    async with rig(tmp_path, keeping=Keeping(step_inputs=1000), w=text) as r:
        await r.service.command('run w {"to": "there"}', 0)
        (run,) = await r.settled()
        (step,) = (await r.service.archive.trace(run.id))["steps"]
        assert step["input"]["path"] == "there" and step["input"]["content"].endswith("x… (5000 characters)")
        assert 900 < len(step["input"]["content"]) < 1100 and len(r.text("there")) == 5000


texts = st.text(max_size=300)
inputs = st.recursive(
    texts | st.integers(),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(max_size=5), inner, max_size=40),
    max_leaves=60,
)


@given(inputs)
def test_what_is_short_is_kept_whole(value):
    """A generous bound changes nothing; of what is longer beginnings stay."""
    assert brief(value, 1 << 20) == value
    assert len(brief(["x" * 300] * 100, 1000)) < 20 and brief(["x" * 300] * 100, 1000)[-1] == "… (100 items)"


async def test_a_secret_is_hidden_before_an_input_is_cut(tmp_path):
    """A cut through its middle would leave a half that nobody knows for what it is."""
    async with rig(
        tmp_path, keeping=Keeping(step_inputs=0), w="steps: [{write: {path: o, content: '{{ input.c }}'}}]"
    ) as r:
        r.service.secrets.redactor.learn("token", "correct-horse-battery")
        await r.service.command(f'run w {{"c": "{"." * 190}correct-horse-battery{"." * 100}"}}', 0)
        (run,) = await r.settled()
        assert "correct" not in json.dumps((await r.service.archive.trace(run.id))["steps"][0]["input"])
