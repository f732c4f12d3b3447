"""Room for runs: strict between priorities, fair between tenants, bounded by bulkheads and rates."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.admission import Admission, Decision
from automation.bulkheads import PRIORITIES, Bulkheads
from automation.definitions import Concurrency
from automation.events import SemanticEvent
from automation.loading import load
from automation.runner.gate import Gate, Ticket
from automation.targets import Automation
from automation.triggers.firing import Firing
from tests.automation_rig import rig, virtual_wall


class Line:
    """Who was let in and who was dropped at a gate, by name."""

    def __init__(self, gate):
        self.gate, self.inside, self.dropped, self.tickets = gate, [], [], {}

    def come(self, name, priority="normal", tenant="", type="linear"):
        ticket = self.tickets[name] = Ticket(priority, tenant, type)
        self.gate.offer(ticket, lambda: self.inside.append(name), lambda reason: self.dropped.append(name))

    def go(self):
        """The one who came in first leaves."""
        self.gate.leave(self.tickets[self.inside.pop(0)])


def order(line):
    """The order in which those who wait come in when one leaves after the other."""
    found = []
    while line.inside:
        before = len(line.inside)
        line.go()
        found += line.inside[before - 1 :]
    return found


def test_priorities_are_strict():
    """As long as one of a higher class waits, none of a lower gets room."""
    line = Line(Gate(1))
    line.come("first")
    for i, priority in enumerate([*PRIORITIES, *reversed(PRIORITIES)]):
        line.come(f"{priority}{i}", priority)
    assert order(line) == ["critical0", "critical7", "high1", "high6", "normal2", "normal5", "low3", "low4"]


def test_tenants_take_turns():
    """However many runs one of them has waiting."""
    line = Line(Gate(1))
    line.come("first")
    for i in range(4):
        line.come(f"a{i}", tenant="a")
    for i in range(2):
        line.come(f"b{i}", tenant="b")
    assert order(line) == ["a0", "b0", "a1", "b1", "a2", "a3"]


def test_a_bulkhead_bounds_its_own():
    """Those of another type pass by; what waits goes in when one of its own leaves."""
    line = Line(Gate(10, Bulkheads.model_validate({"types": {"parallel": 1}})))
    for i in range(3):
        line.come(f"p{i}", type="parallel")
    line.come("l")
    assert line.inside == ["p0", "l"] and line.gate.waiting == 2
    line.go()
    assert line.inside == ["l", "p1"]


@pytest.mark.parametrize(
    ("full", "dropped", "then"),
    [("reject", ["c3"], "c1"), ("drop_newest", ["c3"], "c1"), ("drop_oldest", ["c1"], "c2")],
)
def test_a_full_bulkhead_drops_by_its_policy(full, dropped, then):
    """The one who comes, or the one who has waited longest; and it is counted."""
    form = {"tenants": {"*": {"limit": 1, "queue": 2, "full": full}}}
    line = Line(Gate(10, Bulkheads.model_validate(form)))
    for i in range(4):
        line.come(f"c{i}", tenant="c")
    line.come("d0", tenant="d")
    assert line.dropped == dropped and line.gate.dropped == {"tenant c": 1} and line.inside == ["c0", "d0"]
    line.go()
    assert line.inside == ["d0", then]


moves = st.lists(
    st.tuples(st.sampled_from(PRIORITIES), st.sampled_from("ab"), st.sampled_from(["linear", "parallel"])) | st.none(),
    max_size=60,
)


@given(moves)
def test_the_gate_never_lets_in_too_many_and_nobody_starves(moves):
    """Whatever comes and goes: bounds hold, and when all leave all have been in."""
    form = {"types": {"parallel": 2}, "priorities": {"low": 1}, "tenants": {"*": 3}}
    line, came = Line(Gate(4, Bulkheads.model_validate(form))), 0
    for i, move in enumerate(moves):
        if move is None:
            if line.inside:
                line.go()
        else:
            came += 1
            line.come(str(i), *move)
        inside = [line.tickets[name] for name in line.inside]
        assert len(inside) <= 4 and Counter(t.type for t in inside)["parallel"] <= 2
        assert (
            Counter(t.priority for t in inside)["low"] <= 1
            and max(Counter(t.tenant for t in inside).values(), default=0) <= 3
        )
    order(line)
    assert line.gate.waiting == 0 and all(not ticket.inside for ticket in line.tickets.values()) and not line.dropped


def test_a_full_queue_may_drop_the_oldest():
    """Of a workflow's own firings."""
    admission = Admission(Concurrency(policy="queued", limit=1, queue=2, full="drop_oldest"))
    firings = [Firing("w", 0, "event", str(i), (SemanticEvent("user.x"),)) for i in range(4)]
    assert [admission.offer(f) for f in firings] == [Decision.START] + [Decision.WAIT] * 3
    assert admission.gave_way is firings[1] and admission.dropped == {"oldest": 1}
    assert admission.finished("0") == [firings[2]]


async def test_priority_and_tenant_are_those_of_the_definition(tmp_path):
    """Seen in the run; a tenant is that of the event where the workflow has none."""
    text = "priority: high\ntriggers: {types: user.x}\nsteps: [{log: {message: x}}]"
    async with rig(tmp_path, a=f"tenant_id: t1\n{text}", b=text) as r:
        r.publish("user.x", tenant="t2")
        runs = {run.workflow: run.as_dict() for run in await r.settled()}
        assert (runs["a"]["tenant"], runs["b"]["tenant"], runs["a"]["priority"]) == ("t1", "t2", "high")


