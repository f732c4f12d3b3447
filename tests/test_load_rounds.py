"""Requests come first: while they come, the automations have short slices and a share of the loop's time."""

import itertools

import pytest
import trio

from automation.metering import CURRENT, Account, Metering
from automation.rounds import ALLOWED, DEBT, FEW, QUIET, SLICE, Rounds


class Clock:
    """A clock that is set."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize("state", ALLOWED)
def test_slices_and_batches_are_short_while_requests_come(state):
    """In each state; and long again when none has come for a while."""
    clock = Clock()
    rounds = Rounds(clock)
    rounds.settle(state)
    assert (rounds.slice, rounds.batch(64)) == (SLICE, 64)
    rounds.came()
    assert (rounds.slice, rounds.batch(64), rounds.batch(64, 20)) == (ALLOWED[state][1], FEW, 20)
    clock.now += QUIET
    assert (rounds.slice, rounds.batch(64)) == (SLICE, 64)


@pytest.mark.parametrize("state", ALLOWED)
def test_the_share_of_the_time_is_kept(state):
    """Whoever computes as much as may be computed has its share of ten seconds, and never waits for long."""
    clock = Clock()
    rounds = Rounds(clock)
    rounds.settle(state)
    used, longest = 0.0, 0.0
    while clock.now < 10:
        rounds.came()
        longest = max(longest, rounds.wait)
        if rounds.wait:
            clock.now += rounds.wait
            continue
        rounds.spend(0.0003)
        used += 0.0003
        clock.now += 0.0003
    share = ALLOWED[state][0]
    assert used == pytest.approx(10 * share, rel=0.02) and longest < 0.02
    rounds.spend(5.0)  # a slip
    assert rounds.wait <= 2 * DEBT / share


def test_the_states_give_less_and_less():
    """In the order in which they are graver, and never nothing."""
    shares = [ALLOWED[state] for state in ("Normal", "HighLoad", "Degraded", "Emergency")]
    assert shares == sorted(shares, reverse=True) and min(shares)[0] > 0.1


def test_without_requests_all_of_the_time_is_the_automations():
    """No debt is made."""
    clock = Clock()
    clock.now = 1.0
    rounds = Rounds(clock)
    for _ in range(100):
        rounds.spend(0.01)
        clock.now += 0.01
    rounds.came()
    assert rounds.wait < 0.01


def test_what_other_threads_compute_is_charged_too():
    """It holds up the loop as well."""
    clock = Clock()
    rounds = Rounds(clock)
    rounds.came()
    rounds.charge(0.005)
    assert rounds.wait == pytest.approx(0.009) and rounds.used == 0.005


async def _turns_of(rounds, clock, names, order, most):
    """Tasks that take turns of half a millisecond until there were so many, while requests come."""

    async def one(name):
        while len(order) < most:
            await rounds.take(detects=name.startswith("desk"))
            rounds.came()
            order.append(name)
            clock.now += 0.0005
            await trio.lowlevel.checkpoint()

    rounds.came()
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(one, name)


async def test_those_that_detect_take_turns_with_those_that_act():
    """One desk among twenty runs has far more than a twentieth of the turns; the others come one after the other."""
    clock, order = Clock(), []
    names = ["desk", *(f"run{i}" for i in range(20))]
    await _turns_of(Rounds(clock), clock, names, order, 400)
    late = order[100:]
    assert late.count("desk") > len(late) / 6
    counts = [late.count(f"run{i}") for i in range(20)]
    assert min(counts) > 0 and max(counts) - min(counts) <= 3


async def test_other_tasks_have_their_turn_between_two_slices():
    """While ten tasks compute all that they may, another is looked at at least every few slices."""
    clock, order, looks = Clock(), [], []

    async def requests():
        while len(order) < 200:
            looks.append(len(order))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(requests)
        nursery.start_soon(_turns_of, Rounds(clock), clock, [f"run{i}" for i in range(10)], order, 200)
    assert max(later - before for before, later in itertools.pairwise(looks[20:])) <= 4


@pytest.mark.parametrize("busy", [True, False])
async def test_who_waits_while_requests_come_is_held_up(busy):
    """The time is told; without requests nobody is, however long the turns are."""
    clock, order = Clock(), []
    clock.now = 1.0
    rounds = Rounds(clock)

    async def one():
        for _ in range(20):
            await rounds.take()
            if busy:
                rounds.came()
            order.append(clock.now)
            clock.now += 0.003
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)
    assert len(order) == 60 and (rounds.held() > 0.05 if busy else rounds.held() == 0)


async def test_what_a_run_costs_is_charged_to_the_whole_too():
    """An account adds up, and its whole as well."""
    whole = Rounds()
    account = Account(whole)
    instrument = Metering()

    async def work():
        CURRENT.set(account)
        await trio.lowlevel.checkpoint()
        sum(range(500_000))

    trio.lowlevel.add_instrument(instrument)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
    finally:
        trio.lowlevel.remove_instrument(instrument)
    assert whole.used == account.used > 0.001
