"""Actions within whole runs: dry runs of one workflow, effects that are taken back, secrets in the hands of scripts."""

import json
import os

import pytest
import trio

from automation.permissions import Permissions
from tests.automation_rig import rig
from tests.test_actions_web import serving


async def test_one_workflow_can_run_on_paper(tmp_path):
    """`dry_run: true` records what it would do, marks its events, and leaves the other workflows as they are."""
    paper = """
name: paper
dry_run: true
triggers: {types: file.closed, path: "in/**"}
steps:
  - {name: keep, action: {type: move, from: "{{ event.path }}", to: "kept/{{ event.name }}"}}
  - {name: size, action: {type: stat, path: "{{ steps.keep.path }}"}}
"""
    real = (
        "name: real\ntriggers: {types: file.closed, path: in/a}\nsteps: [{action: {type: write, path: x, content: y}}]"
    )
    async with rig(tmp_path, paper=paper, real=real) as r:
        r.save("in/a", b"123")
        runs = {run.workflow: run for run in await r.settled()}
        assert runs["paper"].status == "succeeded", runs["paper"].error
        assert r.files() == ["in/a", "x"]
        assert runs["paper"].steps[0].result["would"]["action"] == "move"
        assert runs["paper"].output["size"] == 3
        marks = {(e.attrs["workflow"], e.attrs.get("dry_run", False)) for e in r.events("workflow")}
        assert marks == {("paper", True), ("real", False)}


async def test_a_failed_run_takes_its_effects_back(tmp_path):
    """`compensate: auto`: what was overwritten, deleted and moved is as before, whatever a script did too."""
    text = """
name: risky
triggers: {types: user.go}
steps:
  - {compensate: auto, action: {type: write, path: a, content: new}}
  - {compensate: auto, action: {type: delete, path: d, recursive: true}}
  - {compensate: auto, action: {type: lua, script: "move('b', 'deep/er/b') set_mode('a', '0600') write('made', 'x')"}}
  - {action: {type: command, argv: ["false"]}}
"""
    async with rig(tmp_path, risky=text) as r:
        (r.root / "d/e").mkdir(parents=True)
        for name, content in (("a", "old"), ("b", "bee"), ("d/e/f", "eff")):
            (r.root / name).write_text(content)
            os.utime(r.root / name, (1e9, 1e9))
        r.publish("user.go")
        (run,) = await r.settled()
        assert run.status == "compensated", run.error
        assert r.files() == ["a", "b", "d/e/f"] and not (r.root / "deep").exists()
        assert [r.text(name) for name in ("a", "b", "d/e/f")] == ["old", "bee", "eff"]
        assert all((r.root / name).stat().st_mtime == 1e9 for name in ("a", "b", "d/e/f"))
        assert (r.root / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("language", "script"),
    [
        ("lua", "return http{url = parameters.url, auth = {bearer = secrets.token}}.status"),
        ("javascript", "http({url: parameters.url, auth: {bearer: secrets.token}}).status"),
        ("python", "http(url=parameters['url'], auth={'bearer': secrets['token']})['status']"),
    ],
)
async def test_a_script_may_use_a_secret_and_never_sees_it(tmp_path, language, script):
    """It holds a reference, which the executor opens in a field that takes one, and nowhere else."""
    vault = tmp_path / "vault"
    vault.mkdir()
    (vault / "token").write_text("t0ken-value")
    (vault / "token").chmod(0o600)
    leak = {"lua": "write('x', secrets.token)", "python": "write('x', secrets['token'])"}
    leak["javascript"] = "write('x', secrets.token)"
    with serving() as server:
        steps = [
            {"action": {"type": "script", "language": language, "script": script, "parameters": {"url": server.url}}},
            {"action": {"type": "script", "language": language, "script": leak[language]}},
        ]
        text = json.dumps({"name": "s", "triggers": {"types": "user.go"}, "steps": steps})
        permissions = Permissions(allow_hosts=("127.0.0.1",), secrets=str(vault))
        async with rig(tmp_path, permissions=permissions, s=text) as r:
            r.publish("user.go")
            (run,) = await r.settled()
            assert server.seen[0]["headers"]["authorization"] == "Bearer t0ken-value", run.error
            assert "cannot take the secret 'token'" in run.error and r.files() == []
            assert "t0ken-value" not in json.dumps(run.as_dict())


