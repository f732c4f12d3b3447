"""Models made by onnx, asked through the whole way: file, worker process, tensors, JSON."""

import hashlib
import os
import signal
from pathlib import Path

import onnx
import pytest
import trio
from onnx import TensorProto, helper

from automation.actions.inference import Models
from automation.errors import TimedOut, WorldError
from tests.effects import acting_in


def save(path: Path, nodes, inputs, outputs, initializers=()) -> None:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def linear(path: Path, factor: float = 2.0) -> None:
    """y = factor · x + 1, of any number of rows of three."""
    value = helper.make_tensor_value_info
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [1], [factor]),
        helper.make_tensor("b", TensorProto.FLOAT, [1], [1.0]),
    ]
    nodes = [helper.make_node("Mul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    save(path, nodes, [value("x", TensorProto.FLOAT, [None, 3])], [value("y", TensorProto.FLOAT, [None, 3])], weights)


def forever(path: Path) -> None:
    """A loop of 2⁶² turns."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Add", ["s", "s"], ["s2"])],
        "body",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("s", TensorProto.FLOAT, [1])],
        [value("c2", TensorProto.BOOL, []), value("s2", TensorProto.FLOAT, [1])],
    )
    numbers = [
        helper.make_tensor("n", TensorProto.INT64, [], [1 << 62]),
        helper.make_tensor("t", TensorProto.BOOL, [], [True]),
    ]
    nodes = [helper.make_node("Loop", ["n", "t", "x"], ["y"], body=body)]
    save(path, nodes, [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])], numbers)


@pytest.fixture
async def act(tmp_path: Path):
    place = tmp_path / "models"
    place.mkdir()
    linear(place / "linear.onnx")
    forever(place / "forever.onnx")
    (place / "broken.onnx").write_bytes(b"no model")
    models = Models(str(place))
    async with acting_in(tmp_path, models=models) as one:
        one.place = place
        yield one
    await models.aclose()


async def test_a_model_answers_and_stays_warm(act):
    """The seed's names too; the second call finds the same process; a changed file is loaded anew."""
    done = await act("ml_inference", model="linear", input={"x": [[1, 2, 3], [0, 0, 0]]})
    assert done["output"] == {"y": [[3.0, 5.0, 7.0], [1.0, 1.0, 1.0]]}
    (first,) = act.context.models.warm
    await act("ml_inference", model_id="linear.onnx", input_data={"x": [[1, 2, 3]]})
    assert act.context.models.warm == [first]
    linear(act.place / "linear.onnx", 10.0)
    assert (await act("ml_inference", model="linear", input={"x": [[1, 2, 3]]}))["output"]["y"][0] == [11.0, 21.0, 31.0]


async def test_a_model_has_no_rights(act):
    """Its process is nobody's, in a network of its own, and may make no system call but a few."""
    await act("ml_inference", model="linear", input={"x": [[1, 2, 3]]})
    (pid,) = act.context.models.warm
    text = await trio.Path(f"/proc/{pid}/status").read_text()
    status = dict(line.split(":\t", 1) for line in text.splitlines())
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    assert os.geteuid() != 0 or set(status["Uid"].split()) == {"65534"}


async def test_the_file_is_what_the_definition_says(act):
    """By its SHA-256, checked on the bytes that are loaded."""
    digest = hashlib.sha256((act.place / "linear.onnx").read_bytes()).hexdigest()
    await act("ml_inference", model="linear", input={"x": [[1, 2, 3]]}, sha256=digest)
    with pytest.raises(WorldError, match="its SHA-256 is"):
        await act("ml_inference", model="linear", input={"x": [[1, 2, 3]]}, sha256="0" * 64)


WRONG = [
    ("none", {}, "there is no model 'none'"),
    ("../linear", {}, "no name of a model"),
    ("broken", {"x": [1]}, "cannot be loaded"),
    ("linear", {}, "the model takes x, not nothing"),
    ("linear", {"x": [[1, 2]]}, "failed"),
    ("linear", {"x": "text"}, "could not convert"),
    ("linear", {"x": [[0] * 1002]}, "more than 1000"),
]


async def test_what_is_wrong_is_said_and_blames_the_caller(act, monkeypatch):
    """A missing or broken model, a wrong name, form or size of input: one sentence, and no breaker opens."""
    monkeypatch.setattr("automation.actions.inference.MOST", 1000)
    for model, given, says in WRONG:
        with pytest.raises(WorldError, match=says):
            await act("ml_inference", model=model, input=given)
    assert all(one.failures == 0 for one in act.context.breakers.all)


async def test_a_model_that_does_not_end_costs_its_worker_only(act):
    """It is killed at its time limit, and when the step is cancelled; others go on."""
    await act("ml_inference", model="linear", input={"x": [[1, 2, 3]]})
    (kept,) = act.context.models.warm
    with pytest.raises(TimedOut, match=r"longer than 1\.5 s"):
        await act("ml_inference", model="forever", input={"x": [1]}, timeout=1.5)
    with trio.move_on_after(1.5) as scope:
        await act("ml_inference", model="forever", input={"x": [1]})
    assert scope.cancelled_caught and act.context.models.warm == [kept]
    os.kill(kept, signal.SIGKILL)
    with pytest.raises(WorldError, match="worker ended"):
        await act("ml_inference", model="linear", input={"x": [[1, 2, 3]]})
    assert (await act("ml_inference", model="linear", input={"x": [[0, 0, 0]]}))["output"]["y"] == [[1.0, 1.0, 1.0]]


async def test_calls_at_once_take_turns(act):
    """One process a model, however many ask."""
    answers = []

    async def ask(i: int) -> None:
        done = await act("ml_inference", model="linear", input={"x": [[i, i, i]]})
        answers.append((i, done["output"]["y"][0][0]))

    async with trio.open_nursery() as nursery:
        for i in range(8):
            nursery.start_soon(ask, i)
    assert sorted(answers) == [(i, 2.0 * i + 1) for i in range(8)] and len(act.context.models.warm) == 1
