"""`vexfs replay` with everything that can act: schedules, state, joins, rules, machines, Lua; on a virtual clock."""

import io
import json

import pytest

from automation import replay

HOUR = 3_600_000
STEPS = "steps: [{log: {message: x}}]"


@pytest.fixture
def rehearse(tmp_path):
    """Definitions by file name, then lines: the records without the last, each with some of its fields."""

    def run(lines, **files):
        for name, text in files.items():
            stem, _, suffix = name.rpartition("_")
            (tmp_path / f"{stem}.{suffix}").write_text(text)
        out = io.StringIO()
        given = "".join(json.dumps(line) + "\n" for line in lines).encode()
        code = replay.main(["--definitions", str(tmp_path), "-"], stdin=io.BytesIO(given), stdout=out)
        *records, end = [json.loads(line) for line in out.getvalue().splitlines()]
        assert end["kind"] == "end" and code == (1 if any(r["kind"] == "invalid" for r in records) else 0)
        return records

    return run


def shown(records, *fields):
    return [tuple(record.get(field) for field in fields) for record in records]


def test_schedules_run_by_the_time_of_the_lines(rehearse):
    """From the first line on: a pace, and cron in its time zone; a jump brings each of the times."""
    pace = "triggers: [{type: schedule, every: 20m}]\nsteps: [{log: {message: x}}]"
    cron = "triggers: [{type: schedule, cron: '30 2 * * *', timezone: UTC}]\nsteps: [{log: {message: x}}]"
    records = rehearse([{"type": "user.a", "ts_ms": HOUR}, {"advance_to": 2 * HOUR}, {"advance_to": 3 * HOUR}],
                       pace_yaml=pace, cron_yaml=cron)  # fmt: skip
    minutes = [(r["workflow"], r["at"], r["ts"] // 60_000_000_000) for r in records]
    assert minutes == [("pace", 1, 80), ("pace", 1, 100), ("pace", 1, 120),
                       ("pace", 2, 140), ("cron", 2, 150), ("pace", 2, 160), ("pace", 2, 180)]  # fmt: skip
    assert {r["trigger"] for r in records} == {"schedule#0"}


def test_time_begins_with_the_first_line_that_has_one(rehearse):
    """The state before it, as hand-written files begin, is that of no time: nothing falls due since 1970."""
    records = rehearse(
        [{"state": {"on": True}}, {"type": "user.a", "ts_ms": 1_795_674_329_000}, {"advance_to": 1_795_674_340_000}],
        pace_yaml="triggers: [{type: schedule, every: 4s}]\nsteps: [{log: {message: x}}]",
        tick_yaml="rules: [{name: tick, type: proactive, every: 5s, conditions: state.on == true}]",
    )
    assert shown(records, "kind", "at", "ts") == [
        (kind, 2, 1_795_674_329_000_000_000 + seconds * 10**9)
        for kind, seconds in (("run", 4), ("firing", 5), ("run", 8), ("firing", 10))
    ]


def test_the_end_of_time_is_reached_though_schedules_have_none(rehearse):
    """`advance_to: max` ends absences; what comes again and again stays out."""
    records = rehearse(
        [{"type": "file.written", "path": "a.log", "ts_ms": 0}, {"advance_to": "max"}],
        pace_yaml="triggers: [{type: schedule, every: 1s}]\nsteps: [{log: {message: x}}]",
        still_yaml="pattern: 'grew(file.written) ->[5m] !again(file.written) by path'",
        every_yaml="rules: [{name: tick, type: proactive, every: 5s, actions: [{log: {message: x}}]}]",
    )
    assert shown(records, "kind", "pattern", "ts") == [("match", "still", 300 * 10**9)]


def test_what_is_due_comes_in_the_order_of_time(rehearse):
    """An absence that begins a debounce, both before the next line."""
    records = rehearse(
        [{"type": "file.written", "path": "a.log", "ts_ms": 0}, {"advance_to": 600_000}],
        still_yaml="pattern: 'grew(file.written) ->[1m] !again(file.written) by path'",
        after_yaml="triggers: [{types: pattern.matched, debounce: 90s}]\nsteps: [{log: {message: x}}]",
    )
    assert shown(records, "kind", "ts") == [("match", 60 * 10**9), ("run", 150 * 10**9)]
    assert records[1]["events"] == [-1]


def test_proactive_rules_and_what_rules_bring_about(rehearse):
    """A rule by the clock, by the state; its firing is an event for another rule."""
    rules = """
rules:
  - {name: tick, type: proactive, every: 1m, conditions: state.armed == true, actions: [{log: {message: x}}]}
  - {name: heard, on: rule.fired, type: workflow, conditions: event.attrs.rule == 'tick', workflow: other}
"""
    lines = [
        {"type": "user.a", "ts_ms": 0},
        {"advance_to": 90_000},
        {"state": {"armed": True}},
        {"advance_to": 130_000},
    ]
    records = rehearse(lines, rules_yaml=rules)
    assert shown(records, "kind", "rule", "ts", "workflow", "event") == [
        ("firing", "tick", 120 * 10**9, None, 0),
        ("firing", "heard", 120 * 10**9, "other", -2),
    ]


def test_state_triggers_follow_the_state_of_the_input(rehearse):
    """Set by a line, by a recorded event, held for a time; a wrong line is told of."""
    text = """
triggers:
  - {type: state_change, state_path: limits.size, operator: '>', value: 5, for: 10s}
steps: [{log: {message: x}}]
"""
    records = rehearse(
        [
            {"state": {"limits.size": 9}},
            {"advance_to": 5000},
            {"type": "system.state", "ts_ms": 6000, "path": "", "attrs": {"path": "limits.size", "new": 1}},
            {"advance_to": 20_000},
            {"state": {"limits.size": 7}},
            {"state": {"a..b": 1}},
            {"advance_to": 40_000},
        ],
        limit_yaml=text,
    )
    assert shown(records, "kind", "at", "ts") == [("invalid", 5, None), ("run", 6, 30 * 10**9)]


def test_the_system_state_follows_the_load(rehearse):
    """By the thresholds among the definitions; its transition is an event."""
    system = "kind: system\nthresholds: [{measure: queues, state: HighLoad, enter: 0.5}]"
    text = "triggers: [{type: state_change, state_path: system.state, operator: '==', value: HighLoad}]\n"
    records = rehearse(
        [
            {"load": {"queues": 0.2}},
            {"load": {"queues": 0.7}},
            {"load": {"queue": 1}},
            {"state": {"system.state": "auto"}},
        ],
        system_yaml=system,
        busy_yaml=text + "steps: [{log: {message: x}}]",
    )
    assert shown(records, "kind", "at", "workflow") == [("run", 1, "busy"), ("invalid", 2, None)]


def test_machines_move_and_say_what_they_would_do(rehearse):
    """By events, by timers; the move is an event for workflows."""
    chart = """
kind: machine
states:
  idle: {on: {file.opened: busy}}
  busy:
    entry: {log: "{{ event.path }}"}
    on: {file.closed: idle}
    after: {1h: stuck}
  stuck: {type: final}
"""
    records = rehearse(
        [
            {"type": "file.opened", "path": "a", "ts_ms": 0},
            {"type": "file.opened", "path": "b", "ts_ms": 1},
            {"type": "file.closed", "path": "a", "ts_ms": 2},
            {"advance_to": 2 * HOUR},
        ],
        open_yaml=chart,
        told_yaml="triggers: [{types: machine.changed, where: event.attrs.trigger.startsWith('after')}]\n" + STEPS,
    )
    assert shown(records, "kind", "key", "after", "at") == [
        ("move", "a", ["idle"], 0),
        ("move", "a", ["busy"], 0),
        ("move", "b", ["idle"], 1),
        ("move", "b", ["busy"], 1),
        ("move", "a", ["idle"], 2),
        ("move", "b", ["stuck"], 3),
        ("run", "b", None, 3),
    ]
    assert records[1]["actions"][0]["message"] == "a"
    assert records[5]["finished"] and records[5]["ts"] == HOUR * 10**6 + 10**6


def test_lua_definitions_have_triggers_too(rehearse):
    """What a Lua file declares is read in its worker."""
    lua = """
workflow {
  name = "greet",
  triggers = {{types = "file.closed", path = "in/*"}},
  steps = {{name = "one", run = function(ctx) return 1 end}},
}
"""
    records = rehearse([{"type": "file.closed", "path": "in/a", "ts_ms": 5}], greet_lua=lua)
    assert shown(records, "kind", "workflow", "path") == [("run", "greet", "in/a")]


def test_joined_triggers_start_one_run(rehearse):
    """Once both have fired."""
    text = """
triggers: [{types: user.a}, {types: user.b}]
join: {within: 10s}
steps: [{log: {message: x}}]
"""
    lines = [
        {"type": f"user.{name}", "ts_ms": at} for name, at in (("a", 0), ("b", 20_000), ("a", 25_000), ("b", 26_000))
    ]
    records = rehearse(lines, both_yaml=text)
    assert shown(records, "trigger", "at", "events")[0] == ("join#0", 2, [2, 3])


def test_a_recorded_log_is_not_found_twice(rehearse):
    """What the same patterns, rules and machines told when it was recorded is passed over."""
    text = "pattern: 'a(user.a) -> b(user.b)'"
    lines = [
        {"type": "user.a", "seq": 1, "ts": 1},
        {"type": "user.b", "seq": 2, "ts": 2},
        {"type": "pattern.matched", "seq": 3, "ts": 3, "attrs": {"pattern": "pair"}, "code": 0x680},
        {"type": "pattern.matched", "seq": 4, "ts": 4, "attrs": {"pattern": "stranger"}, "code": 0x680},
    ]
    told = "triggers: [{types: pattern.matched}]\nsteps: [{log: {message: x}}]"
    records = rehearse(lines, pair_yaml=text, told_yaml=told)
    assert [(r["kind"], r["at"], r.get("event")) for r in records] == [
        ("match", 1, None),
        ("run", 1, -1),
        ("run", 3, 4),
    ]


def test_a_chain_of_firings_ends(rehearse):
    """Rules that hear each other stop at the depth limit."""
    rules = """
rules:
  - {name: ping, on: [user.go, rule.fired], own: true, actions: [{log: {message: x}}]}
  - {name: pong, on: rule.fired, conditions: event.attrs.rule == 'ping', own: true, actions: [{log: {message: x}}]}
"""
    records = rehearse([{"type": "user.go", "ts_ms": 0}], rules_yaml=rules)
    assert 8 <= len(records) < 1000 and {r["kind"] for r in records} == {"firing"}
