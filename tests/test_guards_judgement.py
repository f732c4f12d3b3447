"""Guards without a mount: who is concerned, what fails how, how long delays are, what a form may say."""

import itertools
from types import SimpleNamespace

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from automation.bus import Bus
from automation.events import SemanticEvent
from automation.guards.buckets import Buckets
from automation.guards.forms import GuardForm, SystemForm
from automation.guards.guard import Guard
from automation.guards.guards import Guards
from automation.rules.vocabulary import Vocabulary
from tests.test_rules_index import PATHS, PATTERNS
from vexfs_fuse import guarding


def guard(number: int = 0, **form) -> Guard:
    return Guard(GuardForm.model_validate({"name": f"g{number}", **form}), "t.yaml", Vocabulary())


def guards(*forms: dict, state=None, **options) -> Guards:
    """Guards over a bus whose denials can be read from `denied`."""
    bus = Bus()
    found = Guards(bus, lambda: state or {}, **options)
    found.denied = bus.subscribe("test", ("rule.denied",))  # type: ignore[attr-defined]
    found.switch([], [guard(number, **form) for number, form in enumerate(forms)])
    return found


def request(operation: str, path: str, dest: str | None = None, **fields) -> SemanticEvent:
    return SemanticEvent(operation, path, dest, **{"uid": 7, "comm": "cp", **fields})


OPERATIONS = st.sampled_from(["open-read", "create", "rename", "delete"])
FORMS = st.fixed_dictionaries(
    {"operations": st.lists(OPERATIONS, min_size=1, max_size=2), "paths": st.lists(PATTERNS, max_size=2)},
    optional={
        "exclude": st.lists(PATTERNS, max_size=1),
        "uid": st.lists(st.integers(0, 1), min_size=1, max_size=1),
        "comm": st.lists(st.sampled_from(["cp", "m*"]), max_size=1),
        "when": st.sampled_from(["event.uid == 1", "state.on == true", {"state": {"name": "on", "equals": True}}]),
    },
)


@given(st.lists(FORMS, max_size=8), OPERATIONS, PATHS, st.none() | PATHS, st.integers(0, 1), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_request_is_denied_if_one_guard_denies_it(forms, operation, path, dest, uid, on):
    """Asking all guards at once says what asking each of them alone says."""
    asked = request(operation, path, dest if operation == "rename" else None, uid=uid)
    alone = [guards(form, state={"on": on}).judge(asked).errno for form in forms]
    assert bool(guards(*forms, state={"on": on}).judge(asked).errno) is any(alone)


def test_guards_that_come_and_go_leave_nothing_behind():
    """The last one takes `active` with it."""
    found = guards({"operations": "all"})
    (one,) = found.guards.values()
    assert found.active and found.judge(request("create", "a")).errno == "EPERM"
    found.enable(one, False)
    assert not found.active and not found.judge(request("create", "a")).errno
    found.enable(one, True)
    found.switch([one], [])
    assert not found.active and not found.concerns("write", "a")


@pytest.mark.parametrize(("failure", "answer"), [("open", ""), ("closed", "EIO")])
def test_a_guard_that_fails_or_is_late_does_what_it_declares(failure, answer):
    """It is never disabled: who is shut out must stay so."""
    common = {"operations": "create", "failure": failure, "errno": "EIO"}
    found = guards({**common, "when": "event.attrs.none.x + 1 > 1"})
    assert [found.judge(request("create", "a")).errno for _ in range(10)] == [answer] * 10
    (one,) = found.guards.values()
    assert one.counts["failed"] == 10 and "none" in one.last_error
    ticks = itertools.count(step=100_000)
    found = guards({**common, "when": "event.uid == 99", "deadline_us": 50}, tick=lambda: next(ticks))
    assert found.judge(request("create", "a")).errno == answer
    assert "100 µs of 50" in next(iter(found.guards.values())).last_error


def test_audit_tells_and_allows():
    """A denial that was none is told as one, with its mode."""
    found = guards({"operations": "delete", "mode": "audit", "errno": "EACCES"})
    assert not found.judge(request("delete", "a/b", pid=5)).errno
    (event,) = found.denied.receive_nowait()
    assert event.attrs == {"rule": "g0", "operation": "delete", "answer": "EACCES", "mode": "audit"}
    assert (event.path, event.pid, event.uid, event.comm) == ("a/b", 5, 7, "cp")


def test_marks_add_up_and_a_denial_wins():
    """Over marks and delays."""
    marks = [{"operations": "create", "action": "mark", "mark": name} for name in ("one", "two")]
    slow = {"operations": "create", "action": "delay", "rate": "1/s", "paths": "slow/*"}
    found = guards(*marks, slow, {"operations": "create", "paths": "shut/*"})
    assert found.judge(request("create", "a")).mark == "one,two"
    found.judge(request("create", "slow/a"))
    verdict = found.judge(request("create", "slow/b"))
    assert verdict.wait > 0 and verdict.mark == "one,two"
    assert found.judge(request("create", "shut/b")).errno == "EPERM"


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=60), st.integers(1, 5), st.floats(1, 50))
@settings(max_examples=200, deadline=None)
def test_a_bucket_lets_no_more_through_than_its_rate(gaps, burst, rate):
    """In any stretch of time, as long as nobody is let through for having waited long enough."""
    buckets, now, times = Buckets(rate, burst, 1e9), 0.0, []
    for gap in gaps:
        now += gap
        wait, within = buckets.take("", now)
        assert within
        times.append(now + wait)
    for i, begin in enumerate(times):
        for j in range(i, len(times)):
            assert j - i + 1 <= burst + (times[j] - begin) * rate + 1 + 1e-6


