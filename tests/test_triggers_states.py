"""Triggers on the shared state, on what comes from outside, and several as one."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from automation.loading import examine
from automation.triggers.comparisons import holds, parse_operator
from tests.automation_rig import rig

BACKUP = """
triggers:
- type: state_change
  state_path: disk_usage
  condition: {operator: GreaterThan, value: 0.8, tolerance: 0.05}
steps:
- write: {path: log, content: "{{ event.attrs.new }} ", append: true}
"""


@pytest.mark.parametrize(
    ("operator", "actual", "value", "expected"),
    [
        ("==", 1, 1.0, True),
        ("Equal", "a", "a", True),
        ("equal", True, 1, False),
        ("!=", "a", "b", True),
        (">", 2, 1, True),
        (">", "b", "a", True),
        (">", "b", 1, False),
        ("less_than", 1, 2, True),
        (">=", 2, 2, True),
        ("LessThanOrEqual", 3, 2, False),
        ("contains", "abc", "b", True),
        ("contains", [1, 2], 2, True),
        ("contains", {"a": 5}, "a", True),
        ("starts_with", "abc", "ab", True),
        ("EndsWith", "abc", "bc", True),
        ("matches", "abc", "^a.c$", True),
        ("matches", None, "x", False),
    ],
)
def test_the_ten_operators(operator, actual, value, expected):
    """By any of their names; what cannot be compared does not hold."""
    assert holds(parse_operator(operator), actual, value) is expected


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0, 10))
def test_a_dead_band_only_ever_prolongs(actual, value, tolerance):
    """What begins to hold without the band holds with it, and the band reaches as far as the tolerance."""
    for name in ("greater_than", "less_than", "greater_than_or_equal", "less_than_or_equal"):
        fresh, held = (holds(name, actual, value, tolerance, held=was) for was in (False, True))
        assert held or not fresh
        if held and not fresh:
            assert abs(actual - value) <= tolerance


async def test_a_condition_fires_once_until_it_has_gone_back_past_its_tolerance(tmp_path, autojump_clock):
    """The seed's example: above 0.8, again only after falling to 0.75."""
    async with rig(tmp_path, backup=BACKUP) as one:
        for value in (0.79, 0.81, 0.85, 0.78, 0.9, 0.74, 0.82):
            one.service.state.set("disk_usage", value)
            await one.settled()
        assert one.text("log") == "0.81 0.82 "
        assert {run.trigger for run in one.runs} == {"state_change#0"}


async def test_what_must_last_fires_after_it_has_lasted(tmp_path, autojump_clock):
    """`held: 10s`; a shorter excursion does not count."""
    workflow = """
    triggers: {type: state_change, path: load.cpu, operator: ">=", value: 5, held: 10s}
    steps: [{write: {path: log, content: x, append: true}}]
    """
    async with rig(tmp_path, w=workflow) as one:
        state = one.service.state
        state.set("load", {"cpu": 7})  # a change above the path counts
        await trio.sleep(9)
        state.set("load.cpu", 1)
        await trio.sleep(20)
        assert one.files() == []
        state.set("load.cpu", 5)
        await trio.sleep(11)
        await one.settled()
        assert one.text("log") == "x"


async def test_a_condition_that_holds_when_the_definition_comes_fires(tmp_path, autojump_clock):
    """Who asks for a backup above 0.8 gets one when the disk is that full already."""
    async with rig(tmp_path) as one:
        one.service.state.set("disk_usage", 0.95)
        await one.service.library.install("backup.yaml", BACKUP)
        await one.until(lambda: bool(one.runs))
        await one.settled()
        assert len(one.runs) == 1 and one.runs[0].event["attrs"]["new"] == 0.95


async def test_a_workflow_that_sets_what_it_watches_does_not_trigger_itself(tmp_path, autojump_clock):
    """Unless it says `own`."""
    workflow = """
    triggers: {type: state_change, path: counter}
    steps: [{update_state: {path: counter, value: "{{ state.counter + 1 }}"}}]
    """
    async with rig(tmp_path, w=workflow) as one:
        one.service.state.set("counter", 1)
        await one.settled()
        assert one.service.state.get("counter") == 2 and len(one.runs) == 1


