"""Services of tenants beside the operator's: what each has of its own, its limits, and what breaks one alone."""

import os
import re
import sqlite3
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import trio

from automation.actions import Commands
from automation.bus import Bus
from automation.configuration import Settings
from automation.errors import CallerError, DefinitionError, QuotaExceeded
from automation.events import SemanticEvent
from automation.journal.keeping import Keeping
from automation.journal.retention import DAY_NS, Housekeeper
from automation.service import Service
from automation.state_directory import StateDirectory
from automation.tenants.hosting import Ground, Hosting
from automation.tenants.tenant import tenants_of
from automation.workspace import Workspace
from tests.automation_rig import NoCache
from tests.mounting import scratch
from tests.patience import comes_true
from tests.tenant_rig import NEEDS_ROOT

pytestmark = NEEDS_ROOT
TENANTS = {"ann": {"paths": ["ann"], "run-as": "daemon"}, "ben": {"paths": ["ben"], "run-as": "bin"}}
WRITE = "name: note\ntriggers: {path: '**/*.txt', types: file.closed}\nsteps: [{write: {path: %s, content: x}}]\n"


class City:
    """The operator's service and those of its tenants, over a plain directory."""

    def __init__(self, place: Path, tenants: Mapping[str, Any]) -> None:
        self.root = place / "root"
        self.root.mkdir(exist_ok=True)
        for name, uid in (("ann", 1), ("ben", 2)):
            (self.root / name).mkdir(exist_ok=True)
            os.chown(self.root / name, uid, uid)
        (place / "workflows").mkdir(exist_ok=True)
        settings = Settings.model_validate({"tenants": tenants})
        self.bus, self.state = Bus(), place / "state"
        self.kept = StateDirectory(str(self.state))
        self.root_fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        self.service = Service(
            self.bus,
            workspace=Workspace(self.root_fd, self.bus.adopt, NoCache()),
            commands=Commands(str(self.root)),
            workflows=str(place / "workflows"),
            kept=self.kept,
        )
        ground = Ground(self.root_fd, NoCache(), str(self.root), settings)
        self.hosting = Hosting(self.service, tenants_of(settings.tenants), ground)

    def __getitem__(self, tenant: str) -> Service:
        return self.service.tenants[tenant]

    def save(self, path: str) -> None:
        """Write a file as a program on the mount does."""
        (self.root / path).write_text("x")
        attrs = {"written": True, "mode": "w", "nlink": 1}
        inode = (self.root / path).stat().st_ino
        self.bus.adopt(SemanticEvent("file.closed", path, inode=inode, size=1, attrs=attrs))

    async def until(self, holds) -> None:
        await comes_true(holds)

    async def fill(self, tenant: str) -> None:
        """Audit until its journal takes no more, which it finds with the first record after what was too much."""
        one = self[tenant]

        def stalled() -> bool:
            for i in range(100):
                one.note("control.write", data={"bytes": i, "filler": "x" * 200})
            return bool(one.journal.stalled)

        await self.until(stalled)

    def status(self, tenant: str) -> dict[str, Any]:
        return self.service.status()["tenants"][tenant]


@asynccontextmanager
async def city(place: Path, tenants: Mapping[str, Any] = TENANTS) -> AsyncIterator[City]:
    one = City(place, tenants)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(one.service.run)
            await nursery.start(one.hosting.run)
            yield one
            await one.hosting.shutdown(0.5)
            await one.service.shutdown(0.5)
            nursery.cancel_scope.cancel()
    finally:
        one.hosting.close()
        one.kept.close()
        os.close(one.root_fd)


@pytest.fixture
def place():
    with scratch() as directory:
        yield directory


def limited(**limits: Any) -> dict[str, Any]:
    return {**TENANTS, "ann": {**TENANTS["ann"], "limits": {k.replace("_", "-"): v for k, v in limits.items()}}}


