"""What is wrong with a definition is told with file, line, field and reason; what is right is read as meant."""

import json
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.errors import DefinitionError
from automation.loading import examine, load
from automation.sources import read_source
from automation.triggers.forms import EventTrigger, ManualTrigger, ScheduleTrigger

STEPS = "steps: [{log: {message: x}}]\n"
WRONG = [
    ("", 1, "", "empty"),
    ("a: [", 1, "", "not YAML"),
    ("\tname: x", 1, "", "tab"),
    ("- x", 1, "", "a workflow is a mapping"),
    (f"name: a\nname: b\n{STEPS}", 2, "", "'name' is given twice"),
    (f"{STEPS}---\n{STEPS}", 2, "", "several documents"),
    ("x: !!python/object:os.system {}\n", 1, "", "tag"),
    (f"trigers: []\n{STEPS}", 1, "trigers", "did you mean 'triggers'"),
    (f"nonsense: 1\n{STEPS}", 1, "nonsense", "the fields are"),
    ("name: a\n", 1, "steps", "required"),
    ("name: a\nsteps: []\n", 2, "steps", "at least 1"),
    ("steps:\n  - name: a\n", 2, "steps.0.action", "a step needs an action"),
    ("steps:\n  - name: a\n    copi: {source: a}\n", 3, "steps.0.copi", "there is no such field"),
    ("steps:\n  - copy: {source: a}\n", 2, "steps.0.action.target", "required"),
    ("steps:\n  - copy:\n      source: a\n      targt: b\n", 4, "steps.0.action.targt", "did you mean 'target'"),
    ("steps:\n  - action: {type: cpy}\n", 2, "steps.0.action.type", "did you mean 'copy'"),
    ("steps:\n  - log: {message: '{{ event.pth }}'}\n", 2, "steps.0.action.message", "did you mean 'path'"),
    ("steps:\n  - when: event.size +\n    log: {message: x}\n", 2, "steps.0.when", "no expression"),
    ("steps:\n  - when: event.size + 1\n    log: {message: x}\n", 2, "steps.0.when", "true or false"),
    ("steps:\n  - log: {message: x}\n    retry: {atempts: 1}\n", 3, "steps.0.retry.atempts", "did you mean 'attempts'"),
    ("steps:\n  - log: {message: x}\n    retry: three\n", 3, "steps.0.retry", "number of attempts or a mapping"),
    (f"{STEPS}vars: none\n", 2, "vars", "a mapping is expected"),
    (f"{STEPS}triggers: file.closed\n", 2, "triggers.0", "a mapping is expected"),
    ("steps:\n  - log: {message: x}\n    timeout: soon\n", 3, "steps.0.timeout", "no duration"),
    (
        "steps:\n  - log: {message: x}\n    compensate: {type: delete}\n",
        3,
        "steps.0.compensate.0.action.path",
        "required",
    ),
    ("steps:\n  - {name: a, log: {message: x}}\n  - {name: a, log: {message: x}}\n", 3, "steps.1.name", "already"),
    ("steps:\n  - {name: a, log: {message: '{{ steps.b }}'}}\n", 2, "steps.0.action.message", "does not exist"),
    (
        "steps:\n  - {name: a, when: steps.b.x, log: {message: x}}\n  - {name: b, log: {message: x}}\n",
        2,
        "steps.0.when",
        "runs later",
    ),
    (f"{STEPS}triggers:\n  - path: in/**\n    type: evnt\n", 3, "triggers.0", "none of"),
    (f"{STEPS}triggers:\n  - path: in/**\n    pth: x\n", 4, "triggers.0.pth", "did you mean 'path'"),
    (f"{STEPS}triggers:\n  path: in/**\n  setle: 1s\n", 4, "triggers.0.setle", "did you mean 'settle'"),
    (f"{STEPS}triggers: {{types: file.close}}\n", 2, "triggers.0.types.0", "did you mean 'file.closed'"),
    (f"{STEPS}triggers: {{path: '[a'}}\n", 2, "triggers.0.path", "without"),
    (f"{STEPS}triggers: {{size: big}}\n", 2, "triggers.0.size", "no size"),
    (f"{STEPS}triggers: {{where: 'x ='}}\n", 2, "triggers.0.where", "no expression"),
    (f"{STEPS}triggers: {{cron: 'every day'}}\n", 2, "triggers.0.cron", "cron"),
    (f"{STEPS}triggers: {{cron: '0 0 31 2 *'}}\n", 2, "triggers.0.cron", "cron"),
    (f"{STEPS}triggers: {{cron: '* * * * *', timezone: Mars}}\n", 2, "triggers.0.timezone", "time zone"),
    (f"{STEPS}triggers: {{cron: '* * * * *', every: 1m}}\n", 2, "triggers.0", "either"),
    (f"{STEPS}triggers: {{type: schedule}}\n", 2, "triggers.0", "either"),
    (f"{STEPS}concurrency: sometimes\n", 2, "concurrency.policy", "'single'"),
    (f"{STEPS}workflow_type: tree\n", 2, "workflow_type", "'linear'"),
    (f"{STEPS}name: a/b\n", 2, "name", "without '/'"),
    (f"{STEPS}enabled: perhaps\n", 2, "enabled", "boolean"),
]


@pytest.mark.parametrize(("text", "line", "field", "reason"), WRONG)
def test_a_wrong_definition_is_told_with_line_field_and_reason(text, line, field, reason):
    """The first error by line is the one expected."""
    workflow, errors = examine("w.yaml", text)
    assert workflow is None
    found = [e for e in errors if e.field == field and e.line == line and reason in e.reason]
    assert found, [str(e) for e in errors]
    assert all(e.path == "w.yaml" and "\n" not in e.reason for e in errors)


