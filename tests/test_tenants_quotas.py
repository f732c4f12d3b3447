"""What is used up is refused with a sentence that says until when, counted, and given back with time."""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from automation.actions.databases import Databases
from automation.actions.inference import Models
from automation.allowance import Allowance
from automation.errors import QuotaExceeded, TimedOut, WorldError
from automation.scripts.quota import WorkerQuota, processor_time
from tests.effects import acting_in
from tests.tenant_rig import ALICE, NEEDS_ROOT, town
from tests.test_actions_http import server  # noqa: F401 - a fixture
from tests.test_actions_inference import forever, linear

BUSY = "local n = 0 while true do n = n + 1 end"


@pytest.fixture
def place():
    with town() as one:
        yield one


def test_an_allowance_comes_back_slice_by_slice():
    """What was used counts for the period and a slice of it, then is forgotten; more than is left may be noted."""
    now = 0.0
    calls = Allowance("calls", 3, 60, lambda: now)
    for moment in (0.0, 0.5, 30.0):
        now = moment
        calls.take()
    with pytest.raises(QuotaExceeded, match=r"the quota of 3 calls in a minute is used up: try again in 31 s"):
        calls.take()
    assert (calls.used, calls.left, calls.refused, calls.total) == (3, 0, 1, 3)
    now = 30.0 + calls.wait
    calls.take()
    assert (calls.used, calls.left) == (2, 1)
    calls.use(5)
    assert (calls.used, calls.left) == (7, 0)
    now += calls.wait
    calls.require()
    now += 200
    assert (calls.used, calls.wait, calls.total) == (0, 0, 9)
    assert calls.as_dict() == {"limit": 3, "seconds": 60, "used": 0, "total": 9, "refused": 1}


def test_nothing_is_allowed_of_nothing():
    """A quota of zero refuses from the first on."""
    with pytest.raises(QuotaExceeded):
        Allowance("calls", 0, 60).take()


async def test_computing_uses_the_quota_up(tmp_path: Path):
    """What workers compute is charged, their start too; the rest of the quota ends a script that computes on."""
    quota = WorkerQuota(cpu_seconds=1.0)
    async with acting_in(tmp_path, quota=quota) as act:
        assert await act("lua", script="return 1") == 1
        assert quota.cpu is not None
        assert 0.0 < quota.cpu.used < 1.0
        with pytest.raises(QuotaExceeded) as caught:
            await act("lua", script=BUSY, timeout=180)
        assert str(caught.value).startswith("the quota of 1 seconds of CPU for scripts and commands in an hour is used")
        assert caught.value.kind == "quota_exceeded"
        assert quota.cpu.used < 3
        for language, script in (("lua", "return 1"), ("javascript", "1"), ("sql", "SELECT 1")):
            with pytest.raises(QuotaExceeded):
                await act("script", language=language, script=script)
        status = act.context.scripts.status
        assert status["cpu"]["used"] >= 1.0
        assert status["cpu"]["refused"] >= 4
        assert status["started"] >= 1


async def test_a_script_that_waits_uses_nothing(tmp_path: Path):
    """Only computing is charged, not the time that passes."""
    async with acting_in(tmp_path, quota=WorkerQuota(cpu_seconds=5.0)) as act:
        await act("lua", script="return 1")
        before = act.context.scripts.status["cpu"]["used"]
        await act("lua", script="wait(1)")
        assert act.context.scripts.status["cpu"]["used"] - before < 0.5


async def test_children_of_a_worker_are_charged(tmp_path: Path):
    """Python's interpreter is a process of its own."""
    quota = WorkerQuota(cpu_seconds=60.0)
    async with acting_in(tmp_path, quota=quota) as act:
        await act("script", language="python", script="1")
        assert quota.cpu is not None
        before = quota.cpu.used
        await act("script", language="python", script="sum(i * i for i in range(1_000_000))\n1", timeout=120)
        assert quota.cpu.used - before > 0.05


