"""The service as a whole: commands, status, metrics, start and end."""

import json
import os

import prometheus_client
import pytest
import trio

from automation.control_commands import COMMANDS
from automation.errors import CallerError
from tests.automation_rig import Rig, rig

LOG = "triggers: {path: in/*}\nsteps: [{log: {message: x}}]\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "missing"),
        ("dance", "the commands are pause"),
        ("pause now", "nothing more"),
        ("enable", "a name is missing"),
        ("enable nosuch", "called 'nosuch'"),
        ("run", "a name is missing"),
        ("run nosuch", "no workflow"),
        ('run w {"a": }', "no JSON object"),
        ("run w {[]}", "no JSON object"),
        ('run w {"path": 3}', "must be text"),
        ("run bad", "not active"),
        ("cancel", "a name is missing"),
        ("cancel x", "no run"),
    ],
)
async def test_a_command_that_cannot_be_done_says_why(tmp_path, line, reason):
    """CallerError with one sentence."""
    async with rig(tmp_path, w=LOG, bad="steps: 1") as r:
        with pytest.raises(CallerError, match=reason):
            await r.service.command(line, 0)


async def test_every_command_answers_with_a_sentence(tmp_path):
    """Names may hold spaces."""
    async with rig(tmp_path, w="name: my flow\n" + LOG) as r:
        lines = [
            "pause",
            "resume",
            "reload",
            "disable my flow",
            "enable my flow",
            'run my flow {"a": 1}',
            "run my flow",
        ]
        for line in lines:
            assert await r.service.command(line, 0)
        first = (await r.settled())[0]
        assert first.input == {"a": 1}
        with pytest.raises(CallerError, match="succeeded already"):
            await r.service.command(f"cancel {first.id}", 0)
        with pytest.raises(CallerError, match="version"):
            await r.service.command("rollback my flow", 0)
        assert not r.service.quit_requested.is_set()
        await r.service.command("quit\n", 0)
        assert r.service.quit_requested.is_set()
        assert {line.split()[0] for line in lines} | {"cancel", "quit", "retry", "rollback"} == set(COMMANDS)


async def test_the_status_is_plain_and_complete(tmp_path):
    """It survives JSON, and counts what happened."""
    async with rig(tmp_path, w=LOG, bad="steps: 1") as r:
        r.save("in/a")
        await r.settled()
        status = json.loads(json.dumps(r.service.status()))
        assert status["runs"]["succeeded"] == 1 and status["workflows"]["active"] == 1
        assert status["workflows"]["broken"] == 1 and status["events"]["by_type"]["file.closed"] == 1
        one = json.loads(json.dumps(r.service.workflow_status("w")))
        assert one["runs"] == {"succeeded": 1} and one["triggers"][0]["fired"] == 1


async def test_the_metrics_are_there(tmp_path):
    """In Prometheus's text form, odd names included."""
    async with rig(tmp_path, w=LOG) as r:
        r.save("in/a")
        r.publish("user.caf\udce9")
        await r.settled()
        text = prometheus_client.generate_latest(r.service.registry).decode()
        for line in (
            'vexfs_events_total{type="file.closed"} 1.0',
            'vexfs_runs_total{status="succeeded",workflow="w"} 1.0',
            'vexfs_queue_length{queue="events"} 0.0',
            'vexfs_events_dropped_total{subscription="dispatcher"} 0.0',
            'vexfs_workflows{condition="active"} 1.0',
            "vexfs_loop_lag_seconds",
        ):
            assert line in text, line


async def test_the_loop_lag_is_that_of_late_beats(tmp_path):
    """A task that holds the loop shows."""
    async with rig(tmp_path) as r:
        await trio.sleep(0.3)
        until = trio.current_time() + 0.4
        while trio.current_time() < until:
            pass
        await trio.sleep(0.3)
        assert r.service.heartbeat.worst > 0.1 and r.service.heartbeat.p99 > 0.1


async def test_everything_is_closed_at_the_end(tmp_path):
    """No descriptor is left, and commands that ran are gone."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        async with rig(tmp_path, w="triggers: {path: in/*}\nsteps: [{command: {argv: [sleep, '0.05']}}]") as r:
            r.save("in/a")
    assert r.runs[0].finished and len(os.listdir("/proc/self/fd")) <= before + 2


async def test_nothing_starts_during_shutdown(tmp_path):
    """Runs go on for the grace, triggers do not."""
    async with rig(tmp_path, w="triggers: {path: in/*}\nsteps: [{command: {argv: [sleep, '0.2']}}]") as r:
        r.save("in/a")
        await r.until(lambda: bool(r.runs))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(r.service.shutdown, 60)
            await trio.sleep(0.05)
            r.save("in/b")
    assert [run.status for run in r.runs] == ["succeeded"]


async def test_a_lost_event_is_told_and_waiting_files_are_looked_at_again(tmp_path):
    """A full queue drops the oldest; the dispatcher goes on."""
    r = Rig(tmp_path, {"w.yaml": LOG.replace("in/*", "in/*, settle: 10ms")})
    async with trio.open_nursery() as nursery:
        await nursery.start(r.service.run)
        for i in range(70_000):
            r.publish("file.closed", f"in/{i % 7}")
        runs = await r.settled()
        assert len(runs) == 7 and r.service.dispatcher.subscription.dropped > 0
        assert r.service.bus.counts["system.gap"] == 1
        await r.service.shutdown(1)
    os.close(r.root_fd)
