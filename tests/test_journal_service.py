"""The journal within the whole service: restarts, changed definitions, a full disk, secrets. Real time and threads."""

import os
from contextlib import asynccontextmanager

import trio

from automation.state_directory import StateDirectory
from tests.automation_rig import Rig
from tests.full_disk import FullDisk
from tests.patience import comes_true

APPEND = "{name: %s, write: {path: log, content: '%s ', append: true}}"


@asynccontextmanager
async def life(directory, **definitions):
    """One life of a service that keeps things; ends without grace."""
    kept = StateDirectory(str(directory / "state"))
    one = Rig(directory, {f"{name}.yaml": text for name, text in definitions.items()}, kept=kept)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(one.service.run)
            yield one
            await one.service.shutdown(0)
    finally:
        os.close(one.root_fd)
        kept.close()


def version(n):
    first, last = APPEND % ("first", f"first{n}"), APPEND % ("last", f"last{n}")
    return f"triggers: {{path: in/*}}\nsteps: [{first}, {{name: rest, wait: 1s}}, {last}]"


async def test_a_run_ends_on_its_own_version(tmp_path):
    """The definition changes while a run sleeps and nothing is mounted; the run does not notice, the next one does."""
    async with life(tmp_path, flow=version(1)) as r:
        r.save("in/a")
        await comes_true(lambda: [run.status for run in r.runs] == ["waiting"])
    async with life(tmp_path, flow=version(2)) as r:
        await comes_true(lambda: [run.status for run in r.runs] == ["succeeded"])
        assert r.text("log") == "first1 last1 "
        r.save("in/b")
        await comes_true(lambda: [run.status for run in r.runs] == ["succeeded", "succeeded"])
        assert r.text("log") == "first1 last1 first2 last2 "


async def test_a_run_of_a_workflow_that_is_gone_goes_on(tmp_path):
    """What was removed meanwhile starts nothing more, and what had begun ends."""
    async with life(tmp_path, flow=version(1)) as r:
        r.save("in/a")
        await comes_true(lambda: [run.status for run in r.runs] == ["waiting"])
        identity = r.runs[0].id
    (tmp_path / "workflows" / "flow.yaml").unlink()
    async with life(tmp_path) as r:
        await comes_true(lambda: r.service.ledger.known[identity].status == "succeeded")
        assert r.text("log") == "first1 last1 "
        trace = await r.service.archive.trace(identity)
        first, rest, last = trace["steps"]
        assert first["started_ns"] < first["ended_ns"] < rest["ended_ns"] < last["started_ns"]
        assert rest["ended_ns"] - rest["started_ns"] > 10**9


async def test_a_finished_run_is_remembered_by_the_next_life(tmp_path):
    """With what its steps were given and gave, from the database alone; the list tells it too."""
    inner = "{name: out, write: {path: o, content: hi}}"
    text = f"triggers: {{path: in/*}}\nsteps: [{{name: choose, decision: {{if: 'true', then: [{inner}]}}}}]"
    async with life(tmp_path, flow=text) as r:
        r.save("in/a")
        await comes_true(lambda: [run.status for run in r.runs] == ["succeeded"])
        before = await r.service.archive.trace(r.runs[0].id)
    async with life(tmp_path, flow=text) as r:
        assert r.runs == [] and [run_id for run_id, _ in r.service.archive.summaries("flow")] == [before["id"]]
        after = await r.service.archive.trace(before["id"])
        assert after["events"] == before["events"] and after["output"] == before["output"]
        (choose,) = after["steps"]
        assert choose["branch"] == "then" and choose["action"] == "decision"
        (out,) = choose["steps"]
        assert out["result"] == before["steps"][0]["steps"][0]["result"] and out["input"]["content"] == "hi"