async def test_commands_use_the_same_quota(tmp_path: Path):
    """What a command and its children compute, those that have ended too; the rest of the quota ends it and them."""
    count = "i=0; while [ $i -lt {} ]; do i=$((i+1)); done"
    quota = WorkerQuota(cpu_seconds=2.0)
    assert quota.cpu is not None
    async with acting_in(tmp_path, quota=quota) as act:
        await act("command", argv=["sleep", "0.5"])
        assert 0.0 < quota.cpu.used < 0.3
        before = quota.cpu.used
        await act("command", argv=f"sh -c '{count.format(100_000)}'; true", shell=True)
        assert quota.cpu.used - before > 0.03
        with pytest.raises(QuotaExceeded, match="2 seconds of CPU for scripts and commands"):
            await act("command", argv="while :; do :; done & while :; do :; done", shell=True)
        assert 2.0 <= quota.cpu.used < 4.0
        for refused in ({"type": "command", "argv": ["true"]}, {"type": "lua", "script": "return 1"}):
            with pytest.raises(QuotaExceeded):
                await act(**refused)


async def test_no_process_of_a_command_outlives_the_quota(tmp_path: Path):
    """The kernel bounds each by what was left, what a command leaves behind too; a lower limit of its own stays."""
    async with acting_in(tmp_path, quota=WorkerQuota(cpu_seconds=100.0)) as act:
        assert (await act("command", argv="ulimit -t", shell=True))["stdout"].strip() == "100"
        told = await act("command", argv="(ulimit -t > told) & wait; cat told", shell=True, cwd="")
        assert told["stdout"].strip() == "100"
        assert (await act("command", argv="ulimit -t", shell=True, limits={"cpu": 7}))["stdout"].strip() == "7"
        with pytest.raises(TimedOut, match="used up its 1 s of CPU time"):
            await act("command", argv="while :; do :; done", shell=True, limits={"cpu": 1})


def test_what_was_used_goes_on_after_a_restart():
    """By the time that has passed since: what is older than the period is forgotten."""
    now = 1000.0
    calls = Allowance("calls", 5, 60, lambda: now)
    calls.use(2)
    now += 30
    calls.use(1)
    kept = calls.snapshot()
    after = Allowance("calls", 5, 60, lambda: 7.0)
    after.restore(kept, passed=10)
    assert after.used == 3
    later = Allowance("calls", 5, 60, lambda: 7.0)
    later.restore(kept, passed=40)
    assert later.used == 1
    for passed in (70, 1e9):
        later = Allowance("calls", 5, 60, lambda: 7.0)
        later.restore(kept, passed=passed)
        assert later.used == 0


def test_the_time_of_a_process_is_its_own():
    """In nanoseconds, None for one that is not there."""
    mine = processor_time(os.getpid())
    assert mine is not None
    assert mine > 0
    assert processor_time(2**22 - 1) is None


async def test_memory_is_bounded_for_all_scripts_together(tmp_path: Path):
    """A script has no more than the whole, and no more workers run than fit."""
    grow = 'return #string.rep("x", {} << 20)'
    async with acting_in(tmp_path, quota=WorkerQuota(memory=16 << 20)) as act:
        assert await act("lua", script=grow.format(4)) == 4 << 20
        with pytest.raises(WorldError, match="memory"):
            await act("lua", script=grow.format(40))
        for language, script in (("javascript", "1"), ("sql", "SELECT 1"), ("lua", "return 1")):
            await act("script", language=language, script=script)
            assert act.context.scripts.status["workers"] == 1
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(lambda: act("lua", script="wait(0.05) return 1"))
        assert act.context.scripts.status["workers"] == 1
        assert act.context.scripts.status["memory"] == 16 << 20
        assert act.context.scripts.status["memory_per_worker"] == 16 << 20


def _facts(pid: int) -> dict[str, list[str]]:
    lines = (line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: value.split() for name, value in lines}


@NEEDS_ROOT
async def test_workers_are_the_tenants_own(place: Path):
    """They end up with the user of the tenant, in no group but its own, and with nobody else's rights."""
    async with acting_in(place, identity=ALICE) as act:
        for language, script in (("lua", "return 1"), ("python", "1")):
            await act("script", language=language, script=script)
        for pid in act.context.scripts.workers:
            facts = _facts(pid)
            assert set(facts["Uid"] + facts["Gid"]) == {str(ALICE.uid)}
            assert facts["Groups"] == []


