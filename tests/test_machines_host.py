"""Machines on a running service: from files in the workflows directory to runs, events and `/.vexfs/machines`."""

import errno
import json
import os

import pytest
import trio

from automation.errors import CallerError, DefinitionError
from automation.events import SemanticEvent
from tests.automation_rig import rig
from tests.control_rig import FakeService, Kernel, refused

UPLOAD = """
kind: machine
key: path
path: inbox/**
states:
  waiting:
    on: {file.closed: copying}
  copying:
    entry: [{copy: {source: "{{ event.path }}", target: "out/{{ event.name }}"}}]
    on:
      done.action: finished
      error.action: {target: failed, do: [{write: {path: "why.txt", content: "{{ event.attrs.error }}"}}]}
    after: {1h: failed}
  finished: {type: final}
  failed: {on: {again: copying}}
"""


async def test_a_machine_of_the_workflows_directory_acts_and_learns_how_it_ended(tmp_path):
    """An entry action becomes a run; its end is an event of the machine; each change of states is one of the bus."""
    async with rig(tmp_path, upload=UPLOAD) as one:
        one.save("inbox/a.txt", b"hello")
        await one.settled()
        assert one.text("out/a.txt") == "hello"
        (run,) = one.runs
        assert (run.workflow, run.status, run.firing.kind, run.input["key"]) == (
            "upload",
            "succeeded",
            "machine",
            "inbox/a.txt",
        )
        changes = [event.attrs for event in one.events("machine.changed")]
        assert [(c["before"], c["after"]) for c in changes] == [
            ([], ["waiting"]),
            (["waiting"], ["copying"]),
            (["copying"], ["finished"]),
        ]
        assert changes[-1]["finished"] is True
        assert one.service.machines.status("upload")["instances"] == 0


async def test_a_failed_action_is_an_event_too_and_events_may_come_by_hand(tmp_path):
    """`error.action` carries the reason; `event` of the control tree tries again."""
    async with rig(tmp_path, upload=UPLOAD) as one:
        one.publish("file.closed", "inbox/gone")
        await one.settled()
        machines = one.service.machines
        assert machines.is_in("upload", "failed", "inbox/gone")
        assert "gone" in one.text("why.txt")
        one.save("inbox/gone", b"here")
        machines.event("upload", "again inbox/gone")
        await one.settled()
        assert one.text("out/gone") == "here"
        assert machines.hosted("upload").detector.states("inbox/gone") == ()


async def test_changing_the_file_keeps_the_instances_and_a_bad_change_keeps_the_machine(tmp_path):
    """A new version goes on where the old one stood; a wrong one is refused, as for workflows."""
    text = "kind: machine\nkey: none\nstates: {a: {on: {user.x: b}}, b: {}}"
    async with rig(tmp_path, m=text) as one:
        one.publish("user.x")
        await one.settled()
        assert one.service.machines.is_in("m", "b")
        await one.service.library.install("m.yaml", text.replace("b: {}", "b: {on: {user.x: c}}, c: {}"))
        assert one.service.machines.is_in("m", "b")
        with pytest.raises(DefinitionError, match="there is no state 'q'"):
            await one.service.library.install("m.yaml", text.replace("user.x: b", "user.x: q"))
        one.publish("user.x")
        await one.settled()
        assert one.service.machines.is_in("m", "c")
        await one.service.command("disable m", 0)
        assert one.service.machines.names == ()


async def test_a_renamed_directory_takes_its_instances_along(tmp_path):
    """Also for a machine whose globs name files only."""
    text = "kind: machine\npath: inbox/*.csv\nstates: {a: {on: {user.x: b}}, b: {}}"
    async with rig(tmp_path, m=text) as one:
        one.publish("user.x", "inbox/f.csv")
        one.publish("dir.renamed", "inbox", "outbox")
        await one.settled()
        assert one.service.machines.is_in("m", "b", "outbox/f.csv")


async def test_an_scxml_file_is_a_machine(tmp_path):
    """Dropped into the directory as it comes from an editor."""
    text = '<scxml><state id="a"><transition event="user.x" target="b"/></state><state id="b"/></scxml>'
    async with rig(tmp_path) as one:
        await one.service.library.install("gate.scxml", text)
        one.publish("user.x")
        await one.settled()
        assert one.service.machines.is_in("gate", "b")


async def test_delays_wait_on_the_wall_clock(tmp_path):
    """A timer moves the machine without any event."""
    async with rig(tmp_path, m="kind: machine\nkey: none\nstates: {a: {after: {1s: b}}, b: {}}") as one:
        assert one.service.machines.is_in("m", "a")
        await one.until(lambda: one.service.machines.is_in("m", "b"))


async def test_a_paused_service_moves_nothing(tmp_path):
    """Events pass unseen while it is paused."""
    async with rig(tmp_path, m="kind: machine\nkey: none\nstates: {a: {on: {user.x: b}}, b: {}}") as one:
        one.service.pause()
        one.publish("user.x")
        await trio.sleep(0.05)
        one.service.resume()
        await trio.sleep(0.05)
        assert one.service.machines.is_in("m", "a")