def test_nobody_waits_longer_than_is_said():
    """Beyond that the request passes or is denied, as the guard says; keys do not wait for each other."""
    clock = lambda: 0.0  # noqa: E731
    common = {
        "operations": "create",
        "action": "delay",
        "rate": "1/s",
        "max_wait": "2s",
        "errno": "EBUSY",
        "key": "uid",
    }
    for beyond, last in (("allow", ("", 2.0)), ("deny", ("EBUSY", 0.0))):
        found = guards({**common, "beyond": beyond}, clock=clock)
        verdicts = [found.judge(request("create", "a")) for _ in range(5)]
        assert [(v.errno, v.wait) for v in verdicts] == [("", 0.0), ("", 1.0), ("", 2.0), last, last]
        assert found.judge(request("create", "a", uid=8)).wait == 0


def test_a_directory_that_moves_takes_what_is_guarded_in_it_along():
    """So its rename is judged by the guards of what lies below, and by theirs alone who guard renames."""
    found = guards({"operations": ["rename"], "paths": "a/b/**"}, {"operations": ["delete"], "paths": "c/d/**"})
    assert found.judge(request("rename", "a", "x"), inside=True).errno == "EPERM"
    assert not found.judge(request("rename", "c", "x"), inside=True).errno
    assert not found.judge(request("rename", "aa", "x"), inside=True).errno


@pytest.mark.parametrize(
    "form",
    [
        {"operations": "fly"},
        {"operations": "create", "paths": ".vexfs"},
        {"operations": "create", "paths": ["ok", "/.vexfs/**"]},
        {"operations": "create", "errno": "ENOSYS"},
        {"operations": "create", "action": "delay"},
        {"operations": "create", "rate": "1/s"},
        {"operations": "create", "action": "delay", "rate": "fast"},
        {"operations": "create", "action": "delay", "rate": "1/s", "max_wait": "1h"},
        {"operations": "create", "action": "mark"},
        {"operations": "create", "deadline_us": 0},
        {"operations": "create", "failure": "ajar"},
        {"operations": []},
    ],
)
def test_forms_that_say_nothing_sensible_are_refused(form):
    """With an error for the author."""
    with pytest.raises((ValidationError, ValueError)):
        guard(**form)


def test_braces_cannot_name_the_control_tree():
    """Nor can anything else that expands to it."""
    with pytest.raises(ValueError, match="lock anybody out"):
        guard(operations="all", paths="{a,.vexfs}/**")


def test_writes_are_traced_only_where_one_may_be_judged():
    """Not where nobody can open for writing at all; where it depends on the caller or the state, they are."""
    shut = guards({"operations": "modify", "paths": "a/**"})
    assert not shut.concerns("write", "a/b") and shut.concerns("create", "a/b")
    for more in ({"when": "state.on == true"}, {"exempt_uid": 0}, {"comm": "cp"}, {"mode": "audit"}):
        assert guards({"operations": "modify", "paths": "a/**", **more}).concerns("write", "a/b")
    assert not guards({"operations": "write", "paths": "a/**"}).concerns("write", "b")


def test_the_default_is_no_guard():
    """System states do nothing until a file says what."""
    assert SystemForm().guards("x") == [] and not guards().active


async def test_beyond_a_thousand_delayed_requests_the_next_passes_and_is_announced(monkeypatch, autojump_clock):
    """Those who need not wait must find somebody to answer them; here two are a thousand."""
    monkeypatch.setattr(guarding, "MOST_WAITING", 2)
    bus = Bus()
    heard = bus.subscribe("test", ("system.overload",))
    judges = guarding.Guarding(guards(), SimpleNamespace(native=None, observer=SimpleNamespace(bus=bus)))
    started, passed = trio.current_time(), []

    async def delayed() -> None:
        await judges._wait(5)
        passed.append(trio.current_time() - started)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(delayed)
    assert passed == [0, 0, 5, 5]
    assert [event.attrs for event in heard.receive_nowait()] == [{"reason": "guards", "limit": 2}]
