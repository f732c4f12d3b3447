"""Models that learn from runs: examples, figures, versions, predictions where a workflow asks for them."""

import json
import random
import sqlite3
from pathlib import Path

import pytest

from automation.errors import CallerError
from automation.library import examined
from automation.models.forms import ModelForm
from automation.models.learner import Learner
from automation.models.store import Store, Version
from automation.state_directory import StateDirectory
from automation.targets import Automation
from tests.automation_rig import Rig, rig, serving

PAGE = (Path(__file__).parent.parent / "docs" / "models.md").read_text()
UPLOAD = """
triggers: {path: "in/*", types: file.closed}
concurrency: parallel
steps:
- {name: go, condition: event.size < 100, log: {message: small}}
- {name: no, condition: event.size >= 100, read: {path: nowhere}}
"""
MODEL = """
kind: model
workflow: upload
features: {size: event.size, suffix: event.suffix}
warm_up: 10
snapshot_every: 20
"""
ASK = """
triggers: {types: user.ask}
steps:
- name: kind
  decision:
    model: {type: predict, model: guess, features: {size: "{{ event.attrs.size }}", suffix: ".a"}}
    confidence: 0.6
    cases:
      succeeded: {name: good, write: {path: good, content: x}}
      failed: {name: bad, write: {path: bad, content: x}}
    fallback: {name: unsure, write: {path: unsure, content: x}}
"""
HEARD = "triggers: {type: ml_prediction, model_id: guess, prediction_type: outcome, confidence_threshold: 0.6}\n"
HEARD += 'steps: [{write: {path: heard, content: "{{ event.attrs.label }}"}}]'


def form(**more):
    raw = {"kind": "model", "name": "m", "workflow": "w", "features": {"size": "event.size", "kind": "event.suffix"}}
    return ModelForm.model_validate({**raw, **more})


def taught(one: Learner, count: int, seed: int = 1) -> Learner:
    """Large files of kind `a` fail."""
    dice = random.Random(seed)
    for _ in range(count):
        size, kind = dice.random() * 100, dice.choice("ab")
        one.learn({"size": size, "kind": kind}, size < 50 or kind == "b")
    return one


@pytest.mark.parametrize(("algorithm", "least"), [("logistic", 0.85), ("tree", 0.7)])
def test_it_learns_and_is_kept_as_json(algorithm, least):
    """Accuracy is of examples before they are learnt; what is restored goes on exactly as what was kept."""
    one = taught(Learner(form(algorithm=algorithm)), 1500)
    assert one.figures()["judged"] == 200 and one.figures()["accuracy"] > least and one.figures()["log_loss"] < 0.6
    other = Learner.restored(one.form, json.loads(json.dumps(one.export())))
    assert other.figures() == one.figures() and other.weights() == one.weights()
    probe = {"size": 90.0, "kind": "a"}
    assert one.probability(probe) == other.probability(probe)
    for learner in (one, other):
        taught(learner, 50, seed=2)
    assert one.probability(probe) == other.probability(probe) and one.figures() == other.figures()


def test_another_definition_is_not_gone_on_with():
    """Weights of other features mean nothing."""
    kept = taught(Learner(form()), 5).export()
    with pytest.raises(ValueError, match="another definition"):
        Learner.restored(form(features={"size": "event.size"}), kept)


@pytest.mark.parametrize("value", [None, [1], float("nan")])
def test_a_feature_is_a_number_or_a_text(value):
    """Anything else is no example."""
    with pytest.raises(ValueError, match="'size'"):
        Learner(form()).learn({"size": value, "kind": "a"}, True)


def test_damage_on_disk_is_found(tmp_path):
    """A body whose digest is another one is never used."""
    path = str(tmp_path / "db")
    store = Store(path)
    store.keep("m", Version(1, 0, {}), {"weights": {"a": 1}}, 10)
    assert store.body("m", 1) == {"weights": {"a": 1}} and store.body("m", 2) is None
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE versions SET body = replace(body, '1', '2')")
    db.close()
    with pytest.raises(ValueError, match="damaged"):
        Store(path).body("m", 1)


def test_the_oldest_versions_go(tmp_path):
    """As many as the definition says; the live one is not counted."""
    store = Store(None)
    for number in range(8):
        store.keep("m", Version(number, 0, {"examples": number}), {}, 3)
    assert [one.number for one in store.versions("m")] == [5, 6, 7] and store.body("m", 0) == {}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("kind: model\nfeatures: {a: event.size}", 1, "workflow"),
        ("kind: model\nworkflow: w\nfeatures: {a: event.sise}", 3, "size"),
        ("kind: model\nworkflow: w\nfeatures: {a: event.size}\nalgorithm: forest", 4, "logistic"),
        ("kind: adaptive\nmin: 1\nmax: 2\nstep: 1", 1, "retry"),
        ("kind: adaptive\nretry: {workflow: w, step: s}\nmin: 3\nmax: 2\nstep: 1", 1, "less"),
    ],
)
def test_a_wrong_definition_is_refused(text, line, says):
    """With the line, and what would be right."""
    found, (error, *_) = examined("m.yaml", text)
    assert found is None and (error.line or 1) == line and says in str(error)


