"""Schedules, and which firings run, wait or never do."""

import datetime
from zoneinfo import ZoneInfo

import pytest

from automation.admission import Admission, Decision
from automation.definitions import Concurrency
from automation.events import SemanticEvent
from automation.triggers.firing import Firing
from automation.triggers.forms import ScheduleTrigger
from automation.triggers.on_schedule import OnSchedule

BERLIN = ZoneInfo("Europe/Berlin")


def at(*parts, zone=BERLIN):
    return datetime.datetime(*parts, tzinfo=zone).timestamp()


def schedule(now, last=None, **form):
    return OnSchedule("w", 0, ScheduleTrigger.model_validate(form), now, last)


def test_cron_fires_in_its_time_zone():
    """Three in the morning is three in Berlin, in summer and in winter."""
    one = schedule(at(2024, 1, 1, 12), cron="0 3 * * *", timezone="Europe/Berlin")
    assert one.next == at(2024, 1, 2, 3)
    assert schedule(at(2024, 7, 1, 12), cron="0 3 * * *", timezone="Europe/Berlin").next == at(2024, 7, 2, 3)


def test_days_of_changing_clocks_fire_once():
    """Neither the missing nor the doubled hour makes a day without or with two firings."""
    for day in ((2024, 3, 31), (2024, 10, 27)):
        one = schedule(at(*day, 0), cron="30 4 * * *", timezone="Europe/Berlin")
        (first,) = one.due(one.next)
        assert first == at(*day, 4, 30) and one.next - first >= 23 * 3600


def test_missed_times_fire_once_together():
    """A machine that slept three days does not archive three times."""
    one = schedule(at(2024, 1, 1, 12), cron="0 3 * * *", timezone="Europe/Berlin")
    assert one.due(at(2024, 1, 1, 23)) == []
    assert one.due(at(2024, 1, 4, 12)) == [at(2024, 1, 4, 3)] and one.missed == 2
    assert one.due(at(2024, 1, 4, 12)) == [] and one.next == at(2024, 1, 5, 3)


@pytest.mark.parametrize(("catch_up", "days"), [("none", []), ("once", [4]), ("all", [2, 3, 4])])
def test_times_missed_while_nothing_was_mounted_are_caught_up_with_as_said(catch_up, days):
    """The last time that was handled is remembered: not at all, once for all that was missed, or each."""
    now = at(2024, 1, 4, 12)
    one = schedule(now, at(2024, 1, 1, 3), cron="0 3 * * *", timezone="Europe/Berlin", catch_up=catch_up)
    assert one.due(now) == [at(2024, 1, day, 3) for day in days]
    assert one.due(now) == [] and one.next == at(2024, 1, 5, 3)


def test_jitter_spreads_but_is_the_same_after_a_restart():
    """Within its bound, another for each time, and not drawn anew."""
    one, same = (schedule(0, every="1h", jitter="10m") for _ in range(2))
    delays = []
    for hour in range(1, 20):
        assert one.next == same.next
        delays.append(one.next - hour * 3600)
        assert one.due(one.next) == same.due(same.next) == [hour * 3600]
    assert all(0 <= delay <= 600 for delay in delays) and len(set(delays)) == len(delays)


def test_a_pace_of_seconds_after_a_long_sleep_costs_no_long_loop():
    """More missed times than can be told apart fire once."""
    one = schedule(0, every=1)
    assert one.due(10_000_000) and one.next == 10_000_001


def test_a_steady_pace():
    """`every` counts from when the definition was loaded."""
    one = schedule(1000, every="10m")
    assert one.due(1599) == [] and one.due(1600) == [1600] and one.next == 2200


def test_the_local_zone_is_the_default(monkeypatch):
    """TZ names it."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert schedule(at(2024, 1, 1, 12), cron="0 3 * * *").next == at(2024, 1, 2, 3, zone=ZoneInfo("Asia/Tokyo"))


def firing(key="k"):
    return Firing("w", 0, "event", key, (SemanticEvent("file.closed", key),))


def admission(policy, **more):
    return Admission(Concurrency(policy=policy, **more))


def test_queued_runs_one_at_a_time_for_each_key():
    """In order; other keys are not held up."""
    one = admission("queued")
    first, second, third = firing(), firing(), firing()
    assert [one.offer(f) for f in (first, second, third)] == [Decision.START, Decision.WAIT, Decision.WAIT]
    assert one.offer(firing("other")) is Decision.START
    assert one.finished("k") == [second] and one.finished("k") == [third] and one.finished("k") == []
    assert one.finished("other") == [] and one.running == one.waiting == 0 and not one._occupied


def test_single_drops_what_comes_meanwhile():
    """And counts it."""
    one = admission("single")
    assert [one.offer(firing()), one.offer(firing())] == [Decision.START, Decision.DROP]
    assert one.finished("k") == [] and one.offer(firing()) is Decision.START and one.dropped == {"single": 1}


def test_restart_keeps_only_the_newest():
    """The present run is to be cancelled, those that wait give way."""
    one = admission("restart")
    last = firing()
    assert [one.offer(f) for f in (firing(), firing(), last)] == [Decision.START, Decision.RESTART, Decision.RESTART]
    assert one.finished("k") == [last] and one.finished("k") == [] and one.waiting == 0


def test_parallel_knows_no_keys_but_a_limit():
    """What is over the limit waits in order."""
    one = admission("parallel", limit=2)
    late = [firing(), firing()]
    assert [one.offer(firing()) for _ in range(2)] == [Decision.START] * 2
    assert [one.offer(f) for f in late] == [Decision.WAIT] * 2
    assert one.finished("k") == late[:1] and one.finished("k") == late[1:] and one.running == 2


@pytest.mark.parametrize("policy", ["single", "queued", "restart"])
def test_the_limit_holds_over_all_keys(policy):
    """A key that waits for the limit counts as taken."""
    one = admission(policy, limit=1)
    assert one.offer(firing("a")) is Decision.START and one.offer(firing("b")) is Decision.WAIT
    again = one.offer(firing("b"))
    assert again is {"single": Decision.DROP, "queued": Decision.WAIT, "restart": Decision.WAIT}[policy]
    assert [f.key for f in one.finished("a")] == ["b"]


def test_a_full_queue_drops_the_newest():
    """And counts it as full."""
    one = admission("queued", queue=1, limit=1)
    results = [one.offer(firing(key)) for key in ("a", "a", "a", "b")]
    assert results == [Decision.START, Decision.WAIT, Decision.FULL, Decision.FULL] and one.dropped == {"full": 2}


def test_clearing_forgets_what_waits_not_what_runs():
    """As when a workflow is removed."""
    one = admission("queued", limit=2)
    for key in ("a", "a", "b", "c"):
        one.offer(firing(key))
    assert one.clear() == 2 and one.waiting == 0 and one.running == 2
    assert one.finished("a") == [] and one.finished("b") == [] and not one._occupied
