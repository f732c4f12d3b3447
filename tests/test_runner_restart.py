"""Runs over the end of a mount and the beginning of the next, with a ledger on the disk."""

import os
from contextlib import asynccontextmanager

import trio

from automation.state_directory import StateDirectory
from tests.automation_rig import Rig

PARENT = """
triggers: {type: manual}
steps:
  - name: a
    write: {path: log, content: "a ", append: true}
    compensate: {write: {path: log, content: "-a ", append: true}}
  - {name: b, trigger_workflow: {workflow: child}}
  - {name: c, write: {path: log, content: "c {{ steps.b.output.said }}", append: true}}
"""
CHILD = """
steps:
  - {name: a, write: {path: log, content: "child ", append: true}}
  - {name: b, wait: {event: {types: user.go}}}
outputs: {said: "{{ steps.b.path }}"}
"""
COUNTER = """
workflow_type: event_driven
triggers: {types: user.tick, key: workflow}
lifetime: {count: 4}
vars: {n: 0}
steps: [{set: {n: "{{ vars.n + 1 }}"}}]
outputs: {n: "{{ vars.n }}"}
"""


@asynccontextmanager
async def mounted(path, **definitions):
    """One life of a mount with a state directory."""
    kept = StateDirectory(str(path / "state"))
    r = Rig(path, {f"{name}.yaml": text for name, text in definitions.items()}, kept=kept)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(r.service.run)
            yield r
            await r.service.shutdown(0.2)
    finally:
        os.close(r.root_fd)
        kept.close()


def named(r, name):
    return [run for run in r.runs if run.workflow == name]


async def test_a_parent_and_its_child_go_on(tmp_path):
    """What waits is suspended, not cancelled; nothing is done twice; the result still goes up."""
    async with mounted(tmp_path, parent=PARENT, child=CHILD) as r:
        await r.service.command("run parent", 0)
        await r.until(lambda: [run.status for run in r.runs] == ["waiting", "waiting"])
    assert {run.status for run in r.runs} == {"suspended"} and r.text("log") == "a child "
    async with mounted(tmp_path, parent=PARENT.replace("c {{", "other {{"), child=CHILD) as r:
        await r.until(lambda: [run.status for run in r.runs] == ["waiting", "waiting"])
        r.publish("user.go", "there")
        await r.until(lambda: all(run.finished for run in r.runs))
        assert {run.status for run in r.runs} == {"succeeded"} and r.text("log").strip() == "a child c there"
        assert named(r, "child")[0].parent[0] == named(r, "parent")[0].id


async def test_a_resumed_run_can_be_cancelled(tmp_path):
    """What it did in its earlier life is undone."""
    async with mounted(tmp_path, parent=PARENT, child=CHILD) as r:
        await r.service.command("run parent", 0)
        await r.until(lambda: [run.status for run in r.runs] == ["waiting", "waiting"])
    async with mounted(tmp_path, parent=PARENT, child=CHILD) as r:
        await r.until(lambda: [run.status for run in r.runs] == ["waiting", "waiting"])
        (parent,) = named(r, "parent")
        await r.service.command(f"cancel {parent.id}", 0)
        await r.until(lambda: all(run.finished for run in r.runs))
        assert {run.status for run in r.runs} == {"cancelled"} and r.text("log").strip() == "a child -a"


async def test_an_event_driven_run_goes_on_with_its_key(tmp_path):
    """Events of either life reach it; what it counted is remembered."""
    async with mounted(tmp_path, counter=COUNTER) as r:
        for _ in range(2):
            r.publish("user.tick")
        await r.until(lambda: bool(r.runs) and r.runs[0].received == 2 and r.runs[0].status == "waiting")
    async with mounted(tmp_path, counter=COUNTER) as r:
        await r.until(lambda: bool(r.runs) and r.runs[0].status == "waiting")
        for _ in range(2):
            r.publish("user.tick")
        await r.until(lambda: r.runs[0].finished)
        assert len(r.runs) == 1 and r.runs[0].output == {"n": 4}


ASKS = """
triggers: {type: manual}
steps:
  - {name: reply, wait: {event: {path: "{{ input.to }}/*.txt", where: event.size > 0}, existing: true}}
outputs: {from: "{{ steps.reply.path }}", there: "{{ steps.reply.attrs.existing }}"}
"""


async def test_a_file_that_came_while_nothing_was_mounted_ends_a_wait(tmp_path):
    """Nobody saw it come; the wait looks again when it goes on. One that was there before ends it at once."""
    async with mounted(tmp_path, asks=ASKS) as r:
        await r.service.command('run asks {"to": "answers"}', 0)
        await r.until(lambda: r.runs[0].status == "waiting")
    (tmp_path / "root" / "answers").mkdir()
    for name, content in (("a.txt", ""), ("b.md", "x"), ("c.txt", "yes")):
        (tmp_path / "root" / "answers" / name).write_text(content)
    async with mounted(tmp_path, asks=ASKS) as r:
        await r.until(lambda: r.runs[0].finished)
        assert r.runs[0].output == {"from": "answers/c.txt", "there": True}
        run = await r.carried_out("asks", '{"to": "answers"}')
        assert run.output == {"from": "answers/c.txt", "there": True}


WIDE = """
workflow_type: parallel
triggers: {type: manual}
steps:
  - {name: first, write: {path: w/first, content: x}}
  - name: all
    loop:
      for_each: [0, 1, 2, 3, 4, 5, 6, 7]
      max_concurrency: 8
      do: [{write: {path: "w/{{ item }}", content: x}}]
"""


async def test_many_branches_of_a_run_are_recorded_at_once(tmp_path):
    """While one batch is on its way to the disk any number of branches waits for the next."""
    async with mounted(tmp_path, wide=WIDE) as r:
        run = await r.carried_out("wide")
        assert (run.status, run.error) == ("succeeded", "") and len(r.files()) == 9
