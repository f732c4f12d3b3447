"""Each example of docs/workflows.md loads and does what the page says."""

import re
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from automation.loading import examine
from automation.permissions import Permissions
from automation.runner.retry import CLASSES
from tests.automation_rig import rig, virtual_wall
from tests.test_actions_inference import save

PAGE = (Path(__file__).parent.parent / "docs" / "workflows.md").read_text()
EXAMPLES = {re.search(r"name: (\S+)", text)[1]: text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)}
CHILD = "inputs: {n: {type: integer}}\nsteps: [{log: {message: x}}]\noutputs: {n: '{{ input.n * 2 }}'}"


def example(path, name, **more):
    """A rig with one example of the page, on a virtual wall clock."""
    return rig(path, wall=virtual_wall(), **{name.replace("-", "_"): EXAMPLES[name]}, **more)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_loads(name):
    """Without an error; a later test runs each."""
    assert examine(f"{name}.yaml", EXAMPLES[name])[1] == []


def test_every_class_of_errors_is_documented():
    """Those that retry.on may name."""
    for name in CLASSES:
        assert f"`{name}`" in PAGE, name


async def ended(r, status="succeeded"):
    (run,) = await r.settled()
    assert run.status == status, run.as_dict()
    return run


async def test_take_in(tmp_path):
    """Linear: digest, copy, note; typed outputs."""
    async with example(tmp_path, "take-in") as r:
        r.save("incoming/a", b"hello")
        await r.until(lambda: bool(r.runs))
        run = await ended(r)
        assert run.output["kept"].startswith("store/2cf24d") and run.output["copies"] == 1
        assert r.text("store/index") == "a\n"


async def test_publish(tmp_path):
    """Parallel: what does not depend on another goes at the same time, what does sees its result."""
    async with example(tmp_path, "publish") as r:
        r.save("drafts/a.txt", b"hello")
        await ended(r)
        (event,) = r.events("user.published")
        assert event.path == "site/a.txt" and event.attrs["digest"].startswith("2cf24d")


async def test_sort(tmp_path):
    """Conditional: by suffix, then by size."""
    async with example(tmp_path, "sort") as r:
        r.save("mixed/a.jpg")
        r.save("mixed/b.txt")
        r.save("mixed/c")
        r.save("mixed/d.txt", b"x" * 1_000_001)
        assert {run.status for run in await r.settled()} == {"succeeded"}
        assert r.files() == ["images/a.jpg", "others/c", "texts/b.txt", "texts/large/d.txt"]


async def test_sweep(tmp_path):
    """A loop over a list, with a sum."""
    async with example(tmp_path, "sweep") as r:
        for name, size in (("a.log", 3), ("b.log", 4), ("c.txt", 5)):
            r.save(f"sweeping/{name}", b"x" * size)
        run = await r.carried_out("sweep")
        assert run.output == {"freed": 7, "files": 2} and r.files() == ["sweeping/c.txt"]


@pytest.mark.parametrize("answered", [True, False])
async def test_ask(tmp_path, mock_clock, answered):
    """A wait for an event, and its time limit."""
    async with example(tmp_path, "ask") as r:
        r.save("questions/q.txt", b"?")
        await r.until(lambda: bool(r.runs) and r.runs[0].status == "waiting")
        assert "answers/q.open" in r.files()
        if answered:
            r.save("answers/q", b"yes")
        else:
            mock_clock.jump(2 * 86400)
        (run,) = r.runs
        await r.until(lambda: run.finished)
        assert run.status == "succeeded" and "answers/q.open" not in r.files()
        assert ("done/q.txt" in r.files()) is answered


@pytest.mark.parametrize("way", ["approved", "refused", "empty", "late"])
async def test_review(tmp_path, mock_clock, way):
    """A state machine: at once, on events, after a time."""
    async with example(tmp_path, "review") as r:
        r.save("papers/p", b"" if way == "empty" else b"text")
        await r.until(lambda: bool(r.runs) and r.runs[0].status in ("waiting", "failed"))
        (run,) = r.runs
        if way == "late":
            for n in (1, 2):
                mock_clock.jump(86400)
                await r.until(lambda n=n: r.service.bus.counts["user.reminder"] == n and run.status == "waiting")
        if way != "empty":
            r.publish("user.approved", "papers/other")
            r.publish("user.refused" if way == "refused" else "user.approved", "papers/p")
        await r.until(lambda: run.finished)
        well = way in ("approved", "late")
        assert run.status == ("succeeded" if well else "failed")
        assert r.files() == (["accepted/p"] if well else ["papers/p"])


async def test_sessions(tmp_path, mock_clock):
    """Event-driven: a run for a key, which ends by a condition or when nothing comes any more."""
    async with example(tmp_path, "sessions") as r:
        for user in ("ann", "bob"):
            r.publish("user.login", user)
        for _ in range(3):
            r.publish("user.click", "ann")
        r.publish("user.click", "bob")
        r.publish("user.logout", "ann")
        await r.until(lambda: len(r.runs) == 2 and r.runs[0].finished and r.runs[1].status == "waiting")
        ann, bob = r.runs
        assert ann.status == "succeeded" and ann.output == {"clicks": 3} and ann.received == 5
        assert r.text("sessions/ann") == "3\n" and bob.received == 2
        mock_clock.jump(1800)
        await r.until(lambda: bob.finished)
        assert bob.status == "succeeded" and bob.output == {"clicks": 1} and r.files() == ["sessions/ann"]
        r.publish("user.login", "ann")
        await r.until(lambda: len(r.runs) == 3 and r.runs[2].status == "waiting")
        mock_clock.autojump_threshold = 0


async def test_triage(tmp_path):
    """ML-enhanced: a real model decides where it is sure; else the fallback is taken."""
    models = tmp_path / "models"
    models.mkdir()
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Softmax", ["x"], ["probabilities"])]
    save(
        models / "triage.onnx",
        nodes,
        [value("x", TensorProto.FLOAT, [None, 2])],
        [value("probabilities", TensorProto.FLOAT, [None, 2])],
    )
    async with example(tmp_path, "triage", permissions=Permissions(models=str(models))) as r:
        for name, scores in (("a", b"[5, 1]"), ("b", b"[0, 9]"), ("c", b"[1, 1.1]")):
            r.save(f"mail/{name}.json", scores)
        runs = await r.settled()
        assert {run.status for run in runs} == {"succeeded"}, runs
        assert r.files() == ["good/b.json", "junk/a.json", "unsure/c.json"]
        assert [run.as_dict()["steps"][1]["branch"] for run in runs] == ["spam", "ham", "else"]


async def test_parent(tmp_path):
    """A sub-workflow's output is the step's."""
    async with example(tmp_path, "parent", child=CHILD) as r:
        run = await r.carried_out("parent")
        assert run.output == {"n": 40} and run.status == "succeeded"
        runs = await r.settled()
        assert [one.workflow for one in runs] == ["parent", "child", "child"]
        assert {one.firing.depth for one in runs[1:]} == {1} and runs[1].parent == (run.id, "child")


async def test_order(tmp_path):
    """Undone in reverse, then the compensation of the whole."""
    async with example(tmp_path, "order") as r:
        run = await r.carried_out("order")
        assert run.status == "compensated" and r.files() == ["ledger/refunds", "problems"]
        undone = [step.name for step in run.steps if step.status == "compensated"]
        assert undone == ["undo pay", "undo pay", "undo reserve", "compensation1"]
