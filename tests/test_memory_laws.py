"""Wherever detection is interrupted, what it finds is what it would have found."""

import itertools
import tempfile
from pathlib import Path

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

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


async def history(directory, doings):
    """What ran, when all that is done is done; kills and stops take no time."""
    ran, lives, numbers = [], itertools.count(), itertools.count()
    detection = await Detection(directory / str(next(lives)), ran, DEFINITIONS).begin()
    for what in (*doings, 30.0):
        if isinstance(what, tuple):
            name, path, size = what
            attrs = {"mode": "w", "nlink": 1} if name == "file.closed" else {}
            detection.publish(name, next(numbers), path, size=size, **({"inode": 5} if attrs else {}))
        elif isinstance(what, float):
            detection.step()
            for _ in range(int(what * 2)):
                await trio.sleep(0.5)
                detection.step()
        elif what is STEP:
            detection.step()
        elif what is SNAPSHOT:
            await detection.memory.snapshot()
        else:
            following = directory / str(next(lives))
            if what is KILL:
                detection.killed(following)
            else:
                await detection.closed(following)
            detection = await Detection(following, ran, DEFINITIONS).begin()
    detection.killed(directory / "end")
    return sorted(ran, key=repr)


def run(doings):
    with tempfile.TemporaryDirectory() as directory:
        return trio.run(history, Path(directory), doings, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(max_examples=30, deadline=None)
@given(st.lists(doings, max_size=30))
def test_interruptions_change_nothing(doings):
    """Kills and clean stops anywhere between operations and steps, snapshots anywhere: the same runs, each once."""
    whole = [what for what in doings if what not in (KILL, STOP, SNAPSHOT)]
    assert run(doings) == run(whole)
