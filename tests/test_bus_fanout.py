"""The bus: numbers, routes, bounds, and what is told of losses."""

import trio
from hypothesis import given
from hypothesis import strategies as st

from automation.bus import Bus, Overflow
from automation.events import SemanticEvent


def event(name="file.created", path="a"):
    return SemanticEvent(name, path, ts=0)


def test_a_name_stands_for_all_below_it():
    """`file` covers `file.closed` and not `filer`."""
    bus = Bus()
    files, closed = bus.subscribe("files", ["file"]), bus.subscribe("closed", ["file.closed"])
    for name in ("file.closed", "file.attr.mode", "filer", "dir.created"):
        bus.publish(event(name))
    assert [e.type for e in files.receive_nowait()] == ["file.closed", "file.attr.mode"]
    assert [e.type for e in closed.receive_nowait()] == ["file.closed"]


def test_what_nobody_hears_is_numbered_all_the_same():
    """Sequence numbers count every accepted event, made or not."""
    bus = Bus()
    sub = bus.subscribe("s", ["dir"])
    assert not bus.heard("file.created")
    assert bus.heard("dir.created")
    bus.skip("file.created")
    bus.publish(event("dir.created"))
    assert [e.seq for e in sub.receive_nowait()] == [2]
    assert bus.counts == {"file.created": 1, "dir.created": 1}


@given(st.integers(1, 20), st.integers(0, 60), st.sampled_from(Overflow))
def test_every_event_is_delivered_or_counted_in_a_gap(capacity, count, overflow):
    """Delivered plus dropped is published, in order, and the gap names the numbers that are missing."""
    bus = Bus()
    sub = bus.subscribe("s", ["file"], capacity=capacity, overflow=overflow)
    for _ in range(count):
        bus.publish(event())
    got = sub.receive_nowait(1000)
    gaps = [e.attrs for e in got if e.type == "system.gap"]
    numbers = [e.seq for e in got if e.type != "system.gap"]
    assert numbers == sorted(numbers)
    missing = sorted(set(range(1, count + 1)) - set(numbers))
    assert sub.dropped == len(missing)
    if missing:
        (gap,) = gaps
        assert (gap["dropped"], gap["first"], gap["last"]) == (len(missing), missing[0], missing[-1])
        position = got.index(next(e for e in got if e.type == "system.gap"))
        assert position == (0 if overflow is Overflow.DROP_OLDEST else len(numbers))
    else:
        assert not gaps


def test_others_hear_of_a_loss_but_not_the_one_who_lost():
    """A gap is announced on the bus when the slow reader reads again, and never makes its own queue worse."""
    bus = Bus()
    slow, other = bus.subscribe("slow", capacity=1), bus.subscribe("other")
    for _ in range(3):
        bus.publish(event())
    assert [e.type for e in slow.receive_nowait()] == ["system.gap", "file.created"]
    told = [e for e in other.receive_nowait() if e.type == "system.gap"]
    assert [(e.attrs["subscription"], e.attrs["dropped"]) for e in told] == [("slow", 2)]
    assert not slow.ready


def test_a_subscription_that_raises_is_closed_and_nobody_notices(caplog):
    """Publishing never raises; the failure is kept for `status`."""
    bus = Bus()

    def broken(event):
        raise ValueError("no")

    bad, good = bus.subscribe("bad", accept=broken), bus.subscribe("good")
    bus.publish(event())
    bus.publish(event())
    assert bad.closed
    assert len(good) == 2
    assert "bad: ValueError" in bus.failed[0]
    assert "bad raised" in caplog.text


def test_interest_is_asked_per_path_and_type():
    """`wanted` is true where a subscription says so, or says nothing of it; `hears` narrows the types."""
    bus = Bus()
    heard = {"file.read"}
    sub = bus.subscribe("s", wants=lambda t, p, m: p.startswith("in/"), hears=lambda t: t in heard)
    assert bus.wanted("file.read", "in/a")
    assert not bus.wanted("file.read", "out/a")
    assert not bus.wanted("file.written", "in/a")
    heard.add("file.written")
    bus.reroute()
    assert bus.wanted("file.written", "in/a")
    sub.close()
    assert not bus.heard("file.read")


async def test_a_waiting_reader_wakes_for_an_event_and_for_the_close():
    """`receive` returns what came; after the close, what was queued and then nothing."""
    bus = Bus()
    sub = bus.subscribe("s")
    got = []

    async def read():
        while batch := await sub.receive():
            got.extend(e.seq for e in batch)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        bus.publish(event())
        await trio.testing.wait_all_tasks_blocked()
        assert got == [1]
        bus.publish(event())
        sub.close()
    assert got == [1, 2]


def test_a_poller_is_called_once():
    """`on_ready` fires for the first event only."""
    bus = Bus()
    sub = bus.subscribe("s")
    calls = []
    sub.on_ready(lambda: calls.append(1))
    bus.publish(event())
    bus.publish(event())
    assert calls == [1]