JOIN = """
triggers:
- {types: file.created, path: "a/**"}
- {types: file.created, path: "b/**"}
- {types: file.created, path: "c/**"}
join: JOINED
steps: [{write: {path: log, content: "{{ run.count }} {{ run.paths }};", append: true}}]
"""


@pytest.mark.parametrize(
    ("join", "log"),
    [
        ("{require: all, by: event.name}", '3 ["a/1", "b/1", "c/1"];'),
        ("{require: 2, by: event.name}", '2 ["a/1", "b/1"];2 ["a/2", "b/2"];'),
        ("{require: all, by: event.name, within: 2s}", ""),
        ("{require: 1}", '1 ["a/1"];1 ["b/1"];1 ["a/2"];1 ["b/2"];1 ["c/1"];'),
    ],
)
async def test_any_all_or_some_of_several_triggers(tmp_path, autojump_clock, join, log):
    """Those that go together by their name, within a time of each other."""
    async with rig(tmp_path, w=JOIN.replace("JOINED", join)) as one:
        for path in ("a/1", "b/1", "a/2", "b/2"):
            one.publish("file.created", path)
            await one.settled()
        await trio.sleep(5)
        one.publish("file.created", "c/1")
        await one.settled()
        assert (one.text("log") if log else "") == log


@pytest.mark.parametrize(
    ("trigger", "reason"),
    [
        ("{type: state_change, path: x, operator: bigger, value: 1}", "there is no operator 'bigger'"),
        ("{type: state_change, path: x, operator: '>', value: [1]}", "compares with a number or a text"),
        ("{type: state_change, path: x, operator: matches, value: '('}", "is no regular expression"),
        ("{type: state_change, path: x, operator: contains, value: a, tolerance: 1}", "a tolerance goes with"),
        ("{type: state_change, path: x, value: 1}", "a value needs an 'operator'"),
        ("{type: anomaly, anomaly_type: spike}", "volume_spike"),
        ("{type: ml_prediction, confidence_threshold: 2}", "less than or equal to 1"),
        ("{cron: '0 3 * * *', catch_up: twice}", "'none', 'once' or 'all'"),
    ],
)
def test_wrong_triggers_are_refused_with_what_would_be_right(trigger, reason):
    """With file and line."""
    _, errors = examine("w.yaml", f"triggers: {trigger}\nsteps: [{{log: {{message: x}}}}]")
    assert any(reason in error.reason and error.line == 1 for error in errors), errors


def test_a_join_of_more_triggers_than_there_are_is_refused():
    """It could never fire."""
    _, errors = examine("w.yaml", JOIN.replace("JOINED", "{require: 4}"))
    assert [str(error) for error in errors] == [
        "w.yaml:6: join.require: there are only 3 triggers, of which 4 cannot fire"
    ]


@pytest.mark.parametrize(
    ("trigger", "fires"),
    [
        ("{type: anomaly}", [0, 1, 2]),
        ("{type: anomaly, anomaly_type: volume_spike}", [0, 2]),
        ("{type: anomaly, severity_threshold: high}", [1, 2]),
        ("{type: anomaly, severity_threshold: 0.8, stream: 'disk*'}", [2]),
        ("{type: ml_prediction}", [3, 4]),
        ("{type: ml_prediction, model_id: disk/full, confidence_threshold: 0.7}", [4]),
    ],
)
async def test_anomalies_and_predictions(tmp_path, autojump_clock, trigger, fires):
    """By kind, severity (a name or a score), stream, model and confidence."""
    anomaly = {"anomaly_type": "volume_spike", "severity": "low", "score": 0.3, "stream": "writes"}
    events = [
        ("anomaly.detected", anomaly),
        ("anomaly.detected", {**anomaly, "anomaly_type": "error_rate", "severity": "high", "score": 0.8}),
        ("anomaly.detected", {**anomaly, "severity": "critical", "score": 0.95, "stream": "disk/a"}),
        ("prediction.made", {"model": "disk/full", "confidence": 0.6, "value": 3}),
        ("prediction.made", {"model": "disk/full", "confidence": 0.9, "value": 3}),
    ]
    workflow = f"triggers: {trigger}\nsteps: [{{log: {{message: x}}}}]\nconcurrency: parallel"
    async with rig(tmp_path, w=workflow) as one:
        published = [one.publish(kind, attrs=attrs) for kind, attrs in events]
        await one.settled()
        assert [published.index(run.firing.event) for run in one.runs] == fires
