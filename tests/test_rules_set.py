"""The detector of rules on a virtual clock: what keeps a rule from firing, and what switches it off."""

from automation.events import Cause, SemanticEvent
from automation.rules.checks import Moment
from automation.rules.rule import Shelf
from automation.rules.rule_set import RuleSet
from automation.rules.vocabulary import Vocabulary


def rules(*raws: dict) -> RuleSet:
    """A set of rules; each is called by its place."""
    set_, shelf = RuleSet(), Shelf()
    for number, raw in enumerate(raws):
        set_.add(shelf.rule("t.yaml", {"name": f"r{number}", "on": ["file.closed"], **raw}, Vocabulary()))
    return set_


def names(set_: RuleSet, event: SemanticEvent | None = None, *, state=None, now: float = 0.0, wall: float = 0.0):
    """Which rules fire."""
    event = event or SemanticEvent("file.closed", "a/b", uid=7, comm="cp")
    return [fired.rule.name for fired in set_.feed(event, Moment(state or {}, wall), now)]


def test_the_highest_priority_fires_first():
    """And equal ones in the order in which they were loaded."""
    set_ = rules({"priority": "low"}, {}, {"priority": "critical"}, {"priority": "high"}, {})
    assert names(set_) == ["r2", "r3", "r1", "r4", "r0"]


def test_a_cooldown_is_the_rules_or_each_keys():
    """After it the rule fires again; what fell into it is counted."""
    set_ = rules({"cooldown": "10s"}, {"cooldown": "10s", "key": "path"}, {"cooldown": "10s", "key": "event.uid + 1"})
    assert names(set_) == ["r0", "r1", "r2"]
    assert names(set_, SemanticEvent("file.closed", "other", uid=7), now=1) == ["r1"]
    assert names(set_, SemanticEvent("file.closed", "other", uid=8), now=2) == ["r2"]
    assert names(set_, now=10) == ["r0", "r1", "r2"]
    assert set_.rules["r0"].record.suppressed == {"cooldown": 2}


def test_no_more_than_so_many_an_hour():
    """Any hour, not the clock's."""
    set_ = rules({"max_per_hour": 3})
    assert [len(names(set_, now=now)) for now in (0, 10, 20, 30, 3599, 3600, 3605, 3611)] == [1, 1, 1, 0, 0, 1, 0, 1]


def test_a_rule_ignores_what_it_did_itself():
    """Unless it says `own`; it sees what others did."""
    set_ = rules({}, {"own": True}, {"type": "workflow", "workflow": "backup"})
    own = [SemanticEvent("file.closed", "a", cause=Cause("1", f"rules/r{n}", 1)) for n in range(2)]
    assert names(set_, own[0]) == ["r1", "r2"]
    assert names(set_, own[1]) == ["r0", "r1", "r2"]
    assert names(set_, SemanticEvent("file.closed", "a", cause=Cause("1", "backup", 1))) == ["r0", "r1"]


def test_failed_operations_fire_only_who_asks():
    """By `failed: true`."""
    set_ = rules({}, {"failed": True})
    assert names(set_, SemanticEvent("file.closed", "a", errno="EIO")) == ["r1"]


def test_a_feedback_loop_fires_at_the_change():
    """When its conditions come to hold and, for `otherwise`, when they cease to; for each key; sees its own effects."""
    log = [{"action": {"type": "log", "message": "x"}}]
    form = {"type": "feedback_loop", "conditions": "event.size > 10", "cooldown": 0, "key": "path"}
    set_ = rules({**form, "actions": log, "otherwise": log}, {**form, "actions": log})

    def step(size, path="a", cause=None):
        event = SemanticEvent("file.closed", path, size=size, cause=cause)
        return [(f.rule.name, f.otherwise) for f in set_.feed(event, Moment({}, 0.0), 0.0)]

    assert step(5) == []
    assert step(11) == [("r0", False), ("r1", False)]
    assert step(12) == []
    assert step(12, "b") == [("r0", False), ("r1", False)]
    assert step(3, cause=Cause("1", "rules/r0", 1)) == [("r0", True)]
    assert step(20) == [("r0", False), ("r1", False)]


def test_a_rule_that_raises_is_disabled_and_the_others_go_on():
    """After five failures unless it says otherwise, with its reason; enabling it again begins anew."""
    bad = {"conditions": "event.attrs.none.x + 1 > 1"}
    set_ = rules(bad, {}, {**bad, "max_failures": 2})
    faulty = []
    set_.on_fault = lambda rule: faulty.append((rule.name, rule.record.failures))
    for _ in range(10):
        assert names(set_) == ["r1"]
    assert faulty == [("r2", 2), ("r0", 5)]
    rule = set_.rules["r0"]
    assert "failed 5 times" in rule.fault and "none" in rule.fault and not rule.live
    set_.enable(rule, True)
    assert rule.live and not rule.fault
    for _ in range(10):
        names(set_)
    assert faulty[-1] == ("r0", 5) and len(faulty) == 3


def test_what_cannot_be_compiled_is_disabled_at_once():
    """A user who is gone since the rule was validated, say."""
    set_ = rules({"gid": ["nobody-of-this-name"]})
    assert names(set_) == [] and "nobody-of-this-name" in set_.rules["r0"].fault


def test_windows_and_state_decide():
    """By the wall clock and the shared state at the time of the event."""
    set_ = rules({"conditions": [{"time": {"between": "22:00-06:00", "timezone": "UTC"}}, "state.on == true"]})
    assert names(set_, state={"on": True}, wall=23 * 3600) == ["r0"]
    assert names(set_, state={"on": True}, wall=12 * 3600) == []
    assert names(set_, state={}, wall=23 * 3600) == []


def test_exceptions_silence_and_are_counted():
    """By the name of the exception."""
    set_ = rules({"exceptions": [{"name": "known", "fields": ["comm"], "values": ["cp"]}]})
    assert names(set_) == [] and names(set_, SemanticEvent("file.closed", "a", comm="mv")) == ["r0"]
    assert set_.rules["r0"].record.suppressed == {"exception known": 1}


def test_keys_are_bounded():
    """The cooldowns of more keys than are kept forget those that are over, else the oldest."""
    set_ = rules({"cooldown": "1h", "key": "path"})
    for number in range(10_010):
        names(set_, SemanticEvent("file.closed", str(number)), now=number / 100)
    assert len(set_.rules["r0"].record.cool_until) == 10_000


def test_surrogate_names_are_names():
    """A path that is not UTF-8 is matched, and its conditions are evaluated."""
    path = b"a/\xff.csv".decode("utf-8", "surrogateescape")
    set_ = rules({"paths": ["a/*.csv"], "conditions": "event.path.matches('.*csv$') && event.name.endsWith('.csv')"})
    assert names(set_, SemanticEvent("file.closed", path)) == ["r0"]
