"""The loop of those who detect: what wakes it, and that a bug of ours does not end it."""

import math

import trio
from trio.testing import wait_all_tasks_blocked

from automation.bus import Bus
from automation.events import SemanticEvent
from automation.turns import Turns


async def test_a_step_that_raises_is_logged_and_the_next_one_comes(caplog):
    """Each event wakes the loop, whatever became of the one before."""
    bus = Bus()
    subscription = bus.subscribe("reader", ("file",))
    taken = []

    def step():
        taken.extend(event.path for event in subscription.receive_nowait())
        if taken == ["first"]:
            raise RuntimeError("a bug")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Turns(bus, subscription).serve, step, lambda: math.inf)
        for path in ("first", "second"):
            await wait_all_tasks_blocked()
            bus.publish(SemanticEvent("file.closed", path))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert taken == ["first", "second"]
    assert "reader met a bug" in caplog.text and "RuntimeError: a bug" in caplog.text


async def test_the_loop_turns_at_the_deadline_and_when_it_is_woken(autojump_clock):
    """Without events it waits for whichever comes first."""
    bus = Bus()
    turns = Turns(bus, bus.subscribe("reader", ("file",)))
    start, steps = trio.current_time(), []

    def deadline():
        return math.inf if 10 in steps else start + 10

    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.serve, lambda: steps.append(trio.current_time() - start), deadline)
        await trio.sleep(4)
        assert steps == []
        turns.wake()
        await trio.sleep(1)
        assert steps == [4]
        await trio.sleep(50)
        nursery.cancel_scope.cancel()
    assert steps == [4, 10]