def test_all_errors_are_told_at_once():
    """In the order of their lines."""
    text = "nam: a\ntriggers: {types: file.close, pth: x}\nsteps:\n  - copy: {source: '{{ 1 + }}', targt: x}\n"
    _, errors = examine("w.yaml", text)
    assert [e.line for e in errors] == sorted(e.line for e in errors) and len(errors) == 6


def test_the_most_telling_error_is_the_misspelling():
    """Not the required field that is missing because of it."""
    with pytest.raises(DefinitionError, match="did you mean 'steps'"):
        load("w.yaml", "name: x\nstps: [{log: {message: x}}]\n")


def test_json_is_told_by_line_too():
    """Tabs indent, and the first syntax error has its line."""
    text = '{\n\t"steps": [\n\t\t{"log": {"message": "a\\tb"}, "whn": "true"}]}'
    _, errors = examine("w.json", text)
    assert [(e.line, e.field) for e in errors] == [(3, "steps.0.whn")]
    _, errors = examine("w.json", '{\n "a": 1,\n}')
    assert errors[0].line == 3 and "not JSON" in errors[0].reason
    assert load("w.json", text.replace("whn", "when")).steps[0].action["message"] == "a\tb"


def test_a_minimal_definition_has_sensible_defaults():
    """The file names the workflow; a step is named by its place."""
    workflow = load("dir/tidy.yaml", STEPS)
    assert workflow.name == "tidy" and workflow.step_names == ["step1"] and workflow.enabled
    assert workflow.concurrency.policy == "queued" and workflow.workflow_type == "linear"


def test_everything_can_be_said():
    """Both spellings, the short and the long form, one trigger or many."""
    text = textwrap.dedent("""
        workflow_id: 7c9e6679-7425-40de-944b-e07fc1f90ae7
        name: Automated Backup
        description: all of it
        workflow_type: linear
        trigger_patterns:
          - {on: [file.closed, file.attr.*], path: ["a/**", "!**/*.tmp"], from: b/*, size: "> 1KB, < 1GB",
             written: true, uid: 0, comm: cp, where: "{{ event.size > 2 }}", settle: 5s, debounce: 1m, cooldown: 1h,
             key: directory, backfill: existing, own: true, failed: true}
          - {type: schedule, cron_expression: "0 3 * * *", timezone: Europe/Berlin}
          - {every: 10m}
          - {type: manual, input: {a: 1}}
        concurrency: {policy: restart, limit: 2, queue: 5}
        timeout: 1h
        vars: {url: ""}
        priority: high
        tenant_id: t
        metadata: {owner: me}
        steps:
          - name: one
            description: long form
            action: {type: copy, source: a, target: b}
            condition: vars.url != ""
            timeout: 1m
            retry_policy: {max_attempts: 3, backoff: 1s, factor: 3, max_delay: 1m, jitter: 0}
            compensate: {type: delete, path: b}
            on_error: continue
          - {name: two, set_mode: {path: b, mode: 0644}, retry: 5}
          - {execute_script: {script_language: lua, script_content: "return {{1}}"}}
        compensation_steps: [{log: {message: undone}}]
        """)
    workflow = load("w.yaml", text)
    event, cron, every, manual = workflow.triggers
    assert isinstance(event, EventTrigger) and event.types == ["file.closed", "file.attr"] and event.key == "event.dir"
    assert event.size == [(">", 1000), ("<", 10**9)] and event.where == "event.size > 2" and event.source == ["b/*"]
    assert isinstance(cron, ScheduleTrigger) and isinstance(every, ScheduleTrigger) and every.every == 600
    assert isinstance(manual, ManualTrigger) and workflow.steps[1].retry.attempts == 5
    assert workflow.steps[1].action == {"type": "set_mode", "path": "b", "mode": 0o644}
    assert workflow.compensation_steps[0].name == "compensation1"


def test_yaml_has_no_surprises():
    """Words stay words, dates stay text, 12:30 is no number, 0644 is octal."""
    text = "a: [no, on, 2024-01-01, 12:30, 0644, 0o17, 0x1f, 1_000, 1.5, true, null, ~, '', -3, 1e3]"
    values = read_source("x", text).value["a"]
    expected = ["no", "on", "2024-01-01", "12:30", 420, 15, 31, 1000, 1.5, True, None, None, "", -3, "1e3"]
    assert values == expected


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [*x]",
        "a: &a [x]\nb: &b [*a,*a]\n"
        + "".join(f"c{i}: &c{i} [{','.join(['*b' if i == 0 else f'*c{i - 1}'] * 10)}]\n" for i in range(9)),
        "[" * 5000,
        "{a: " * 3000,
    ],
)
def test_a_definition_cannot_eat_the_machine(text):
    """Aliases that multiply, that contain themselves, and endless nesting are refused quickly."""
    with pytest.raises(DefinitionError):
        read_source("x.yaml", text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda s: (
            st.lists(s, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["name", "steps", "triggers", "action", "type", "path", "log", "copy", "vars", "when", "retry", "x"]
                ),
                s,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_value_is_a_workflow_or_a_list_of_errors(value):
    """No input makes anything else than DefinitionErrors."""
    workflow, errors = examine("w.json", json.dumps(value))
    assert (workflow is None) == bool(errors)


@given(st.text(alphabet="abc:-[]{}\n \t'\"&*!|>#%@`,?", max_size=40))
def test_any_text_is_a_workflow_or_a_list_of_errors(text):
    """Nor does any text."""
    workflow, errors = examine("w.yaml", text)
    assert (workflow is None) == bool(errors)
