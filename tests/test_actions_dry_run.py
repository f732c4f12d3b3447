"""A dry run does nothing: every action of the table, on a real tree, with everything that it could reach watched."""

import ast
import hashlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from automation.actions import ACTIONS, Performer, Recorder, build_action
from automation.errors import WorldError
from tests.automation_rig import rig
from tests.effects import acting_in

ACTION_FILES = Path(__file__).parent.parent / "automation" / "actions"

EVERY = [
    {"type": "copy", "source": "a", "target": "new/b"},
    {"type": "copy", "source": "d", "target": "e", "recursive": True},
    {"type": "move", "source": "a", "target": "b", "overwrite": True},
    {"type": "delete", "path": "d", "recursive": True},
    {"type": "write", "path": "b", "content": "new"},
    {"type": "write", "path": "b", "content": "more", "append": True},
    {"type": "read", "path": "a"},
    {"type": "mkdir", "path": "x/y"},
    {"type": "list"},
    {"type": "stat", "path": "a"},
    {"type": "set_mode", "path": "a", "mode": "0600"},
    {"type": "set_xattr", "path": "a", "name": "k", "value": "v"},
    {"type": "set_owner", "path": "a", "uid": 1, "gid": 2},
    {"type": "link", "target": "a", "path": "l"},
    {"type": "link", "target": "a", "path": "s", "symbolic": True},
    {"type": "archive", "sources": ["d"], "target": "d.tar.gz"},
    {"type": "extract", "source": "a", "target": "u", "format": "zip"},
    {"type": "snapshot", "path": "d", "keep": 1},
    {"type": "undo", "of": [{"op": "mode", "path": "a", "inode": 1, "mode": 0}]},
    {"type": "checksum", "path": "a"},
    {"type": "command", "argv": ["/bin/sh", "-c", "touch made; touch {top}/made"]},
    {"type": "http", "url": "{url}", "method": "POST", "body": "x"},
    {"type": "send_notification", "message": "x", "webhook": "{url}"},
    {"type": "send_notification", "message": "x", "desktop": True},
    {"type": "update_database", "sqlite": "{top}/../x.db", "sql": "CREATE TABLE t (a)", "create": True},
    {"type": "ml_inference", "model": "m", "input": {"x": [1]}},
    {"type": "predict", "model": "m"},
    {"type": "trigger_workflow", "workflow": "w"},
    {"type": "execute_rule", "rule": "r"},
    {"type": "emit_event", "event": "user.x"},
    {"type": "update_state", "path": "k", "value": 2},
    {"type": "log", "message": "hello"},
    {
        "type": "script",
        "language": "python",
        "script": "write('b', 'by python')\nfile.delete('a')\ncommand(['touch', 'made'])",
    },
    {"type": "lua", "script": "write('b', 'by lua') delete('a') command{'touch', 'made'} return 1"},
]


OUTSIDE = ("trigger_workflow", "execute_rule", "send_notification", "update_database", "ml_inference", "predict")


def snapshot(top: Path) -> list[tuple[Any, ...]]:
    """Everything that there is to know of a tree."""
    found = []
    for path in sorted(top.rglob("*")):
        info = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        names = tuple((name, os.getxattr(path, name)) for name in os.listxattr(path))
        kept = (info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_ino, info.st_nlink)
        found.append((str(path), *kept, info.st_mtime_ns, info.st_ctime_ns, content, names))
    return [*found, (top.stat().st_mtime_ns,)]


def filled(value: Any, **known: str) -> Any:
    """A mapping with `{name}` replaced in its texts."""
    if isinstance(value, dict):
        return {name: filled(item, **known) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, **known) for item in value]
    for name, text in known.items():
        value = value.replace(f"{{{name}}}", text) if isinstance(value, str) else value
    return value


