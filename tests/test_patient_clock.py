"""The tests' virtual clock waits for threads and the journal; the limits of the rig strike by the wall's clock too."""

import time

import pytest
import trio

from automation.journal.database import Database
from automation.journal.writer import Writer
from tests.automation_rig import rig

WAITS = "triggers: {types: user.go}\nsteps: [{command: {argv: [sleep, '1']}}]"


async def test_it_stands_still_while_a_thread_works(autojump_clock):
    """Whatever else waits for a time; then it jumps."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 3600)
        began = trio.current_time()
        await trio.to_thread.run_sync(time.sleep, 0.1)
        assert trio.current_time() == began
    assert trio.current_time() - began == 3600


async def test_it_stands_still_while_the_journal_is_written(tmp_path, autojump_clock):
    """With a disk that takes its time."""
    writer = Writer(Database(str(tmp_path / "journal.db"), sync="off"))
    writer.start()
    with trio.fail_after(1):
        await writer.perform(lambda connection: time.sleep(0.1))
        await trio.sleep(0.9)
    await writer.close()


async def test_what_takes_long_by_the_walls_clock_is_waited_for(tmp_path, autojump_clock):
    """A process works while the virtual clock runs ahead."""
    async with rig(tmp_path, w=WAITS) as r:
        r.publish("user.go")
        (run,) = await r.settled(20)
        assert run.status == "succeeded"


async def test_what_never_settles_fails(tmp_path, autojump_clock):
    """After the limit, which tells what it waited for."""
    async with rig(tmp_path, w=WAITS.replace("1", "60")) as r:
        r.publish("user.go")
        with pytest.raises(AssertionError, match="'runs': 1"):
            await r.settled(0.3)
