"""From published events to runs: the loop guard, concurrency, backfill, schedules, pausing, faults."""

import json
import os

import trio

from automation.events import Cause
from automation.makers import ANYBODY
from automation.targets import Automation
from automation.triggers.on_event import OnEvent
from tests.automation_rig import Rig, rig

LOG = "steps: [{log: {message: '{{ event.target }}'}}]\n"


def targets(runs):
    return [run.output["message"] for run in runs]


async def test_an_event_that_matches_starts_one_run(tmp_path):
    """And one that does not starts none."""
    async with rig(tmp_path, w=LOG + "triggers: {path: in/**, types: [file.closed, file.renamed]}") as r:
        r.save("in/a")
        r.save("out/a")
        r.publish("file.renamed", "out/a", "in/b")
        r.publish("file.renamed", "in/b", "out/b")
        assert targets(await r.settled()) == ["in/a", "in/b"]


async def test_a_workflow_ignores_its_own_effects(tmp_path):
    """It writes where it watches, by an action, a command or a script, and runs once."""
    text = """
triggers: {path: in/**, types: [file, dir]}
steps:
  - write: {path: in/other, content: x}
  - move: {source: in/other, target: in/moved}
"""
    async with rig(tmp_path, w=text) as r:
        r.save("in/a")
        runs = await r.settled()
        assert len(runs) == 1 and runs[0].status == "succeeded"
        caused = [e for e in r.events("file.") if e.cause is not None]
        assert caused and {e.cause.workflow for e in caused} == {"w"}
        assert r.service.dispatcher.status("w")["triggers"][0]["suppressed"]["own"] > 0


async def test_a_chain_of_workflows_ends_at_the_depth_limit(tmp_path):
    """Two that feed each other stop, and one overload is announced for the run that would have gone on."""
    text = """
triggers: {path: %s/**}
steps: [{write: {path: "%s/{{ event.name }}x", content: x}}]
"""
    async with rig(tmp_path, Automation(max_chain_depth=4), a=text % ("a", "b"), b=text % ("b", "a")) as r:
        r.save("a/f")
        runs = await r.settled()
        assert [run.cause.depth for run in runs] == [1, 2, 3, 4]
        (overload,) = r.events("system.overload")
        assert overload.attrs["reason"] == "depth" and overload.attrs["run"] == runs[-1].id


async def test_an_event_at_the_limit_that_nobody_wants_is_no_overload(tmp_path):
    """Only what would have fired counts."""
    async with rig(tmp_path, w=LOG + "triggers: {path: in/*, where: event.size > 5}") as r:
        for size in (1, 2, 9):
            r.publish("file.closed", "in/a", size=size, cause=Cause("r", "x", 99))
        assert await r.settled() == [] and len(r.events("system.overload")) == 1


async def test_runs_of_one_file_come_one_after_the_other(tmp_path):
    """Those of different files at the same time."""
    text = """
triggers: {path: in/*}
steps:
  - command:
      shell: true
      argv: 'echo b$NAME >> log; until grep -q b2 log; do sleep 0.01; done; echo e$NAME >> log'
      env: {NAME: '{{ event.name }}'}
"""
    async with rig(tmp_path, w=text) as r:
        for name in ("in/1", "in/1", "in/2"):
            r.save(name)
        assert len(await r.settled()) == 3
        lines = r.text("log").split()
        assert [line for line in lines if line.endswith("1")] == ["b1", "e1", "b1", "e1"]
        assert lines.index("b2") < lines.index("e1")


async def test_restart_cancels_the_run_of_the_same_file(tmp_path):
    """The newest event wins."""
    text = """
concurrency: restart
triggers: {path: in/*}
steps: [{command: {argv: [sleep, '{{ string(event.size) }}']}}]
"""
    async with rig(tmp_path, w=text) as r:
        r.save("in/a", b"x" * 100)
        await r.until(lambda: bool(r.runs))
        r.save("in/a", b"")
        first, second = await r.settled()
        assert (first.status, second.status) == ("cancelled", "succeeded") and "restarts" in first.error


async def test_too_many_firings_are_dropped_and_announced(tmp_path):
    """The bound is the workflow's own; one announcement, not one for each."""
    text = "concurrency: {policy: queued, limit: 1, queue: 3}\ntriggers: {path: in/*}\n" + LOG
    async with rig(tmp_path, w=text) as r:
        for i in range(20):
            r.save(f"in/{i}")
        assert len(await r.settled()) == 4
        (overload,) = r.events("system.overload")
        assert overload.attrs["workflow"] == "w"
        assert r.service.dispatcher.status("w")["dropped"] == {"full": 16}


async def test_runs_over_the_limit_of_all_wait_by_priority(tmp_path):
    """Critical before normal before low."""
    text = "concurrency: parallel\ntriggers: {path: in/*}\npriority: %s\n" + LOG
    async with rig(
        tmp_path, Automation(max_concurrent_workflows=1), low=text % "low", mid=text % "normal", top=text % "critical"
    ) as r:
        r.save("in/a")
        r.save("in/b")
        runs = await r.settled()
        order = {"top": 0, "mid": 1, "low": 2}
        names = [run.workflow for run in sorted(runs, key=lambda run: run.started_ns)[1:]]
        assert names == sorted(names, key=order.__getitem__)


