"""One machine over a stream of events: keys, timers, bounds, renames, expressions. No clock: time is an argument."""

import json

import pytest

from automation.events import Cause, SemanticEvent
from automation.machines.detector import Detector
from automation.machines.loading import load
from automation.machines.outcomes import Broken, Evicted, Moved

S = 1_000_000_000


def detector(text: str, state=dict) -> Detector:
    return Detector(load("m.yaml", f"kind: machine\n{text}"), state)


def event(type: str, path: str = "a", at: float = 0, **more) -> SemanticEvent:
    return SemanticEvent(type, path, ts=int(at * S), **more)


UPLOAD = """
vars: {writes: 0}
states:
  idle: {on: {file.opened: busy}}
  busy:
    on:
      file.written: {do: [{assign: {writes: "{{ vars.writes + 1 }}"}}]}
      file.closed: [{when: vars.writes > 1, target: done}, idle]
    after: {5s: {target: idle, do: [{log: "gave up on {{ event.path }} after {{ vars.writes }}"}]}}
  done: {type: final, data: {n: "{{ vars.writes }}"}}
"""


def test_each_key_has_its_own_instance():
    """Two files move apart; what does not move a fresh instance begins none."""
    machine = detector(UPLOAD)
    assert machine.feed(event("file.closed", "a")) == []
    assert len(machine) == 0
    machine.feed(event("file.opened", "a"))
    machine.feed(event("file.opened", "b"))
    machine.feed(event("file.closed", "b"))
    assert (machine.states("a"), machine.states("b"), machine.states("c")) == (("busy",), ("idle",), ())


def test_an_instance_that_ends_is_forgotten_and_says_its_result():
    """The final state's data are the result; the next event of the key begins anew."""
    machine = detector(UPLOAD)
    for name in ("file.opened", "file.written", "file.written"):
        machine.feed(event(name))
    last = machine.feed(event("file.closed"))[-1]
    assert (last.finished, last.result, last.after) == (True, {"n": 2}, ("done",))
    assert len(machine) == 0
    assert machine.deadline() is None
    machine.feed(event("file.opened"))
    assert machine.instances()[0].vars == {"writes": 0}


def test_a_delayed_transition_fires_at_its_time_with_what_was_known():
    """`after` waits from entry, is cancelled by leaving, and sees the event that moved the instance last."""
    machine = detector(UPLOAD)
    machine.feed(event("file.opened", "x", 1))
    assert machine.deadline() == 6 * S
    machine.feed(event("file.closed", "x", 2))
    assert machine.deadline() is None
    machine.feed(event("file.opened", "x", 3))
    machine.feed(event("file.written", "x", 4))
    assert machine.advance(8 * S - 1) == []
    (moved,) = machine.advance(8 * S)
    assert (moved.trigger, moved.at, moved.after) == ("after.busy.5s", 8 * S, ("idle",))
    assert moved.actions == ({"type": "log", "message": "gave up on x after 1"},)


def test_timers_that_are_due_fire_before_a_later_event():
    """An event that comes when a timer should have ended long since meets the state that the timer led to."""
    machine = detector("states: {a: {on: {user.x: b}}, b: {after: {1s: c}, on: {user.x: wrong}}, c: {}, wrong: {}}")
    machine.feed(event("user.x", at=0))
    trail = [outcome.after for outcome in machine.feed(event("user.x", at=60))]
    assert trail == [("c",)]