class Audit:
    """What the interpreter reports of everything that could have an effect, while `watching`; a hook stays for good."""

    TOLD = ("mkdir", "remove", "rename", "rmdir", "link", "symlink", "chmod", "chown", "setxattr", "removexattr")
    WATCHED = frozenset(f"os.{name}" for name in (*TOLD, "truncate", "utime", "exec", "posix_spawn", "fork", "system"))
    OUTSIDE = frozenset(("subprocess.Popen", "socket.connect", "socket.sendto", "sqlite3.connect", "smtplib.connect"))

    def __init__(self) -> None:
        self.watching = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        writes = (
            event == "open"
            and arguments[0] != os.devnull
            and isinstance(arguments[2], int)
            and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if writes or event in self.WATCHED or event in self.OUTSIDE:
            self.seen.append(f"{event} {arguments}")


AUDIT = Audit()


@pytest.fixture
async def act(tmp_path: Path):
    async with acting_in(tmp_path) as one:
        top = one.tree.top
        (top / "a").write_text("alpha")
        (top / "b").write_text("beta")
        (top / "d/deep").mkdir(parents=True)
        (top / "d/deep/c").write_text("gamma")
        yield one


def test_every_action_is_tried():
    """An action that is added to the table is added to the dry run's proof."""
    assert {raw["type"] for raw in EVERY} == set(ACTIONS)


@pytest.mark.parametrize("raw", EVERY, ids=lambda raw: raw["type"])
async def test_an_action_on_paper_changes_nothing(act, raw, caplog, monkeypatch):
    """Neither the tree nor the state, no event, no child, no connection; the result says what would have been."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        act.context.state.set("k", 1)
        act.tree.events()
        before = snapshot(act.tree.top)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        action = build_action(filled(raw, top=str(act.tree.top), url=url))
        started: list[Any] = []
        monkeypatch.setattr(act.context.commands, "run", lambda *args, **more: started.append(args))
        AUDIT.seen, AUDIT.watching = [], True
        try:
            result = await Recorder().perform(action, act.context)
        finally:
            AUDIT.watching = False
        workers = raw["type"] in ("lua", "script")  # they compute in processes of their own
        assert not [one for one in AUDIT.seen if not (workers and one.startswith("subprocess.Popen"))]
        assert snapshot(act.tree.top) == before
        assert act.context.state.as_dict() == {"k": 1}
        assert act.tree.events() == [] and started == []
        assert not [r for r in caplog.records if r.name == "automation.workflow"]
        with pytest.raises(BlockingIOError):
            listener.accept()
    looks = raw["type"] in ("read", "list", "stat", "checksum", "lua", "script")
    assert looks or (result["dry_run"] is True and result["would"]["action"] == raw["type"])


async def test_results_on_paper_are_those_of_acting_as_far_as_they_are_known(act):
    """What the recorder answers and what the performer answers agree wherever the first is not null."""
    known = [
        raw
        for raw in EVERY
        if raw["type"]
        not in ("command", "http", "lua", "script", "move", "delete", "extract", "snapshot", "undo", *OUTSIDE)
    ]
    for raw in known:
        foreseen = await Recorder().perform(build_action(raw), act.context)
        done = await Performer().perform(build_action(raw), act.context)
        for name, value in foreseen.items():
            assert name in ("dry_run", "would") or value is None or value == done[name], (raw, name)


async def test_later_steps_see_what_earlier_ones_would_have_left(act):
    """A written file has its content, a copy reads as its source, what was moved or deleted is gone."""
    paper = Recorder()

    async def do(type: str, **fields: Any) -> Any:
        return await paper.perform(build_action({"type": type, **fields}), act.context)

    await do("write", path="n/new", content="text")
    assert (await do("read", path="n/new"))["text"] == "text"
    await do("copy", source="n/new", target="n/again")
    assert (await do("checksum", path="n/again"))["digest"] == hashlib.sha256(b"text").hexdigest()
    await do("move", source="d", target="moved")
    assert (await do("read", path="moved/deep/c"))["text"] == "gamma"
    with pytest.raises(WorldError, match="would have removed it"):
        await do("read", path="d/deep/c")
    await do("delete", path="a")
    assert await do("stat", path="a") == {"exists": False}
    assert [one["name"] for one in (await do("list"))["entries"]] == ["b", "moved"]
    await do("write", path="b", content="more", append=True)
    assert (await do("read", path="b"))["text"] is None
    with pytest.raises(WorldError, match="file exists"):
        await do("copy", source="b", target="n/new")


async def test_what_would_be_overwritten_is_told(act):
    """The record names the type, size and mode of what is there now, and the rendered parameters."""
    result = await Recorder().perform(build_action({"type": "write", "path": "a", "content": "x"}), act.context)
    assert result["would"] == {
        "action": "write",
        "parameters": {"path": "a", "content": "x"},
        "path": {"type": "file", "size": 5, "mode": "0644"},
    }


async def test_a_mount_in_a_dry_run_carries_runs_out_on_paper(tmp_path):
    """The whole service: a workflow succeeds, later templates find their values, and not a byte has moved."""
    text = """
name: sort
triggers: {types: file.closed, path: "in/**"}
steps:
  - {name: digest, action: {type: checksum, path: "{{ event.path }}"}}
  - {name: keep, action: {type: move, from: "{{ event.path }}", to: "store/{{ steps.digest.digest }}"}}
  - {name: note, action: {type: write, path: log, content: "{{ steps.keep.path }}"}}
"""
    async with rig(tmp_path, sort=text, dry_run=True) as r:
        r.save("in/x", b"12345")
        (run,) = await r.settled()
        assert run.status == "succeeded", run.error
        assert r.files() == ["in/x"] and r.service.status()["dry_run"]
        digest = hashlib.sha256(b"12345").hexdigest()
        assert run.steps[2].result["would"]["parameters"] == {"path": "log", "content": f"store/{digest}"}


async def test_the_audit_would_see_it(act):
    """The proof's own proof: performed for real, the same actions are noticed."""
    for raw in ({"type": "write", "path": "x", "content": "y"}, {"type": "command", "argv": ["true"]}):
        AUDIT.seen, AUDIT.watching = [], True
        try:
            await Performer().perform(build_action(raw), act.context)
        finally:
            AUDIT.watching = False
        assert AUDIT.seen


PERFORMERS = {
    "executor", "self.executor", "self._executor", "self.means", "self._journal.writer",  # executors
    "opened", "self", "self._script()", "self._call(channel, context)",  # within an action that is being performed
}  # fmt: skip


def test_only_executors_perform_actions():
    """Whoever has an action hands it to one: nobody else calls `perform` on it."""
    for path in ACTION_FILES.parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "perform":
                assert ast.unparse(node.func.value) in PERFORMERS, f"{path}: {ast.unparse(node)}"


# What only the equipment of a context may do. An action's file names none of it.
EFFECTFUL = {"os", "subprocess", "socket", "shutil", "ssl", "smtplib", "sqlite3", "psycopg", "multiprocessing"}
EFFECTFUL |= {"pathlib", "tempfile", "io", "fcntl", "asyncio", "threading", "signal", "ctypes", "onnxruntime", "urllib"}


@pytest.mark.parametrize("name", sorted({model.__module__ for model in ACTIONS.values()}))
def test_an_action_acts_through_its_context_only(name):
    """Its file imports nothing that could touch a file, a process or the network, and opens nothing."""
    tree = ast.parse((ACTION_FILES / f"{name.rpartition('.')[2]}.py").read_bytes())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {module.partition(".")[0] for module in imported} & EFFECTFUL
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"open", "exec", "eval", "__import__"}
