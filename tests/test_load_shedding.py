"""Under load things are given up in the stated order, counted exactly, and taken up again."""

import re
from pathlib import Path

import pytest
import trio

from automation.bus import Bus
from automation.dispatcher import ORDINARY
from automation.shedding import ORDER, Shedding
from tests.automation_rig import rig
from tests.mounting import mounted, scratch

PAGE = (Path(__file__).parent.parent / "docs" / "load.md").read_text()
WORKFLOW = """
priority: {priority}
triggers: {{types: user.go}}
concurrency: parallel
steps: [{{write: {{path: {priority}, content: x, append: true}}}}]
"""
STREAM = "kind: analytics\nstreams: {s: {events: user.go, window: {count: 1}}}"
PRIORITIES = ("low", "normal", "high", "critical")


@pytest.mark.parametrize(
    ("state", "starts", "analysed"),
    [
        ("Normal", PRIORITIES, 3),
        ("Scaling", PRIORITIES, 3),
        ("HighLoad", PRIORITIES, 0),
        ("Degraded", ("normal", "high", "critical"), 0),
        ("Emergency", ("high", "critical"), 0),
        ("Maintenance", PRIORITIES, 3),
    ],
)
async def test_each_state_gives_up_what_is_stated(tmp_path, autojump_clock, state, starts, analysed):
    """Three events: who reacts, and the exact count of what did not; Normal takes everything up again."""
    definitions = {priority: WORKFLOW.format(priority=priority) for priority in PRIORITIES}
    async with rig(tmp_path, stream=STREAM, **definitions) as one:
        service = one.service
        service.state.set("system.state", state)
        for _ in range(3):
            one.publish("user.go")
        await one.settled()
        assert sorted(one.files()) == sorted(starts)
        assert service.analytics.node("stream.s").taken == analysed
        given_up = ORDER.get(state, ())
        assert service.shedding.counts == {what: 3 for what in given_up if what in ("analytics", *PRIORITIES)}
        assert service.shedding.given_up == given_up
        for priority in set(PRIORITIES) - set(starts):
            assert service.workflow_status(priority)["dropped"] == {"shed": 3}
        service.state.set("system.state", "Normal")
        one.publish("user.go")
        await one.settled()
        assert sorted(one.files()) == sorted(PRIORITIES) and service.shedding.given_up == ()


async def test_it_is_announced(tmp_path, autojump_clock):
    """When it begins and when it ends, with the state and what was counted."""
    async with rig(tmp_path, stream=STREAM) as one:
        one.service.state.set("system.state", "HighLoad")
        one.publish("user.go")
        one.service.state.set("system.state", "Normal")
        said = [event.attrs for event in one.events("system.overload") if event.attrs["reason"] == "shedding"]
        assert [(attrs["state"], attrs["given_up"]) for attrs in said] == [
            ("HighLoad", ["analytics", "provenance"]),
            ("Normal", []),
        ]
        assert said[1]["counts"]["analytics"] == 1


PLACED = "kind: analytics\nstreams: {s: {events: file, path: 'data/**', window: {count: 1}}}"


async def test_analytics_takes_events_of_its_places_only_and_counts_what_it_gives_up(tmp_path, autojump_clock):
    """Given up is everything of the types that it asks for, made or not; also when the definitions change meanwhile."""
    async with rig(tmp_path, stream=PLACED) as one:
        service, desk = one.service, one.service.analytics
        one.publish("file.closed", "data/a")
        one.publish("file.closed", "elsewhere/a")
        one.publish("file.renamed", "elsewhere/a", "data/b")
        await one.settled()
        assert desk.node("stream.s").taken == desk.subscription.delivered == 2
        service.state.set("system.state", "HighLoad")
        assert desk.subscription.hears is not None and not desk.subscription.hears("file.closed")
        one.publish("file.closed", "data/c")
        one.bus.skip("file.created", 5)
        one.bus.skip("dir.created", 3)
        assert desk.ignored == 6
        (one.workflows / "more.yaml").write_text(PLACED.replace("events: file", "events: dir"))
        await service.library.reload()
        one.bus.skip("dir.created", 2)
        (one.workflows / "more.yaml").unlink()
        await service.library.reload()
        one.bus.skip("dir.created", 4)
        assert desk.ignored == 8
        service.state.set("system.state", "Normal")
        one.publish("file.closed", "data/d")
        await one.settled()
        assert desk.ignored == 8 and desk.node("stream.s").taken == 3


CONDITIONS = """
priority: {priority}
triggers: {{types: file.closed, path: "data/**", where: "event.size > 10"{more}}}
concurrency: parallel
steps: [{{write: {{path: "{priority}-{{{{ event.name }}}}", content: x}}}}]
"""