async def test_calls_of_other_machines_are_counted(tmp_path: Path, server):  # noqa: F811 - the fixture
    """Each request and each redirect that is followed; the destination's breaker is not blamed for what is refused."""
    async with acting_in(tmp_path, calls=4) as act:
        assert (await act("http", url=f"{server}/x"))["status"] == 200
        assert (await act("http", url=f"{server}/away", follow_redirects=True))["status"] == 200
        await act("send_notification", message="x", webhook=f"{server}/x")
        refusals = (
            {"type": "http", "url": f"{server}/x"},
            {"type": "call_api", "url": f"{server}/x"},
            {"type": "send_notification", "message": "x", "webhook": f"{server}/x"},
            {"type": "send_notification", "message": "x", "email": _mail()},
            {"type": "update_database", "postgresql": "postgresql://a@127.0.0.1:9/a", "sql": "SELECT 1"},
            {"type": "lua", "script": f'return http("{server}/x")'},
        )
        for refused in refusals:
            with pytest.raises(WorldError, match="the quota of 4 calls of other machines in a minute is used up"):
                await act(**refused)
        calls = act.context.web.calls
        assert calls is not None
        assert calls.as_dict() == {"limit": 4, "seconds": 60, "used": 4, "total": 4, "refused": len(refusals)}
        assert {one.failures for one in act.context.breakers.all} == {0}


def _mail() -> dict[str, object]:
    return {"host": "127.0.0.1", "port": 9, "from": "a@b.c", "to": "a@b.c"}


@NEEDS_ROOT
async def test_a_tenant_does_not_open_the_private_network(place: Path, server):  # noqa: F811 - the fixture
    """`allow_private` is the word of whoever wrote the definition; a tenant's needs the operator's `allow-hosts`."""
    async with acting_in(place, identity=ALICE, allow=(), databases=Databases((), identity=ALICE)) as act:
        for fields in (
            {"type": "http", "url": f"{server}/x"},
            {"type": "send_notification", "message": "x", "webhook": server},
        ):
            with pytest.raises(WorldError, match="private address"):
                await act(**fields, allow_private=True)
        with pytest.raises(WorldError, match="private address"):
            await act("send_notification", message="x", email=_mail(), allow_private=True)
        with pytest.raises(WorldError, match="private address"):
            await act("update_database", postgresql="postgresql://a@127.0.0.1:9/a", sql="SELECT 1")
    async with acting_in(place, identity=ALICE, allow=("127.0.0.1",)) as act:
        assert (await act("http", url=f"{server}/x"))["status"] == 200


@NEEDS_ROOT
async def test_models_use_the_quota_too(place: Path):
    """Their worker is the tenant's, has room for the memory of the quota, and computes on its account."""
    folder = place / "models"
    folder.mkdir()
    linear(folder / "linear.onnx")
    forever(folder / "forever.onnx")
    quota = WorkerQuota(cpu_seconds=2.0, memory=32 << 20)
    models = Models(str(folder), identity=ALICE, quota=quota)
    async with acting_in(place, identity=ALICE, quota=quota, models=models) as act:
        done = await act("ml_inference", model="linear", input={"x": [[1, 2, 3]]})
        assert done["output"] == {"y": [[3.0, 5.0, 7.0]]}
        (pid,) = models.warm
        assert set(_facts(pid)["Uid"]) == {str(ALICE.uid)}
        assert quota.cpu is not None
        assert quota.cpu.used > 0.1
        with pytest.raises(QuotaExceeded):
            for _ in range(20):
                with suppress(TimedOut):
                    await act("ml_inference", model="forever", input={"x": [1]}, timeout=5, breaker={"failures": 100})
        with pytest.raises(QuotaExceeded):
            await act("lua", script="return 1")
        await models.aclose()


@NEEDS_ROOT
async def test_a_database_of_ones_own(place: Path):
    """SQLite's files are made and opened as the user."""
    own = place / "databases"
    own.mkdir()
    os.chown(own, ALICE.uid, ALICE.gid)
    async with acting_in(place, identity=ALICE, databases=Databases([str(own)], identity=ALICE)) as act:
        await act("update_database", sqlite="x.db", sql="CREATE TABLE t (a)", create=True)
        assert (await act("update_database", sqlite="x.db", sql="INSERT INTO t VALUES (1)"))["changed"] == 1
        assert (own / "x.db").stat().st_uid == ALICE.uid
        with sqlite3.connect(own / "roots.db") as connection:
            connection.execute("CREATE TABLE t (a)")
        connection.close()
        with pytest.raises(WorldError, match="readonly"):
            await act("update_database", sqlite="roots.db", sql="INSERT INTO t VALUES (1)")