async def test_each_has_its_own_definitions_state_runs_and_secrets(place):
    """What one has, neither the other nor the operator has."""
    secrets = place / "state/tenants/ann/secrets"
    secrets.mkdir(parents=True)
    (secrets / "word").write_text("abracadabra")
    (secrets / "word").chmod(0o600)
    async with city(place) as one:
        await one["ann"].library.install("note.yaml", WRITE % "ann/noted")
        one["ann"].state.set("mood", "fine")
        one.save("ben/b.txt")
        one.save("ann/a.txt")
        await one.until(lambda: one["ann"].runner.runs and not one["ann"].runner.active)
        assert [run.status for run in one["ann"].runner.runs.values()] == ["succeeded"]
        for other in (one["ben"], one.service):
            assert not other.library.entries
            assert other.state.get("mood") is None
            assert not other.runner.runs
            assert not other.secrets.names()
        assert one["ann"].secrets.names() == ["word"]
    assert (one.root / "ann/noted").stat().st_uid == 1
    for tenant, kinds in (("ann", {"workflow.succeeded"}), ("ben", set())):
        with sqlite3.connect(place / f"state/tenants/{tenant}/journal.db") as database:
            found = {kind for (kind,) in database.execute("SELECT kind FROM audit WHERE kind LIKE 'workflow.succ%'")}
        assert found == kinds


async def test_nobody_acts_in_anothers_territory(place):
    """Not even with the operator's rights would it be its own."""
    async with city(place) as one:
        (one.root / "ben").chmod(0o777)
        await one["ann"].library.install("note.yaml", WRITE % "ben/noted")
        one.save("ann/a.txt")
        await one.until(lambda: one["ann"].runner.runs and not one["ann"].runner.active)
        (run,) = one["ann"].runner.runs.values()
        assert run.status == "failed"
        assert not (one.root / "ben/noted").exists()


async def test_commands_run_as_its_user_and_after_others(place):
    """Their niceness is above that of the mount."""
    flow = "name: who\ntriggers: {type: manual}\nsteps: [{command: {argv: [sh, -c, 'id -u; nice'], cwd: ann}}]\n"
    async with city(place) as one:
        await one["ann"].library.install("who.yaml", flow)
        run = (await one["ann"].command("run who", 0)).split()[3]
        await one["ann"].runner.ended(run)
        done = one["ann"].runner.runs[run]
        assert done.status == "succeeded", done.error
        uid, nice = done.steps[0].result["stdout"].split()
        assert (uid, int(nice)) == ("1", 10)


async def test_what_a_tenant_does_is_seen_by_the_operator_and_by_no_other(place):
    """With its name on it."""
    async with city(place) as one:
        mine, theirs = one.bus.subscribe("operator"), one["ben"].bus.subscribe("ben")
        await one["ann"].library.install("note.yaml", WRITE % "ann/noted")
        one.save("ann/a.txt")
        await one.until(lambda: one["ann"].runner.runs and not one["ann"].runner.active)
        seen = {event.type: event.tenant for event in mine.receive_nowait(1000)}
        assert {"system.definition", "workflow.started", "file.created", "workflow.succeeded"} <= seen.keys()
        assert set(seen.values()) == {"ann"}
        assert not theirs.receive_nowait(1000)


async def test_a_restart_keeps_a_tenants_things(place):
    """Definitions, state, runs; and numbers of events go on."""
    async with city(place) as one:
        await one["ann"].library.install("note.yaml", WRITE % "ann/noted")
        one["ann"].state.set("mood", "fine")
        one.save("ann/a.txt")
        await one.until(lambda: one["ann"].runner.runs and not one["ann"].runner.active)
        (before,) = one["ann"].runner.runs
        last = one.bus.seq
    async with city(place) as one:
        assert one["ann"].library.entry("note").active
        assert one["ann"].state.get("mood") == "fine"
        assert before in one["ann"].archive.ids()
        assert not one["ben"].library.entries
        assert one.bus.seq >= last


