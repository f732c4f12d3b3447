"""Circuit breakers on a virtual clock, and as a person sees them."""

import pytest
import trio

from automation.breakers import Breakers, Harmless, Thresholds
from automation.errors import CircuitOpen, WorldError
from tests.automation_rig import rig
from tests.control_rig import FakeService, Kernel


class Calls:
    """Calls one destination and notes what the breaker said."""

    def __init__(self, failures: int = 3) -> None:
        self.told: list[tuple[str, str]] = []
        self.made = 0
        self.breakers = Breakers(
            lambda event: self.told.append((event.attrs["old"], event.attrs["new"])), Thresholds(failures, 10, 40)
        )

    async def __call__(self, error: Exception | None = None, takes: float = 0) -> None:
        async with self.breakers.guard("host:1"):
            self.made += 1
            await trio.sleep(takes)
            if error is not None:
                raise error

    async def fail(self, times: int = 1) -> None:
        for _ in range(times):
            with pytest.raises(WorldError, match="down"):
                await self(WorldError("it is down"))


async def test_it_opens_after_failures_in_a_row_and_sends_nothing_while_open(autojump_clock):
    """A success in between begins the count anew; an open breaker refuses with CircuitOpen before the call."""
    call = Calls()
    await call.fail(2)
    await call()
    await call.fail(2)
    assert call.told == []
    await call.fail()
    assert call.told == [("closed", "open")]
    made = call.made
    with pytest.raises(CircuitOpen, match=r"host:1 keeps failing .* in 10 s \(it is down\)"):
        await call()
    assert call.made == made


async def test_one_probe_decides(autojump_clock):
    """After the cooldown one call goes through, others are refused; success closes, failure doubles the wait."""
    call = Calls()
    await call.fail(3)
    await trio.sleep(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, None, 1)
        await trio.sleep(0.5)
        with pytest.raises(CircuitOpen, match="being tried just now"):
            await call()
    assert call.told == [("closed", "open"), ("open", "half-open"), ("half-open", "closed")]
    await call.fail(3)
    waits = []
    for _ in range(4):
        waits.append(call.breakers.all[0].until - trio.current_time())
        await trio.sleep_until(call.breakers.all[0].until)
        await call.fail()
    assert waits == pytest.approx([10, 20, 40, 40])


async def test_an_answer_that_blames_the_caller_and_a_cancelled_call_do_not_count(autojump_clock):
    """The error is passed on as it is; a cancelled probe leaves room for the next."""
    call = Calls()
    for _ in range(5):
        with pytest.raises(WorldError, match="no such page"):
            await call(Harmless(WorldError("no such page")))
        with trio.move_on_after(1):
            await call(None, 5)
    assert call.told == []
    await call.fail(3)
    await trio.sleep(10)
    with trio.move_on_after(1):
        await call(None, 5)
    await call()
    assert call.breakers.all[0].condition == "closed"


async def test_retries_stop_at_an_open_breaker_and_people_see_it(tmp_path):
    """A step that calls a dead server: two calls, then CircuitOpen; the file, the metrics and the events show it."""
    text = """
name: call
triggers: {types: user.go}
steps:
  - action: {type: http, url: "http://127.0.0.1:1/", breaker: {failures: 2, cooldown: 1h}}
    retry: {attempts: 4, backoff: 1ms}
"""
    async with rig(tmp_path, call=text) as r:
        r.publish("user.go")
        (run,) = await r.settled()
        assert run.status == "failed" and "keeps failing and is left alone" in run.error
        (breaker,) = r.service.breakers.all
        assert (breaker.destination, breaker.condition, breaker.refused) == ("127.0.0.1:1", "open", 2)
        assert [e.attrs["new"] for e in r.events("system.breaker")] == ["open"]
        assert r.service.registry.get_sample_value("vexfs_breaker_open", {"destination": "127.0.0.1:1"}) == 1
        fake = FakeService()
        fake.breakers = r.service.breakers
        page = await Kernel(fake).read("breakers")
        assert "127.0.0.1:1" in page and "open" in page and "tried again in " in page