def test_chained_timers_each_count_from_their_own_time():
    """A clock that leaps makes no delay longer: each timer starts when the one before it was due."""
    machine = detector("key: none\nstates: {a: {after: {5s: b}}, b: {after: {5s: c}}, c: {after: {5s: a}}}")
    machine.start(0)
    assert [(o.at // S, o.after) for o in machine.advance(12 * S)] == [(5, ("b",)), (10, ("c",))]
    assert machine.deadline() == 15 * S


def test_at_the_limit_the_instance_that_is_idle_longest_goes():
    """Never more instances than `limit`; the evicted one is told of and counted, its timers with it."""
    machine = detector(UPLOAD + "limit: 2\n")
    for path in "abac":
        outcomes = machine.feed(event("file.opened" if path != "a" or not len(machine) else "file.written", path))
    assert [o for o in outcomes if isinstance(o, Evicted)] == [Evicted("m", "b", 2, 1, 0)]
    assert (machine.states("b"), len(machine), machine.evicted) == ((), 2, 1)
    assert len(machine.advance(100 * S)) == 2


def test_a_renamed_file_keeps_its_instance():
    """With the key `path` an instance follows its file, whether the chart waits for renames or not, and replaces one of
    the new name; a renamed directory takes everything below along.
    """
    machine = detector("states: {a: {on: {file.opened: b}}, b: {on: {file.closed: c}}, c: {}}")
    for path in ("old", "new", "d/x", "d/e/y", "dd"):
        machine.feed(event("file.opened", path))
    machine.feed(event("file.closed", "old"))
    machine.feed(event("file.renamed", "old", dest="new"))
    assert (machine.states("old"), machine.states("new"), len(machine)) == ((), ("c",), 4)
    machine.feed(event("dir.renamed", "d", dest="moved/f"))
    assert {instance.key for instance in machine.instances()} == {"new", "dd", "moved/f/x", "moved/f/e/y"}
    machine.feed(event("file.renamed", "dd", dest="gone", errno="EACCES"))
    assert machine.states("dd") == ("b",)


@pytest.mark.parametrize(
    ("key", "fields", "expected"),
    [
        ("path", {}, "d/f"),
        ("directory", {}, "d"),
        ("pid", {"pid": 7}, 7),
        ("uid", {"uid": 5}, 5),
        ("tenant", {"tenant": "t"}, "t"),
        ("event.attrs.user", {"attrs": {"user": "eve"}}, "eve"),
        ("[event.uid, event.gid]", {"uid": 1, "gid": 2}, "[1, 2]"),
        ("none", {}, ""),
    ],
)
def test_the_key_is_any_field_or_expression(key, fields, expected):
    """Short names and CEL; a list or object is a key as its JSON."""
    machine = detector(f"key: {json.dumps(key)}\nstates: {{a: {{on: {{user.x: b}}}}, b: {{}}}}")
    machine.feed(event("user.x", "d/f", **fields))
    assert machine.states(expected) == ("b",)


def test_an_event_without_a_key_is_passed_over_and_counted():
    """An expression that fails for an event is a fault of the definition, shown in the status."""
    machine = detector("key: event.attrs.user\nstates: {a: {on: {user.x: b}}, b: {}}")
    assert machine.feed(event("user.x")) == []
    assert machine.status()["faults"] == 1
    assert "user" in machine.status()["last_fault"]


def test_filters_decide_which_events_it_sees():
    """Path, `where`, failed operations and the machine's own effects."""
    text = "path: in/**\nwhere: event.uid > 0\nstates: {a: {on: {user.x: b}}, b: {}}"
    for wrong in (
        event("user.x", "out/f", uid=1),
        event("user.x", "in/f"),
        event("user.x", "in/f", uid=1, errno="EIO"),
        event("user.x", "in/f", uid=1, cause=Cause("r", "m", 1)),
        event("user.y", "in/f", uid=1),
    ):
        machine = detector(text)
        assert machine.feed(wrong) == []
    assert len(detector(text).feed(event("user.x", "in/f", uid=1))) == 2
    assert len(detector(text + "\nown: true").feed(event("user.x", "in/f", uid=1, cause=Cause("r", "m", 1)))) == 2


def test_conditions_see_event_variables_shared_state_and_other_states():
    """CEL over `event`, `vars`, `state` and `machine`, `In()` for states."""
    shared = {"system": {"state": "Normal"}}
    text = """
vars: {least: 3}
states:
  a: {on: {user.x: {target: b, when: "event.size >= vars.least && state.system.state == 'Normal' && In('a')"}}}
  b: {on: {user.x: {target: a, when: "machine.states == ['b'] && machine.key == event.path && !In('a')"}}}
"""
    machine = detector(text, lambda: shared)
    machine.feed(event("user.x", size=2))
    assert machine.states("a") == ()
    machine.feed(event("user.x", size=3))
    assert machine.states("a") == ("b",)
    machine.feed(event("user.x", size=3))
    assert machine.states("a") == ("a",)
    shared["system"]["state"] = "Emergency"
    machine.feed(event("user.x", size=3))
    assert machine.states("a") == ("a",)


@pytest.mark.parametrize(
    ("condition", "size", "holds"),
    [
        ("event.size > 3", 4, True),
        ("event.size > 3", None, False),
        ("event.size + 1 == 4", 3, True),
        ("event.size == 3.0", 3, True),
        ("event.path == 'a' && event.size < 9 || event.size == 100", 100, True),
        ("!(event.size > 3)", 4, False),
        ("event.path.startsWith('a') && event.name.contains('a')", 0, True),
        ("event.size in [1, 2]", 2, True),
        ("event.attrs.x > 1", 1, False),
        ("has(event.attrs.x) || event.size == 1", 1, True),
        ("event.path == \"In('a')\"", 1, False),
        ("vars.flag", 1, True),
        ("vars.flag == 1", 1, False),
        ("vars.text > 'b'", 1, True),
        ("vars.big + 1 > 0", 1, False),
    ],
)
def test_fast_conditions_answer_as_cel_does(condition, size, holds):
    """Closures for common shapes agree with CEL, also where types differ, numbers overflow or fields are missing."""
    text = f"vars: {{flag: true, text: c, big: {2**63 - 1}}}\n"
    text += f"states: {{a: {{on: {{user.x: {{target: b, when: {json.dumps(condition)}}}}}}}, b: {{}}}}"
    machine = detector(text)
    machine.feed(event("user.x", "a", size=size))
    assert (machine.states("a") == ("b",)) is holds


def test_a_condition_that_fails_is_false_and_told():
    """The move that another transition makes carries the fault."""
    machine = detector("states: {a: {on: {user.x: [{when: event.attrs.no > 1, target: c}, b]}}, b: {}, c: {}}")
    moved = machine.feed(event("user.x"))[-1]
    assert moved.after == ("b",)
    assert len(moved.faults) == 1


def test_names_that_look_like_templates_stay_as_they_are():
    """What an expression gives is no expression: a file's name cannot smuggle one in."""
    machine = detector('states: {a: {on: {user.x: {target: b, do: [{log: "{{ event.path }}!"}]}}}, b: {}}')
    (action,) = machine.feed(event("user.x", "{{ state }}"))[-1].actions
    assert action["message"] == "{{ state }}!"


@pytest.mark.parametrize(
    "states",
    [
        "{a: {on: {user.x: b}}, b: {always: c}, c: {always: b}}",
        "{a: {on: {user.x: b}}, b: {entry: [{raise: r}], on: {r: b}}}",
        "{a: {on: {user.x: b}}, b: {entry: [{send: r}], on: {r: b}}}",
    ],
)
def test_a_machine_that_would_move_without_end_is_stopped(states):
    """Its instance is given up with a reason, and the next event finds everything as it should be."""
    machine = detector(f"states: {states}")
    assert isinstance(machine.feed(event("user.x"))[-1], Broken)
    assert len(machine) == 0
    assert isinstance(machine.feed(event("user.x"))[-1], Broken)


def test_timers_and_values_of_an_instance_are_bounded():
    """A hundred timers, texts of 64 KiB: what goes beyond is a fault, not a growing process."""
    text = 'vars: {t: "xxxxxxxx"}\nkey: none\nstates: {a: {on: {user.x: {do: [{send: {event: e, after: 1h}}]}, '
    text += 'user.y: {do: [{assign: {t: "{{ vars.t + vars.t }}"}}]}}}}'
    machine = detector(text)
    machine.start(0)
    for _ in range(150):
        machine.feed(event("user.x"))
        machine.feed(event("user.y"))
    (instance,) = machine.instances()
    assert (len(instance.timers), len(instance.vars["t"])) == (100, 65536)
    assert machine.faulty > 100


def test_a_snapshot_is_plain_json_and_restores_timers_history_and_origin():
    """Timers that ended while nobody looked fire at once, at their own time, with their event."""
    machine = detector(UPLOAD)
    machine.feed(event("file.opened", "x", 1, size=7, cause=Cause("r", "w", 2)))
    kept = json.loads(json.dumps(list(machine.rows())))
    copy = detector(UPLOAD)
    copy.restore(kept)
    assert list(copy.rows()) == list(machine.rows())
    (moved,) = copy.advance(1000 * S)
    assert (moved.at, moved.event.size, moved.event.cause) == (6 * S, 7, Cause("r", "w", 2))


def test_instances_that_do_not_fit_a_changed_chart_are_given_up_in_words():
    """The others go on."""
    machine = detector("states: {a: {on: {user.x: b, user.y: c}}, b: {}, c: {}}")
    machine.feed(event("user.x", "1"))
    machine.feed(event("user.y", "2"))
    changed = detector("states: {a: {on: {user.x: b}}, b: {}}")
    (broken,) = changed.restore(machine.rows())
    assert (broken.key, "there is no state 'c'" in broken.reason) == ("2", True)
    assert changed.states("1") == ("b",)


def test_events_by_hand_pass_the_filters():
    """`inject` names the key itself, and begins the instance if need be."""
    machine = detector("path: in/**\nstates: {a: {on: {approve: {target: b, when: event.attrs.by == 'me'}}}, b: {}}")
    moved = machine.inject("out", "approve", {"by": "me"}, None, 5)[-1]
    assert isinstance(moved, Moved)
    assert machine.is_in("b", "out")
    assert not machine.is_in("nowhere", "out")
