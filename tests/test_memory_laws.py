"""Wherever detection is interrupted, what it finds is what it would have found."""

import itertools
import tempfile
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automation.memory import taking
from tests.memory_rig import Detection

DO = "{log: {message: x}}"
DEFINITIONS = {
    "pair": f"""
patterns: {{pair: 'a(user.a) -> b(user.b where size >= a.size) within 20s by path'}}
triggers: [{{type: pattern, pattern: pair, cooldown: 5s}}]
steps: [{DO}]
""",
    "missing": f"""
patterns: {{missing: 'a(user.a) -> !b(user.b) within 7s'}}
triggers: [{{type: pattern, pattern: missing}}]
steps: [{DO}]
""",
    "thrice": f"""
patterns: {{thrice: 'c(user.c){{3}} within 50s skip past last'}}
triggers: [{{type: pattern, pattern: thrice}}]
steps: [{DO}]
""",
    "quiet": f"triggers: [{{types: user.c, debounce: 4s, where: 'event.size > 1'}}]\nsteps: [{DO}]",
    "settled": f"triggers: [{{types: file.closed, settle: 3s, cooldown: 6s}}]\nsteps: [{DO}]",
    "both": f"triggers: [{{types: user.a}}, {{types: user.c}}]\njoin: {{within: 9s}}\nsteps: [{DO}]",
    "cooled": f"""
rules:
  cooled: {{triggers: user.b, cooldown: 6s, actions: {DO}}}
  few: {{triggers: [user.a, pattern.matched], max_per_hour: 3, actions: {DO}}}
  loop: {{type: feedback_loop, triggers: user.c, when: event.size > 2, cooldown: 1s, actions: {DO}}}
""",
    "lamp": f"""
kind: machine
name: lamp
key: path
states:
  off: {{on: {{user.a: on}}}}
  on: {{on: {{user.b: off}}, after: {{5s: {{target: off, do: {DO}}}}}}}
""",
}
NAMES = ("user.a", "user.b", "user.c", "file.closed")
STEP, KILL, STOP, SNAPSHOT = "step", "kill", "stop", "snapshot"
events = st.tuples(st.sampled_from(NAMES), st.sampled_from(["f", "g"]), st.integers(0, 4))
doings = st.one_of(events, events, st.sampled_from([0.5, 2.0, 6.0]), st.sampled_from([STEP, KILL, STOP, SNAPSHOT]))


class History:
    """What happened in several lives; `ran` is what came of it. A snapshot goes on beside what follows it."""

    def __init__(self, directory):
        self.directory, self.ran = directory, []
        self.lives, self.numbers = itertools.count(), itertools.count()
        self.snapshot = trio.CancelScope()

    async def whole(self, doings):
        detection = await self._life(self._place())
        async with trio.open_nursery() as nursery:
            for what in (*doings, 30.0):
                detection = await self._do(what, detection, nursery)
                await trio.lowlevel.checkpoint()  # a row of the snapshot
            nursery.cancel_scope.cancel()
        detection.killed(self._place())
        return sorted(self.ran, key=repr)

    def _place(self):
        return self.directory / str(next(self.lives))

    async def _life(self, place):
        return await Detection(place, self.ran, DEFINITIONS).begin()

    async def _do(self, what, detection, nursery):
        if isinstance(what, tuple):
            name, path, size = what
            more = {"inode": 5} if name == "file.closed" else {}
            detection.publish(name, next(self.numbers), path, size=size, **more)
        elif isinstance(what, float):
            detection.step()
            for _ in range(int(what * 2)):
                await trio.sleep(0.5)
                detection.step()
        elif what is STEP:
            detection.step()
        elif what is SNAPSHOT:
            self.snapshot.cancel()
            self.snapshot = trio.CancelScope()
            nursery.start_soon(self._take, detection.memory, self.snapshot)
        else:
            self.snapshot.cancel()
            await trio.testing.wait_all_tasks_blocked()
            place = self._place()
            if what is KILL:
                detection.killed(place)
            else:
                await detection.closed(place)
            detection = await self._life(place)
        return detection

    async def _take(self, memory, scope):
        with scope:
            await memory.snapshot()


async def history(directory, doings):
    return await History(directory).whole(doings)


@pytest.fixture(autouse=True)
def a_row_at_a_time(monkeypatch):
    """Snapshots pause after every row."""
    monkeypatch.setattr(taking, "SLICE_SECONDS", -1.0)


def run(doings):
    with tempfile.TemporaryDirectory() as directory:
        return trio.run(history, Path(directory), doings, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(doings, max_size=30))
def test_interruptions_change_nothing(doings):
    """Kills and clean stops anywhere between operations and steps, snapshots beside them: the same runs, each once."""
    whole = [what for what in doings if what not in (KILL, STOP, SNAPSHOT)]
    assert run(doings) == run(whole)