async def learnt(r: Rig, count: int = 40) -> None:
    """Runs of `upload`, half of which fail; every one becomes an example."""
    for i in range(count):
        r.save(f"in/f{i}.a", b"x" * (i % 10 if i % 2 else 150 + i % 10))
    await r.until(lambda: state(r).get("examples") == count and state(r)["version"] == count // 20)


def state(r: Rig) -> dict:
    return r.service.models.status("guess")


async def test_a_model_learns_from_runs_and_answers_where_a_workflow_asks(tmp_path):
    """Nothing acts before; then a decision takes the branch of the label, and ml_prediction hears of it."""
    async with rig(tmp_path, upload=UPLOAD, guess=MODEL, ask=ASK, heard=HEARD) as r:
        await r.until(lambda: state(r)["state"] == "enabled")
        r.publish("user.ask", attrs={"size": 5})
        await r.until(lambda: "unsure" in r.files())
        await learnt(r)
        assert {"good", "bad", "heard"}.isdisjoint(r.files()), "a model acted by itself"
        assert state(r)["accuracy"] > 0.9 and state(r)["version"] == 2 and state(r)["weights"]["size"] < 0
        r.publish("user.ask", attrs={"size": 155})
        await r.until(lambda: "bad" in r.files() and "heard" in r.files())
        assert r.text("heard") == "failed"
        (event,) = r.events("prediction.made")
        assert event.attrs["model"] == "guess" and event.attrs["probability"] < 0.4 and event.attrs["version"] == 2
        assert event.cause is not None and event.cause.workflow == "ask"
        r.service.models.enable("guess", False)
        (tmp_path / "root" / "unsure").unlink()
        r.publish("user.ask", attrs={"size": 155})
        await r.until(lambda: "unsure" in r.files())


async def test_versions_outlive_the_mount_and_can_be_rolled_back(tmp_path):
    """Numbers, figures and weights are those of the version; what comes later has a new number."""
    kept = StateDirectory(str(tmp_path / "state"))
    try:
        one = Rig(tmp_path, {"upload.yaml": UPLOAD, "guess.yaml": MODEL}, kept=kept)
        async with serving(one):
            await learnt(one)
            await one.service.models.change_version("guess", "snapshot")
            before = state(one)
        two = Rig(tmp_path, {}, kept=kept)
        async with serving(two):
            await two.until(lambda: "examples" in state(two))
            assert state(two) == before and before["version"] == 3
            await two.service.models.change_version("guess", "1")
            assert state(two)["examples"] == 20 and state(two)["version"] == 1
            assert [one["current"] for one in two.service.models.versions("guess")] == [True, False, False]
            await two.service.models.change_version("guess", "snapshot")
            assert state(two)["version"] == 4
            for wrong in ("9", "0", "x"):
                with pytest.raises(CallerError):
                    await two.service.models.change_version("guess", wrong)
            said = [(e.attrs["old"], e.attrs["new"], e.attrs["reason"]) for e in two.events("model.version")]
            assert said == [(3, 1, "rolled back"), (1, 4, "snapshot")]
    finally:
        kept.close()


async def test_people_say_what_was_right(tmp_path):
    """A run is an example once; the model asks nothing of other workflows."""
    model = MODEL.replace("warm_up: 10", "warm_up: 2") + "label: approval\n"
    async with rig(tmp_path, upload=UPLOAD, guess=model, other="steps: [{log: {message: x}}]") as r:
        for i in range(6):
            r.save(f"in/{i}.a", b"x" * (10 if i % 2 else 80))
        runs = await r.settled()
        models = r.service.models
        await r.until(lambda: state(r)["state"] == "enabled")
        assert state(r)["examples"] == 0
        for run in runs:
            await models.approve("guess", f"{run.id} {'yes' if run.event['size'] == 10 else 'no'}")
        assert state(r)["examples"] == 6 and state(r)["positive"] == 3
        await models.try_out("guess", '{"size": 80, "suffix": ".a"}')
        assert models.last("guess")["label"] == "refused" and models.last("guess")["probability"] < 0.5
        other = await r.carried_out("other")
        for line, says in (
            (f"{runs[0].id} yes", "already"),
            (f"{other.id} no", "run of other"),
            ("r1 perhaps", "RUN yes"),
            ("nothing yes", "no run"),
        ):
            with pytest.raises(CallerError, match=says):
                await models.approve("guess", line)
        with pytest.raises(CallerError, match="feature"):
            await models.try_out("guess", '{"size": 80}')
        assert r.service.bus.counts["prediction.made"] == 0


async def test_the_configuration_can_switch_learning_off(tmp_path):
    """Models, adaptive values and workflows that ask are refused."""
    patience = "kind: adaptive\nretry: {workflow: w, step: s}\nmin: 1\nmax: 2\nstep: 1"
    off = Automation(enable_machine_learning=False)
    async with rig(tmp_path, off, upload=UPLOAD, guess=MODEL, ask=ASK, patience=patience) as r:
        entries = {entry.file: str(entry.error or "") for entry in r.service.library.entries.values()}
        assert not entries["upload.yaml"]
        assert all("enable_machine_learning" in entries[f"{name}.yaml"] for name in ("guess", "ask", "patience"))


def test_every_field_is_documented():
    """docs/models.md has each field of both kinds."""
    from automation.models import forms

    for model in (forms.ModelForm, forms.AdaptiveForm, forms.RetryTarget, forms.CooldownTarget, forms.AnomalyTarget):
        for name in model.model_fields:
            assert f"`{name}`" in PAGE or f"{name}:" in PAGE, f"{model.__name__}.{name}"