async def test_too_many_rules_are_refused(place):
    """The error says which limit."""
    async with city(place, limited(rules=1)) as one:
        await one["ann"].library.install("note.yaml", WRITE % "ann/noted")
        with pytest.raises(DefinitionError, match="there would be 2 automations; rules is 1"):
            await one["ann"].library.install("more.yaml", (WRITE % "ann/more").replace("name: note", "name: more"))
        await one["ben"].library.install("note.yaml", WRITE % "ben/noted")
        assert one.status("ann")["use"]["rules"] == {"now": 1, "limit": 1}


async def test_no_more_events_than_its_rate(place):
    """The rest is dropped for its automations, counted, and announced to it and the operator; the others go on."""
    async with city(place, limited(events_per_second=10)) as one:
        heard = one["ann"].bus.subscribe("test", ("file.closed",))
        overloads = one.bus.subscribe("test", ("system.overload",))
        others = one["ben"].bus.subscribe("test", ("file.closed",))
        for i in range(100):
            one.save(f"ann/{i}")
            one.save(f"ben/{i}")
        assert 10 <= len(heard) <= 20
        assert one.status("ann")["dropped"] == 100 - len(heard)
        assert len(others) == 100
        (told,) = overloads.receive_nowait()
        assert (told.tenant, told.attrs["reason"], told.attrs["limit"]) == ("ann", "events-per-second", 10)


async def test_no_more_partial_matches_than_its_limit(place):
    """Over all its patterns; another has room for its own."""
    pattern = """
patterns:
  pair:
    steps: [{step: a, event: file.closed, path: "*/*.a"}, {step: b, event: file.closed, path: "*/*.b"}]
    within: 1h
"""
    async with city(place, limited(partial_matches=50)) as one:
        for tenant in ("ann", "ben"):
            await one[tenant].library.install("pair.yaml", pattern)
            for i in range(200):
                one.save(f"{tenant}/{i}.a")
        await one.until(lambda: one["ben"].patterns.set.live == 200)
        await one.until(lambda: not len(one["ann"].patterns.subscription))
        assert 0 < one["ann"].patterns.set.live <= 50


async def test_no_more_runs_at_once_than_its_limit(place):
    """Further ones wait."""
    slow = """
name: slow
triggers: {path: "**/*.txt", types: file.closed, key: event.path}
concurrency: {policy: parallel, limit: 100}
steps: [{command: {argv: [sleep, "0.2"]}}]
"""
    async with city(place, limited(concurrent_runs=2)) as one:
        await one["ann"].library.install("slow.yaml", slow)
        for i in range(6):
            one.save(f"ann/{i}.txt")
        most = 0
        with trio.fail_after(90):
            while len(list(one["ann"].archive.ids())) < 6 or one["ann"].runner.active:
                most = max(most, one["ann"].runner.gate.as_dict()["running"])
                await trio.sleep(0.01)
        assert most == 2


async def test_scripts_and_calls_have_quotas_of_its_own(place):
    """CPU seconds and calls that are used up are used up for it alone."""
    spin = "name: spin\ntriggers: {type: manual}\nsteps: [{lua: {script: 'for i = 1, 3e7 do end'}}]\n"
    async with city(place, limited(cpu_seconds=0.05, http_calls=0)) as one:
        ann, ben = one["ann"], one["ben"]
        for tenant in (ann, ben):
            await tenant.library.install("spin.yaml", spin)
            for _ in range(2):
                run = (await tenant.command("run spin", 0)).split()[3]
                await tenant.runner.ended(run)
        assert [run.status for run in ben.runner.runs.values()] == ["succeeded"] * 2
        last = list(ann.runner.runs.values())[-1]
        assert last.status == "failed"
        assert "seconds of CPU" in str(last.error)
        assert one.status("ann")["use"]["cpu_seconds"]["now"] >= 0.05
        with pytest.raises(Exception, match="calls of other machines"):
            ann.web.count()
        ben.web.count()