async def test_machines_that_answer_each_other_stop_at_the_depth_limit(tmp_path):
    """Two machines that move on each other's changes come to rest."""
    text = "kind: machine\nkey: none\nstates: {a: {on: {machine.changed: b}}, b: {on: {machine.changed: a}}}"
    async with rig(tmp_path, one=text, two=text) as service:
        service.publish("machine.changed")
        await service.settled()
        assert len(service.events("machine.changed")) < 100


async def test_the_system_state_is_seen_by_conditions_and_set_by_workflows(tmp_path):
    """A workflow sets it, a machine's condition reads it."""
    flow = "triggers: {on: user.alarm}\nsteps: [{update_state: {path: system.state, value: Emergency}}]"
    when = "state.system.state == 'Emergency'"
    text = f"kind: machine\nkey: none\nstates: {{a: {{on: {{user.x: {{target: b, when: {when}}}}}}}, b: {{}}}}"
    async with rig(tmp_path, flow=flow, m=text) as one:
        one.publish("user.x")
        one.publish("user.alarm")
        await one.settled()
        assert not one.service.machines.is_in("m", "b")
        assert one.service.state.get("system.by") == "workflow flow"
        one.publish("user.x")
        await one.settled()
        assert one.service.machines.is_in("m", "b")


async def test_a_definition_of_kind_system_sets_the_thresholds(tmp_path):
    """Its thresholds count while it is there; a wrong one is refused with its line."""
    text = "kind: system\nthresholds:\n  - {measure: waiting, state: Scaling, enter: 5}\n"
    async with rig(tmp_path, load=text) as one:
        system = one.service.system
        assert system.observe({"waiting": 6.0}, 0).new == "Scaling"
        with pytest.raises(DefinitionError, match=r"load.yaml:3: thresholds.0.mesure: .*did you mean 'measure'"):
            await one.service.library.install("load.yaml", text.replace("measure:", "mesure:"))
        await one.service.library.uninstall("load")
        assert system.observe({"waiting": 6.0}, 1).new == "Normal"


@pytest.fixture
def service():
    return FakeService()


@pytest.fixture
def kernel(service):
    return Kernel(service)


async def lines(kernel, path: str) -> list:
    return [json.loads(line) for line in (await kernel.read(path)).splitlines()]


async def test_the_control_tree_shows_machines_and_takes_events(service, kernel):
    """state, event and history of a machine; one line of JSON for each thing."""
    assert (await lines(kernel, "machines/gate/state"))[1]["states"] == ["shut"]
    await kernel.write("machines/gate/event", "user.open\n")
    assert (await lines(kernel, "machines/gate/state"))[1]["states"] == ["open"]
    assert [one["after"] for one in await lines(kernel, "machines/gate/history")] == [["shut"], ["open"]]
    assert (await lines(kernel, "machines/gate/event"))[0]["events"] == ["user.open", "user.shut"]
    for wrong in ("{", '{"event": 3}', '{"event": "x", "kee": 1}', '{"event": "x", "key": []}'):
        with refused(errno.EINVAL):
            await kernel.write("machines/gate/event", wrong)


async def test_the_control_tree_shows_and_sets_the_system_state(service, kernel):
    """A name, `auto` or an object; the history says who it was."""
    await kernel.write("machines/system/state", '{"state": "maintenance", "reason": "backup"}\n')
    assert (await lines(kernel, "machines/system/state"))[0]["reason"] == "backup"
    await kernel.write("machines/system/state", "auto")
    assert [one["new"] for one in await lines(kernel, "machines/system/history")] == ["Maintenance", "Normal"]
    with refused(errno.EINVAL):
        await kernel.write("machines/system/state", "Panic")
    assert "there is no system state 'Panic'" in await kernel.read("error")


async def test_a_removed_machine_is_gone_from_the_tree(service, kernel):
    """Its directory does not answer any more, an open one neither."""
    fh = await kernel.open("machines/gate/state", os.O_RDONLY)
    await kernel.close(fh)
    service.machines.remove("gate")
    with refused(errno.ENOENT):
        await kernel.read("machines/gate/state")
    with pytest.raises(CallerError):
        service.machines.status("gate")


def test_a_machine_that_raises_is_switched_off_with_its_reason(service):
    """The others go on, and whoever published never notices."""
    reasons = []
    service.machines.on_fault = lambda name, reason: reasons.append((name, reason))
    service.machines.hosted("gate").detector.engine.chart.states[1].transitions[0].condition = lambda scope: 1 / 0
    service.machines.subscription.offer(SemanticEvent("user.open"))
    service.machines.step()
    assert reasons == [("gate", "it raised ZeroDivisionError('division by zero')")]
    assert service.machines.names == ()