async def test_a_long_copy_tells_how_far_it_is(tmp_path, monkeypatch):
    """The step's record has bytes done and in all while it runs."""
    monkeypatch.setattr("automation.workspace.watching._PACE", 0.0)
    monkeypatch.setattr("automation.workspace.copying._FICLONE", 0)
    text = "name: big\ntriggers: {types: user.go}\nsteps: [{action: {type: copy, from: a, to: b}}]"
    async with rig(tmp_path, big=text) as r:
        (r.root / "a").write_bytes(bytes(40 << 20) + b"x" + bytes(40 << 20))
        with (r.root / "a").open("r+b") as file:
            for at in range(0, 80 << 20, 1 << 20):
                file.seek(at)
                file.write(b"data")
        seen = set()
        r.publish("user.go")
        with trio.fail_after(90):
            while not r.runs or not r.runs[0].finished:
                await trio.sleep(0.001)
                seen |= {run.steps[0].progress for run in r.runs if run.steps[0].progress}
        assert r.runs[0].status == "succeeded" and seen and all(0 <= done <= total for done, total in seen)


async def test_each_call_of_a_script_has_a_key_of_its_own(tmp_path):
    """A server that goes by the key must not take the second call for the first; a retry has the same keys."""
    script = "for i = 1, 2 do http{url = parameters.url, method = 'POST', body = i} end fail('again')"
    with serving() as server:
        action = {"type": "lua", "script": script, "parameters": {"url": server.url}}
        steps = [{"action": action, "retry": {"attempts": 2, "backoff": "1ms"}}]
        text = json.dumps({"name": "s", "triggers": {"types": "user.go"}, "steps": steps})
        async with rig(tmp_path, s=text) as r:
            r.publish("user.go")
            (run,) = await r.settled()
        keys = [seen["headers"]["idempotency-key"] for seen in server.seen]
        assert keys == [f"{run.id}:step1#1", f"{run.id}:step1#2"] * 2


@pytest.mark.parametrize(
    ("on", "attempts"), [("http_503", 3), ("http_5xx", 3), ("http_4xx", 1), ("circuit_open", 1), ("world", 3)]
)
async def test_retry_rules_tell_answers_and_open_breakers_apart(tmp_path, on, attempts):
    """By the status of an answer; what a secret hides keeps its class."""
    with serving() as server:
        action = {"type": "http", "url": f"{server.url}/busy", "headers": {"X": "secret:token"}}
        steps = [{"action": action, "retry": {"attempts": 3, "backoff": "1ms", "on": [on]}}]
        text = json.dumps({"name": "s", "triggers": {"types": "user.go"}, "steps": steps})
        (tmp_path / "token").write_text("answered")  # so that the error is one that was made again
        (tmp_path / "token").chmod(0o600)
        permissions = Permissions(allow_hosts=("127.0.0.1",), secrets=str(tmp_path))
        async with rig(tmp_path, permissions=permissions, s=text) as r:
            r.publish("user.go")
            (run,) = await r.settled()
        assert (run.steps[0].attempts, len(server.seen)) == (attempts, attempts), run.error
        assert "[secret token] 503" in run.error


async def test_a_step_that_fails_half_way_is_taken_back_too(tmp_path):
    """A script that changed two files and then failed, at each attempt: with `compensate: auto` nothing is left."""
    action = {"type": "lua", "script": "write('a', 'new') if stat('b').exists then move('b', 'c') end fail('half way')"}
    steps = [{"action": action, "compensate": "auto", "retry": {"attempts": 2, "backoff": "1ms"}}]
    text = json.dumps({"name": "half", "triggers": {"types": "user.go"}, "steps": steps})
    async with rig(tmp_path, half=text) as r:
        for name in ("a", "b"):
            (r.root / name).write_text(f"old {name}")
        r.publish("user.go")
        (run,) = await r.settled()
        assert run.steps[0].attempts == 2 and run.status == "compensated", run.error
        assert {name: r.text(name) for name in r.files()} == {"a": "old a", "b": "old b"}