async def test_quotas_go_on_after_a_restart(place):
    """What was used of the hour and the minute is not given anew by another mount."""
    async with city(place, limited(cpu_seconds=100, http_calls=2)) as one:
        ann = one["ann"]
        ann.web.count()
        ann.web.count()
        assert ann.scripts.quota.cpu is ann.commands.quota.cpu
        ann.scripts.quota.cpu.use(40)
    async with city(place, limited(cpu_seconds=100, http_calls=2)) as one:
        use = one.status("ann")["use"]
        assert (use["http_calls"]["now"], use["cpu_seconds"]["now"]) == (2, 40)
        with pytest.raises(QuotaExceeded, match="calls of other machines"):
            one["ann"].web.count()
        one["ben"].web.count()


async def test_the_journal_of_a_tenant_has_a_size(place):
    """Its oldest records go, signed off; nobody else's do."""
    async with city(place, limited(journal="256KiB")) as one:
        for i in range(4000):
            one["ann"].note("control.write", data={"bytes": i, "filler": "x" * 200})
            if i % 500 == 0:
                await trio.sleep(0.02)
        journal = one["ann"].journal
        newest: list[str] = []
        with trio.fail_after(90):
            while not any("audit.pruned" in line for line in newest) or journal.writer.used >= 256 << 10:
                await trio.sleep(0.05)
                newest = await journal.newest(5000)
        assert len(newest) < 4000
        assert one.status("ann")["use"]["journal"]["limit"] == 256 << 10


async def test_a_tenant_whose_journal_is_full_may_be_stopped_instead(place):
    """No run of its begins then, nothing of its trail goes, it and the operator are told; with more room it goes on."""
    stopping = {"journal": "256KiB", "journal-full": "stop"}
    async with city(place, limited(**stopping)) as one:
        journal = one["ann"].journal
        overloads = one.bus.subscribe("test", ("system.overload",))
        for tenant in ("ann", "ben"):
            await one[tenant].library.install("note.yaml", WRITE % f"{tenant}/noted")
        await one.fill("ann")
        assert re.fullmatch(r"the journal has \d+ bytes, and may have 262144", journal.stalled)
        one.save("ann/a.txt")
        one.save("ben/b.txt")
        await one.until((one.root / "ben/noted").exists)
        await trio.sleep(0.3)
        assert not (one.root / "ann/noted").exists()
        assert one.status("ann")["stopped"] == journal.stalled
        assert not one.status("ben")["stopped"]
        (told,) = overloads.receive_nowait()
        assert (told.tenant, told.attrs["reason"], told.attrs["said"]) == ("ann", "journal", journal.stalled)
        assert not any("audit.pruned" in line for line in await journal.newest(5000))
    async with city(place, limited(**stopping | {"journal": "16MiB"})) as one:
        await one.until((one.root / "ann/noted").exists)
        assert not one["ann"].journal.stalled


async def test_a_stopped_tenant_goes_on_when_what_is_old_has_gone(place):
    """What its age takes out of the journal is signed off, and makes room."""
    async with city(place, limited(journal="256KiB", journal_full="stop")) as one:
        ann, journal = one["ann"], one["ann"].journal
        await one.fill("ann")
        keeper = Housekeeper(journal, ann.ledger, Keeping(when_large="stop", retention_audit_days=1))
        with trio.fail_after(20):
            while journal.stalled:  # what waited is written first, and is old by then too
                await keeper.tidy(time.time_ns() + 2 * DAY_NS)
                await trio.sleep(0.05)
        assert any("audit.pruned" in line for line in await journal.newest(5000))
        await ann.library.install("note.yaml", WRITE % "ann/noted")
        one.save("ann/a.txt")
        await one.until((one.root / "ann/noted").exists)


