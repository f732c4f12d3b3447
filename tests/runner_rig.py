"""A runner alone: its actions are noted, its ledger may die at a write, its clock goes with trio's virtual one."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import trio
from trio.testing import MockClock

from automation.bus import Bus
from automation.errors import WorldError
from automation.events import SemanticEvent
from automation.runner import Run, Runner
from automation.runner.ledger import MemoryLedger
from automation.state import State
from automation.triggers.firing import Firing
from tests.automation_rig import virtual_wall


class Crash(BaseException):
    """The process dies."""


class Performer:
    """Notes what is performed. `bad` always fails, `flaky` the first time."""

    dry = False

    def __init__(self):
        self.done = Counter()

    async def perform(self, action, context):
        self.done[context.key] += 1
        await trio.lowlevel.checkpoint()
        if action.path == "bad" or (action.path == "flaky" and self.done[context.key] == 1):
            raise WorldError(f"{action.path} fails")
        return {"path": action.path}


class MortalLedger(MemoryLedger):
    """Dies before or after the write of a number."""

    def __init__(self, dies_at=None, before=False):
        super().__init__()
        self.writes, self.dies_at, self.before = 0, dies_at, before

    async def create(self, run, records=()):
        return await self._mortal(partial(super().create, run, records))

    async def append(self, run_id, records):
        return await self._mortal(partial(super().append, run_id, records))

    async def _mortal(self, write):
        self.writes += 1
        if self.dies_at is not None and (self.writes > self.dies_at or (self.writes == self.dies_at and self.before)):
            raise Crash
        result = await write()
        if self.writes == self.dies_at:
            raise Crash
        return result


def life(
    plan, ledger, performer, *, later=0.0, during: Callable[[Bus, Runner], None] = lambda bus, runner: None
) -> Run | None:
    """Run the plan, or take it up again `later` (s); the run, None when the process died. `during` is called every
    half minute while the run waits.
    """

    async def main():
        bus = Bus()
        wall = virtual_wall()
        equipment = SimpleNamespace(state=State(bus), secrets=SimpleNamespace(redact=lambda value: value))
        runner = Runner(
            bus,
            equipment=equipment,
            executor=performer,
            started_ns=1,
            ledger=ledger,
            clock=lambda: round((wall() + later) * 1e9),
        )

        async def interfere():
            while not run.finished:
                await trio.sleep(30)
                if run.status == "waiting":
                    during(bus, runner)

        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            event = SemanticEvent("user.run", ts=1)
            if ledger.runs:
                (stored,) = ledger.runs.values()
                run = runner.resume(await ledger.load(stored.run.id))
            else:
                run = runner.start(plan, Firing("w", 0, "event", "k", (event,)))
            nursery.start_soon(interfere)
            await runner.ended(run.id)
            nursery.cancel_scope.cancel()
        return run

    try:
        return trio.run(main, clock=MockClock(autojump_threshold=0))
    except BaseExceptionGroup as group:
        if group.split(Crash)[1] is not None:
            raise
        return None


def timeless(value):
    """The same without the times at which waits ended."""
    if isinstance(value, dict):
        return {name: timeless(inner) for name, inner in value.items() if name not in ("until", "error")}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def outcome(ledger):
    """What the ledger has in the end: output, status, and each place's end."""
    (stored,) = ledger.runs.values()
    ends = [record for record in stored.records if record.kind == "ended"]
    at = {record.place: (record.data["status"], timeless(record.data.get("result"))) for record in ends}
    assert len(at) == len(ends), "a place ended twice"
    return timeless(dict(stored.finished.data)), at