async def test_files_that_were_there_before_are_presented(tmp_path):
    """Each once, under the first file type asked for, and only those that match."""
    for name in ("in/a.txt", "in/sub/b.txt", "in/c.bin", "out/d.txt"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    text = "triggers: {path: 'in/**/*.txt', backfill: existing, settle: 10ms}\n" + LOG
    async with rig(tmp_path, w=text) as r:
        await r.until(lambda: len(r.runs) == 2)
        runs = await r.settled()
        assert sorted(targets(runs)) == ["in/a.txt", "in/sub/b.txt"]
        assert runs[0].event["type"] == "file.closed" and runs[0].event["attrs"]["existing"] is True
        await r.service.command("reload", 0)
        assert len(await r.settled()) == 2


async def test_backfill_of_what_is_not_there_is_no_error(tmp_path):
    """A folder may come later."""
    async with rig(tmp_path, w="triggers: {path: 'in/**', backfill: existing}\n" + LOG) as r:
        assert await r.settled() == [] and r.service.library.entries["w"].active


async def test_a_schedule_fires_and_is_an_event(tmp_path, autojump_clock):
    """`every` on the service's clock."""
    base = 1_700_000_000.0
    start = trio.current_time()
    r = Rig(tmp_path, {"w.yaml": "triggers: {every: 10s}\n" + LOG}, wall=lambda: base + trio.current_time() - start)
    async with trio.open_nursery() as nursery:
        await nursery.start(r.service.run)
        await trio.sleep(35)
        assert [run.trigger for run in r.runs] == ["schedule#0"] * 3
        times = [e.attrs["scheduled"] - base for e in r.events("system.schedule")]
        assert [round(t) for t in times] == [10, 20, 30]
        await r.service.shutdown(1)
    os.close(r.root_fd)


async def test_nothing_starts_while_paused(tmp_path):
    """What happens meanwhile is let pass; settling files go on after resume."""
    async with rig(tmp_path, w="triggers: {path: in/*, settle: 500ms}\n" + LOG) as r:
        r.save("in/before")
        await trio.sleep(0.005)
        assert "paused" in await r.service.command("pause", 0)
        r.save("in/meanwhile")
        await trio.sleep(0.6)
        assert r.runs == [] and r.service.status()["paused"]
        await r.service.command("resume", 0)
        assert targets(await r.settled()) == ["in/before"]


async def test_a_trigger_that_raises_is_switched_off_with_its_reason(tmp_path, monkeypatch):
    """The others go on, and publishing never notices."""
    feed = OnEvent.feed

    def broken(self, event, now):
        if self.workflow == "bad":
            raise RuntimeError("a bug")
        return feed(self, event, now)

    monkeypatch.setattr(OnEvent, "feed", broken)
    both = {"bad": "triggers: {path: in/*}\n" + LOG, "good": "triggers: {path: in/*}\n" + LOG}
    async with rig(tmp_path, **both) as r:
        r.save("in/a")
        r.save("in/b")
        assert [run.workflow for run in await r.settled()] == ["good", "good"]
        entry = r.service.library.entries["bad"]
        assert not entry.active and "a bug" in entry.fault
        assert [e.attrs["name"] for e in r.events("system.definition") if e.attrs["status"] == "failed"] == ["bad"]
        monkeypatch.undo()
        assert "enabled" in await r.service.command("enable bad", 0)
        r.save("in/c")
        assert {run.workflow for run in (await r.settled())[2:]} == {"good", "bad"}


async def test_only_what_a_trigger_asks_for_makes_opens_costly(tmp_path):
    """A settling trigger follows writes if they are seen, but does not ask for them."""
    triggers = "triggers: [{path: in/**, settle: 1s}, {types: file.written, path: log/*}]\n"
    async with rig(tmp_path, w=triggers + LOG) as r:
        wants = r.service.dispatcher.subscription.wants
        assert not wants("file.written", "in/a", ANYBODY) and wants("file.written", "log/a", ANYBODY)
        assert wants("file.closed", "in/a", ANYBODY)


async def test_a_run_by_hand_takes_input_and_a_file(tmp_path):
    """`path` in the input is the event's file, with its size; defaults come from the manual trigger."""
    text = "triggers: {type: manual, input: {who: nobody, n: 1}}\n"
    text += "steps: [{log: {message: '{{ json([input, event.size]) }}'}}]"
    async with rig(tmp_path, w=text) as r:
        r.save("some file", b"1234")
        await r.service.command('run w {"path": "/some file", "who": "me"}', 0)
        await r.service.command("run w", 0)
        first, second = await r.settled()
        assert json.loads(first.output["message"]) == [{"who": "me", "n": 1, "path": "/some file"}, 4]
        assert json.loads(second.output["message"]) == [{"who": "nobody", "n": 1}, None]
        assert first.event["target"] == "some file" and first.trigger == "manual"


async def test_a_name_that_is_not_unicode_goes_all_the_way(tmp_path):
    """From the event through templates to the backing tree."""
    text = "triggers: {path: in/*}\nsteps: [{move: {source: '{{ event.target }}', target: 'done/{{ event.name }}'}}]"
    async with rig(tmp_path, w=text) as r:
        name = "in/caf\udce9"
        r.save(name)
        (run,) = await r.settled()
        assert run.status == "succeeded" and r.files() == ["done/caf\udce9"]
        json.dumps(run.as_dict())