async def test_a_bulkhead_of_the_configuration(tmp_path):
    """Runs that find its queue full are cancelled, counted and announced."""
    text = "workflow_type: conditional\nconcurrency: parallel\ntriggers: {types: user.x}\nsteps: [{log: {message: x}}]"
    one = Automation.model_validate({"bulkheads": {"types": {"conditional": {"limit": 1, "queue": 1}}}})
    async with rig(tmp_path, one, w=text) as r:
        for _ in range(5):
            r.publish("user.x")
        runs = await r.settled()
        assert Counter(run.status for run in runs) == {"succeeded": 2, "cancelled": 3}
        assert "bulkhead of the type conditional is full" in runs[-1].error
        assert r.events("system.overload")[0].attrs["reason"] == "bulkhead"
        assert r.service.status()["room"]["dropped"] == {"type conditional": 3}


async def test_a_sub_workflow_without_room_is_tried_again(tmp_path):
    """Its step fails as the world does, by a class of its own."""
    child = "workflow_type: conditional\nsteps: [{command: {argv: [sleep, '1']}}]"
    text = "steps: [{name: a, trigger_workflow: {workflow: child}, retry: {attempts: 1000, backoff: 50ms, factor: 1,"
    text += " on: bulkhead_full}}]"
    one = Automation.model_validate({"bulkheads": {"types": {"conditional": {"limit": 1, "queue": 0}}}})
    async with rig(tmp_path, one, w=text, once=text.replace("attempts: 1000", "attempts: 1"), child=child) as r:
        for name in ("w", "w"):
            await r.service.command(f"run {name}", 0)
        await r.until(lambda: any(run.workflow == "child" for run in r.runs))
        await r.service.command("run once", 0)
        await r.settled()
        ended = [run for run in r.runs if run.workflow != "child"]
        assert [run.status for run in ended] == ["succeeded", "succeeded", "failed"]
        assert "found no room" in ended[2].error and max(run.steps[0].attempts for run in ended[:2]) > 1


async def test_a_rate_lets_runs_wait(tmp_path, autojump_clock):
    """A burst at once, then one after the other; each key has its own."""
    text = "rate: {rate: 1/minute, burst: 2}\ntriggers: {types: user.x, key: path}\nsteps: [{log: {message: x}}]"
    wall = virtual_wall()
    async with rig(tmp_path, wall=wall, w=text) as r:
        begin = wall()
        for path in "aaaab":
            r.publish("user.x", path)
        await r.settled(3600)
        starts = sorted((run.firing.key, round(run.started_ns / 1e9 - begin)) for run in r.runs)
        assert starts == [("a", 0), ("a", 0), ("a", 60), ("a", 120), ("b", 0)]


async def test_a_rate_can_drop(tmp_path):
    """What is too much is counted and announced."""
    text = (
        "rate: {rate: 1/hour, per: workflow, exceeded: drop}\ntriggers: {types: user.x}\nsteps: [{log: {message: x}}]"
    )
    async with rig(tmp_path, w=text) as r:
        for path in "abc":
            r.publish("user.x", path)
        assert len(await r.settled()) == 1 and r.service.dispatcher.status("w")["dropped"] == {"rate": 2}
        assert r.events("system.overload")[0].attrs["reason"] == "rate"


async def test_waiting_runs_have_no_room(tmp_path, mock_clock):
    """Others go on meanwhile, and what waits no more goes before what has not begun."""
    many = "concurrency: {policy: parallel, limit: 99}\ntriggers: {types: user.w}\n"
    waits = many + "steps: [{wait: 1h}, {emit_event: {event: user.done}}]"
    works = "triggers: {types: user.x}\nsteps: [{log: {message: x}}]"
    async with rig(tmp_path, Automation(max_concurrent_workflows=1), wall=virtual_wall(), w=waits, x=works) as r:
        for _ in range(20):
            r.publish("user.w")
        await r.until(lambda: [run.status for run in r.runs] == ["waiting"] * 20)
        r.publish("user.x")
        await r.until(lambda: r.runs[-1].status == "succeeded")
        mock_clock.jump(3600)
        await r.until(lambda: all(run.finished for run in r.runs))
        assert {run.status for run in r.runs} == {"succeeded"} and len(r.runs) == 21


def test_rates_are_written_in_many_ways():
    """Per unit, per number of units."""
    for text, rate in (("10/minute", (10, 60)), ("2/s", (2, 1)), ("100/2h", (100, 7200)), ("1 / day", (1, 86400))):
        assert load("w.yaml", f"rate: {text}\nsteps: [{{wait: 1s}}]").rate.rate == rate


async def test_a_bug_in_what_is_woken_or_told_harms_nobody_else(tmp_path, mock_clock):
    """Timers go on ringing, ears go on hearing, runs go on ending."""
    waits = "steps: [{wait: 1h}, {wait: {event: user.go}}]"
    async with rig(tmp_path, wall=virtual_wall(), w=waits) as r:
        runner = r.service.runner
        await r.service.command("run w", 0)
        await r.until(lambda: r.runs[0].status == "waiting")
        runner.after(60, lambda: 1 / 0)
        told = runner.on_finished
        runner.on_finished = lambda run: 1 / 0
        mock_clock.jump(3600)
        await r.until(lambda: len(runner._mailroom) == 1)
        r.publish("user.go")
        await r.until(lambda: r.runs[0].finished)
        runner.on_finished = told
        assert r.runs[0].status == "succeeded"
