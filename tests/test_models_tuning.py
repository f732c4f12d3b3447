"""Values that outcomes move: within bounds, with a reason, and back."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from automation.errors import CallerError
from automation.library import examined
from automation.state_directory import StateDirectory
from tests.automation_rig import Rig, rig, serving, virtual_wall
from tests.mounting import mounted, scratch
from tests.patience import eventually

PAGE = (Path(__file__).parent.parent / "docs" / "models.md").read_text()
SEND = """
triggers: {types: user.send}
concurrency: parallel
steps: [{name: send, read: {path: there}, retry: {attempts: 3, backoff: 1000s, factor: 1, jitter: 0, max_delay: 1h}}]
"""
PATIENCE = "kind: adaptive\nretry: {workflow: send, step: send}\nmin: 100s\nmax: 400s\nstep: 200s\n"
LOAD = """
kind: analytics
streams:
  jobs:
    events: user.job
    value: event.size
    window: {count: 1}
    aggregates: {size: sum}
    anomalies: [{measure: size, type: volume_spike, warm_up: 10, sensitivity: 4}]
"""
ALARM = "triggers: {type: anomaly, anomaly_type: volume_spike}\nsteps: [{log: {message: x}}]\nconcurrency: parallel"
EARS = "kind: adaptive\nanomaly: {stream: load.jobs, measure: size}\nmin: 2\nmax: 60\nstep: 28\ninitial: 4\n"


async def passing(holds: Callable[[], bool]) -> None:
    """Let virtual time pass until something holds; a virtual clock runs ahead while threads work."""
    with trio.fail_after(100_000):
        while not holds():  # noqa: ASYNC110
            await trio.sleep(1)


def moves(r: Rig, name: str) -> list[tuple[float, float]]:
    return [(one["old"], one["new"]) for one in r.service.tuning.changes(name)]


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_every_example_of_the_page_loads(text):
    """docs/models.md is right."""
    assert examined("x.yaml", text)[1] == []


async def test_a_backoff_rises_with_failing_retries_and_falls_with_good_ones(tmp_path, autojump_clock):
    """Within min and max; the waits are really those; each change is an event with its reason."""
    async with rig(tmp_path, wall=virtual_wall(), send=SEND, patience=PATIENCE) as r:
        tuning = r.service.tuning
        for count, waited in enumerate((200, 600, 800), 1):  # two waits each, of the adapted backoff
            began = trio.current_time()
            r.publish("user.send")
            await passing(lambda count=count: len(r.runs) == count and r.runs[-1].finished)
            assert waited <= trio.current_time() - began < 2000, "its own backoff would be two times 1,000 s"
            await passing(lambda count=count: tuning.status("patience")["outcomes"]["worse"] == count)
        assert moves(r, "patience") == [(100, 300), (300, 400)] and tuning.status("patience")["outcomes"]["worse"] == 3
        r.publish("user.send")
        await passing(lambda: len(r.runs) == 4 and r.runs[-1].status == "waiting")
        (r.root / "there").write_text("x")
        await passing(lambda: r.runs[-1].status == "succeeded" and len(moves(r, "patience")) == 3)
        assert moves(r, "patience")[-1] == (400, 200)
        events = r.events("model.adapted")
        assert [event.attrs["new"] for event in events] == [300, 400, 200]
        assert "2 retries failed in" in events[0].attrs["reason"] and "succeeded" in events[2].attrs["reason"]
        await tuning.revert("patience", "undo")
        await tuning.revert("patience", "1")
        assert moves(r, "patience")[3:] == [(200, 400), (400, 100)] and tuning.backoff("send", "send") == 100
        with pytest.raises(CallerError, match="number of one"):
            await tuning.revert("patience", "99")
        tuning.enable("patience", False)
        assert tuning.backoff("send", "send") is None, "the step's own backoff counts again"
        assert r.service.tuning.backoff("send", "other") is None


async def test_a_cooldown_rises_while_runs_fail(tmp_path, autojump_clock):
    """The triggers of the workflow are silent for so long; the audit of each change says which run it was."""
    send = SEND.replace("retry: {attempts: 3, backoff: 1000s, factor: 1, jitter: 0, max_delay: 1h}", "retry: 1")
    calm = "kind: adaptive\ncooldown: {workflow: send}\nmin: 0\nmax: 10000s\nstep: 4000s\n"
    async with rig(tmp_path, wall=virtual_wall(), send=send, calm=calm) as r:

        async def fired(moved: list[tuple[float, float]]) -> None:
            count = len(r.runs) + 1
            r.publish("user.send")
            await passing(lambda: len(r.runs) == count and moves(r, "calm") == moved)

        await fired([(0, 4000)])
        await fired([(0, 4000), (4000, 8000)])  # the cooldown was 0 when it fired
        await trio.sleep(4100)  # it was 4,000 at this firing
        (r.root / "there").write_text("x")
        await fired([(0, 4000), (4000, 8000), (8000, 4000)])
        for _ in range(3):
            r.publish("user.send")
            await trio.sleep(50)
        assert len(r.runs) == 3, "it is silent for 8,000 s"
        assert r.service.tuning.changes("calm")[-1]["reason"] == f"{r.runs[-1].id} succeeded"


async def test_false_alarms_make_an_anomaly_less_sensitive(tmp_path, autojump_clock):
    """`no` raises the sensitivity, so that what was an anomaly is none; `yes` and `undo` bring it back."""
    async with rig(tmp_path, load=LOAD, alarm=ALARM, ears=EARS, wall=virtual_wall()) as r:
        tuning = r.service.tuning
        with trio.fail_after(30):
            await tuning._find("ears").read.wait()

        async def job(size: int) -> int:
            before = r.service.bus.counts["anomaly.detected"]
            for one in (size, 100):
                r.publish("user.job", size=one)
                await trio.sleep(0.1)
            return r.service.bus.counts["anomaly.detected"] - before

        for i in range(20):
            await job(100 + i % 5)
        assert await job(130) == 1
        (run,) = await r.settled()
        await tuning.approve("ears", f"{run.id} no")
        assert moves(r, "ears") == [(4, 32)] and await job(130) == 0
        sensitivity = r.service.analytics.status("load.jobs")["watches"][0]["sensitivity"]
        assert sensitivity == 32
        await tuning.approve("ears", "no")
        await tuning.approve("ears", "no")
        assert moves(r, "ears")[1:] == [(32, 60)], "it never leaves its bounds"
        await tuning.revert("ears", "1")
        assert await job(130) == 1
        other = await r.carried_out("alarm")
        with pytest.raises(CallerError, match="not started by an anomaly"):
            await tuning.approve("ears", f"{other.id} no")
        await r.service.library.uninstall("ears")
        assert r.service.analytics.status("load.jobs")["watches"][0]["sensitivity"] == 4


async def test_what_a_value_was_moved_to_outlives_the_mount(tmp_path):
    """And every change with its reason."""
    kept = StateDirectory(str(tmp_path / "state"))
    try:
        definitions = {"load.yaml": LOAD, "ears.yaml": EARS}
        one = Rig(tmp_path, definitions, kept=kept)
        async with serving(one):
            await one.service.tuning.approve("ears", "no")
            before = one.service.tuning.changes("ears")
        two = Rig(tmp_path, {}, kept=kept)
        async with serving(two):
            await two.until(lambda: two.service.tuning.changes("ears") == before)
            await two.until(lambda: two.service.tuning.status("ears")["value"] == 32)
            assert before[0]["reason"] == "the last anomaly was a false alarm"
    finally:
        kept.close()


MODEL = "kind: model\nworkflow: upload\nfeatures: {size: event.size}\nlabel: approval\nwarm_up: 2\n"
UPLOAD = "triggers: {path: 'in/*', types: file.closed, where: event.attrs.written}\nsteps: [{log: {message: x}}]"


@pytest.mark.mount
def test_models_are_taught_asked_and_rolled_back_by_files():
    """Everything through /.vexfs on a real mount; the audit trail has each change."""
    with scratch() as place:
        source, flows = place / "source", place / "workflows"
        (source / "in").mkdir(parents=True)
        flows.mkdir()
        for name, text in {"upload": UPLOAD, "guess": MODEL, "load": LOAD, "ears": EARS}.items():
            (flows / f"{name}.yaml").write_text(text)
        arguments = ("--workflows", str(flows), "--state-dir", str(place / "state"))
        with mounted(source, arguments=arguments) as mount:
            control = mount.mountpoint / ".vexfs"
            model, ears = control / "models" / "guess", control / "models" / "ears"
            for i in range(4):
                (mount.mountpoint / "in" / f"f{i}").write_text("x" * (10 if i % 2 else 90))
            eventually(lambda: len(os.listdir(control / "runs")) == 4)
            for run in (control / "runs").iterdir():
                size = json.loads((run / "trace").read_text())["events"][0]["size"]
                (model / "approve").write_text(f"{run.name} {'yes' if size == 10 else 'no'}\n")
            (model / "version").write_text("snapshot\n")
            (model / "predict").write_text('{"size": 90}\n')
            assert json.loads((model / "predict").read_text())["label"] == "refused"
            assert "examples: 4" in (model / "status").read_text() and "version: 1" in (model / "versions").read_text()
            (model / "version").write_text("1\n")
            assert (model / "version").read_text() == "1\n"
            with pytest.raises(OSError, match="Invalid argument"):
                (model / "version").write_text("7\n")
            assert "no version 7" in (control / "error").read_text()
            (ears / "approve").write_text("no\n")
            assert json.loads((ears / "changes").read_text())["new"] == 32
            (ears / "changes").write_text("undo\n")
            assert len((ears / "changes").read_text().splitlines()) == 2
            for word in ("model.adapted", "model.version", "false alarm", "rolled back"):
                eventually(lambda word=word: word in (control / "journal").read_text(), word)