async def test_detection_has_its_share_of_the_loop(place):
    """A thousand costly rules over a flood of events use about what is allowed, and another's file is met at once."""
    rules = ["rules:"]
    for i in range(300):
        where = f"event.path.matches('ann/[a-z]*{i}[0-9]*x?y?z?') && event.size > {i}"
        rules.append(f"  - {{name: r{i}, on: file.closed, paths: '**', conditions: \"{where}\"}}")
    async with city(place, limited(loop_share=0.05, events_per_second=5000)) as one:
        await one["ann"].library.install("many.yaml", "\n".join(rules))
        await one["ben"].library.install("note.yaml", WRITE % "'ben/{{ event.stem }}.noted'")
        share = one.hosting.forwarding.lanes["ann"].share
        began, used, late = time.perf_counter(), share.used, []  # late in processor time, which no other program uses
        for i in range(60):
            for _ in range(20):
                one.save(f"ann/f{i}")
            asked = time.process_time()
            one.save(f"ben/b{i}.txt")
            await one.until((one.root / f"ben/b{i}.noted").exists)
            late.append(time.process_time() - asked)
        spent, seconds = share.used - used, time.perf_counter() - began
        assert len(one["ann"].rules.subscription) or one.status("ann")["dropped"], "it was no flood"
        assert spent < 0.05 * (seconds + 1) + 0.3
        assert statistics.median(late) < 0.1


async def test_a_login_is_written_once_into_both_trails(place):
    """Of each user, within ten minutes."""
    async with city(place) as one:
        for uid in (1, 1, 2):
            one["ann"].login(uid, 77)
        await trio.sleep(0.1)
        for service in (one["ann"], one.service):
            lines = [line for line in await service.journal.newest() if "tenant.login" in line]
            assert len(lines) == 2
            assert '"tenant":"ann"' in lines[0].replace(": ", ":")
        assert not [line for line in await one["ben"].journal.newest() if "tenant.login" in line]


async def test_a_tenant_cannot_end_the_mount(place):
    """`quit` is the operator's."""
    async with city(place) as one:
        with pytest.raises(CallerError, match="cannot end the mount"):
            await one["ann"].command("quit", 1)


async def test_one_whose_directory_another_process_holds_is_off(place):
    """The status and the metrics say so; the others work."""
    held = StateDirectory(str(place / "state/tenants/ben"))
    try:
        async with city(place) as one:
            assert list(one.service.tenants) == ["ann"]
            assert "another mount uses" in one.status("ben")["off"]
            text = prometheus_client.generate_latest(one.service.registry).decode()
            assert 'vexfs_tenant_up{tenant="ben"} 0.0' in text
            assert 'vexfs_tenant_limit{tenant="ann",what="rules"} 1000.0' in text
            one.save("ben/x")
    finally:
        held.close()


async def test_one_that_breaks_while_it_serves_is_off_alone(place):
    """Its events go nowhere from then on."""
    async with city(place) as one:
        one["ben"].runner._timers._heap.append((0, 0, None))  # what only a bug could put there
        one["ben"].runner._timers._sooner.set()
        await one.until(lambda: "ben" not in one.service.tenants)
        assert "AttributeError" in one.status("ben")["off"]
        await one["ann"].library.install("note.yaml", WRITE % "ann/noted")
        one.save("ben/b.txt")
        one.save("ann/a.txt")
        await one.until((one.root / "ann/noted").exists)


async def test_a_tenants_guard_judges_its_own_territory_only(place):
    """Its denial holds there, for everybody, and nowhere else; a rename across shows it its own side only."""
    guard = "guards: [{name: still, operations: [rename, delete], paths: '**', errno: EPERM}]\n"
    async with city(place) as one:
        guards = one.hosting.guards
        assert not guards.active
        await one["ann"].library.install("guard.yaml", guard)
        assert guards.active
        assert guards.concerns("delete", "ann/f")
        assert not guards.concerns("delete", "ben/f")
        assert guards.judge(SemanticEvent("delete", "ann/f")).errno
        assert not guards.judge(SemanticEvent("delete", "ben/f")).errno
        assert guards.judge(SemanticEvent("rename", "ann/f", "ben/f")).errno
        assert guards.judge(SemanticEvent("rename", "ben/f", "ann/f")).errno
        assert not guards.judge(SemanticEvent("rename", "ben/f", "elsewhere")).errno