async def test_what_could_only_start_what_is_given_up_is_counted_without_the_queue(tmp_path, autojump_clock):
    """By the conditions of the trigger: what does not match is not counted as given up."""
    async with rig(tmp_path, low=CONDITIONS.format(priority="low", more="")) as one:
        service = one.service
        service.state.set("system.state", "Degraded")
        before = service.dispatcher.subscription.delivered
        for i in range(7):
            one.save(f"data/{i}", b"x" * (5 if i < 3 else 20))
        assert service.shedding.counts == {"low": 4}
        await one.settled()
        assert service.dispatcher.subscription.delivered == before and service.shedding.counts == {"low": 4}
        assert service.workflow_status("low")["dropped"] == {"shed": 4}


@pytest.mark.parametrize("more", ["", ", debounce: 1s", ", settle: 1s", ", cooldown: 1ms"])
async def test_what_others_want_or_what_waits_goes_the_long_way(tmp_path, autojump_clock, more):
    """And is counted there, once for each firing."""
    low, normal = (CONDITIONS.format(priority=name, more=more) for name in ("low", "normal"))
    async with rig(tmp_path, low=low, normal=normal) as one:
        one.service.state.set("system.state", "Degraded")
        for i in range(3):
            one.save(f"data/{i}", b"x" * 20)
        await trio.sleep(5)
        await one.settled()
        assert one.service.shedding.counts == {"low": 3}
        assert sorted(name for name in one.files() if "/" not in name) == ["normal-0", "normal-1", "normal-2"]


async def test_a_queue_that_is_nearly_full_is_kept_for_what_is_important(tmp_path, autojump_clock):
    """Sixty thousand events of normal priority come first, then some of critical: none of these is lost, and each of
    the others was fed or is counted as dropped.
    """
    plain = (
        "priority: {name}\ntriggers: {{types: user.{name}}}\nconcurrency: single\nsteps: [{{mkdir: {{path: {name}}}}}]"
    )
    critical = WORKFLOW.format(priority="critical").replace("user.go", "user.critical")
    async with rig(tmp_path, normal=plain.format(name="normal"), critical=critical) as one:
        queue = one.service.dispatcher.subscription
        for _ in range(60_000):
            one.publish("user.normal")
        for _ in range(500):
            one.publish("user.critical")
        assert len(queue) == ORDINARY + 500 and queue.dropped == 60_000 - ORDINARY
        await one.settled(120)
        assert one.text("critical") == "x" * 500
        (trigger,) = one.service.dispatcher.triggers("normal")
        assert trigger.fired + queue.dropped == 60_000
        gaps = [event.attrs for event in one.events("system.gap") if event.attrs["subscription"] == "dispatcher"]
        assert sum(attrs["dropped"] for attrs in gaps) == queue.dropped


def test_demand_is_what_waited_and_what_was_given_up():
    """For as long as firings are given up, what they would have taken counts; then it is over."""
    now, held, bus = [0.0], [0.0], Bus()
    bus.rounds.held = lambda: held[0]
    one = Shedding(bus, {}, lambda: 0.002, clock=lambda: now[0])
    now[0], held[0] = 1.0, 0.7
    assert one.demand() == 0.7
    one.settle("Degraded")
    for _ in range(400):
        assert one.refuses("low") and not one.refuses("high")
    now[0], held[0] = 2.0, 0.8
    assert one.demand() == pytest.approx(0.9)
    now[0] = 3.0
    assert one.demand() == 0


@pytest.mark.mount
def test_what_is_given_up_on_a_mount_is_counted_exactly():
    """Saves during HighLoad and Degraded: analytics by type of event, also of what nobody else hears, and firings."""
    with scratch() as place:
        source, flows = place / "source", place / "workflows"
        for folder in (source / "data", flows):
            folder.mkdir(parents=True)
        (flows / "stream.yaml").write_text(PLACED.replace("events: file", "events: [file.created, file.closed]"))
        low = 'triggers: {types: file.closed, path: "data/*.csv"}\npriority: low\nsteps: [{mkdir: {path: seen}}]\n'
        (flows / "low.yaml").write_text(low)
        with mounted(source, arguments=("--workflows", str(flows), "--volatile")) as mount:
            control, data = mount.mountpoint / ".vexfs", mount.mountpoint / "data"
            for state, files in (("HighLoad", 40), ("Degraded", 25)):
                (control / "machines" / "system" / "state").write_text(f"{state}\n")
                for i in range(files):
                    (data / f"{state}{i}.txt").write_text("x")
            for i in range(15):
                (data / f"{i}.csv").write_text("x")
            (control / "machines" / "system" / "state").write_text("auto\n")
            (data / "after.txt").write_text("x")
            shed = dict(re.findall(r'^vexfs_shed_total{what="(\w+)"} (\S+)', (control / "metrics").read_text(), re.M))
            assert shed == {"analytics": "160.0", "low": "15.0"}
            assert not (mount.mountpoint / "seen").exists()


def test_the_documentation_has_the_order():
    """Each state that gives something up, and every part."""
    for state, parts in ORDER.items():
        assert re.search(rf"^\| `{state}` \|", PAGE, re.MULTILINE), state
        assert all(f"`{part}`" in PAGE for part in parts)