async def test_a_full_disk_stops_runs_and_nothing_else(tmp_path, monkeypatch):
    """Runs stop at their next record, which is said; when there is room they go on, and nothing is lost or doubled."""
    monkeypatch.setattr("automation.journal.writer.RETRY_SECONDS", 0.02)
    text = f"triggers: {{path: in/*}}\nsteps: [{APPEND % ('a', 'a')}, {APPEND % ('b', 'b')}]"
    async with life(tmp_path, flow=text) as r:
        disk = FullDisk(r.service.journal.writer)
        disk.full = True
        for number in range(200):
            r.save(f"in/{number}")
        await comes_true(lambda: r.bus.counts["system.overload"])
        assert "full" in r.service.status()["journal"]["stalled"]
        stalled = [e for e in r.events("system.overload") if e.attrs.get("reason") == "journal"]
        assert len(stalled) == 1 and "full" in stalled[0].attrs["said"]
        disk.full = False
        await comes_true(lambda: r.service.runner.counts["flow", "succeeded"] == 200)
        assert sorted(r.text("log").split()) == ["a"] * 200 + ["b"] * 200
        assert not r.service.journal.stalled


async def test_a_full_disk_does_not_keep_the_service_from_ending(tmp_path, monkeypatch):
    """What cannot be recorded at the end stops where it is, and goes on in the next life."""
    text = f"triggers: {{path: in/*}}\nsteps: [{APPEND % ('a', 'a')}, {APPEND % ('b', 'b')}]"
    with trio.fail_after(90):
        async with life(tmp_path, flow=text) as r:
            FullDisk(r.service.journal.writer).full = True
            for number in range(100):
                r.save(f"in/{number}")
            await comes_true(lambda: r.service.journal.stalled)
    async with life(tmp_path, flow=text) as r:
        await comes_true(lambda: r.service.runner.counts["flow", "succeeded"] + _earlier(r) == 100)
        words = r.text("log").split()
        assert set(words) == {"a", "b"} and words.count("b") >= 100


def _earlier(r):
    return sum(
        one.status == "succeeded" for run, one in r.service.ledger.known.items() if run not in r.service.runner.runs
    )


async def test_a_full_disk_does_not_keep_a_cancelled_service_from_ending(tmp_path):
    """Not even one that has no time to end in order."""
    kept = StateDirectory(str(tmp_path / "state"))
    one = Rig(tmp_path, {"flow.yaml": f"triggers: {{path: in/*}}\nsteps: [{APPEND % ('a', 'a')}]"}, kept=kept)
    with trio.fail_after(90):
        async with trio.open_nursery() as nursery:
            await nursery.start(one.service.run)
            FullDisk(one.service.journal.writer).full = True
            one.save("in/a")
            await comes_true(lambda: one.service.journal.stalled)
            nursery.cancel_scope.cancel()
    kept.close()


async def test_no_secret_is_in_anything_that_is_written(tmp_path, caplog):
    """A command prints a secret and fails with it: no file, log, event, trace or status has the value."""
    value = "hunter2/very+secret"
    vault = tmp_path / "state" / "secrets"
    vault.mkdir(parents=True, mode=0o700)
    (tmp_path / "state").chmod(0o700)
    (vault / "token").write_text(value)
    (vault / "token").chmod(0o600)
    text = """
triggers: {path: in/*}
steps:
  - name: tell
    command: {argv: [sh, -c, 'echo "$TOKEN"; echo "$TOKEN" >&2'], env: {TOKEN: "{{ secrets.token }}"}}
  - name: fail
    command: {argv: [sh, -c, 'echo "$TOKEN" >&2; exit 3'], env: {TOKEN: "secret:token"}}
"""
    async with life(tmp_path, flow=text) as r:
        r.save("in/a")
        await comes_true(lambda: [run.status for run in r.runs] == ["failed"])
        trace = await r.service.archive.trace(r.runs[0].id)
        shown = [str(trace), str(r.service.status()), str([e.as_dict() for e in r.events()]), caplog.text]
    assert "[secret token]" in str(trace["steps"][0]["result"])
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file() and path.parent.name != "secrets"]
    assert any(path.name == "journal.db" for path in files)
    for path in files:
        assert value.encode() not in path.read_bytes(), path
    assert not [text for text in shown if value in text]
