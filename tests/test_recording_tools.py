"""`vexfs replay` with workflows and rules, `vexfs test`, on a virtual clock and with no mount."""

import io
import json

import pytest

import mount
from automation import expectations, replay

UPLOAD = """
name: ingest
patterns:
  upload: >
    created(file.created, "inbox/**") -> closed(b: file.closed where written and size > 0) within 10m by path
triggers:
  - {type: pattern, pattern: upload, cooldown: 1h, key: directory}
  - {types: file.written, path: 'log/**', settle: 5s}
  - {types: pattern.matched, path: '**', debounce: 2s}
steps: [{log: {message: hello}}]
"""
RULES = "rules: [{name: big, on: file.closed, size: '> 1MB', actions: [{log: {message: big}}]}]"
EVENTS = [
    {"ts_ms": 0, "type": "file.created", "path": "inbox/a", "size": 0},
    {"ts_ms": 10, "type": "file.closed", "path": "inbox/a", "size": 2_000_000, "attrs": {"written": True}},
    {"ts_ms": 20, "type": "file.written", "path": "log/x"},
    {"ts_ms": 4000, "type": "file.written", "path": "log/x"},
    {"advance_to": 60000},
]


def replayed(folder, events):
    out = io.StringIO()
    lines = "".join(json.dumps(event) + "\n" for event in events).encode()
    code = replay.main(["--definitions", str(folder), "-"], stdin=io.BytesIO(lines), stdout=out)
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ingest.yaml").write_text(UPLOAD)
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path


def test_replay_tells_what_would_run(folder):
    """Triggers on patterns, on events with settling by the virtual clock, on matches; and firings of rules."""
    code, records = replayed(folder, EVENTS)
    shown = [(r["kind"], r.get("trigger") or r.get("rule") or r.get("pattern"), r["at"]) for r in records[:-1]]
    assert code == 0
    assert shown == [
        ("firing", "big", 1),
        ("match", "upload", 1),
        ("run", "pattern#0", 1),
        ("run", "event#2", 3),
        ("run", "event#1", 4),
    ]
    settled = records[4]
    assert settled["ts"] == 9_000 * 10**6 and settled["events"] == [3, 4] and settled["workflow"] == "ingest"
    assert records[2]["match"] == records[1]["id"] and records[2]["events"] == [1, 2]


def test_a_cooldown_holds_in_replay(folder):
    """By the time of the events."""
    again = [{**e, "ts_ms": e["ts_ms"] + 1000, "path": "inbox/b"} for e in EVENTS[:2]]
    late = [{**e, "ts_ms": e["ts_ms"] + 3_700_000, "path": "inbox/c"} for e in EVENTS[:2]]
    _, records = replayed(folder, EVENTS[:2] + again + late)
    assert [r["at"] for r in records if r.get("trigger") == "pattern#0"] == [1, 5]


def tried(*paths):
    out = io.StringIO()
    return expectations.main([str(path) for path in paths], stdout=out), out.getvalue()


def test_expectations_that_hold(folder):
    """Inline and from a file, by number of event, in one case or several; beside the definition, not one themselves."""
    (folder / "e.jsonl").write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    cases = [
        {"name": "all", "file": "e.jsonl", "expect": [{"pattern": "upload", "steps": {"created": [1], "closed": [2]}}]},
        {"events": EVENTS[2:], "expect": [{"kind": "run", "trigger": "event#1", "events": [1, 2]}]},
        {"events": EVENTS[:1], "expect": []},
    ]
    (folder / "ingest.test.yaml").write_text(json.dumps({"cases": cases}))
    single = {"with": ["ingest.yaml"], "file": "e.jsonl", "expect": [{"kind": "firing", "rule": "big"}]}
    (folder / "rules.test.yaml").write_text(json.dumps(single))
    code, text = tried(folder)
    assert code == 0 and text.endswith("4 cases, 0 failed\n"), text
    assert mount.main(["test", str(folder / "rules.yaml")]) == 0
    assert mount.main(["check", "--quiet", str(folder)]) == 0


def test_expectations_that_do_not_hold(folder):
    """Show what was expected and not found, and what was found and not expected; exit status 1."""
    case = {"events": EVENTS[:2], "expect": [{"kind": "run", "trigger": "event#7"}]}
    (folder / "ingest.test.yaml").write_text(json.dumps(case))
    code, text = tried(folder / "ingest.yaml")
    assert code == 1 and "FAILED" in text and '    - {"kind": "run", "trigger": "event#7"}' in text
    assert '    + {"kind": "run", "workflow": "ingest"' in text and "1 cases, 1 failed" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [("expect: 3", "expect"), ("[", "YAML"), ("{expect: [], file: gone.jsonl}", "gone.jsonl")],
)
def test_expectations_that_cannot_be_tried(folder, capsys, text, said):
    """Exit status 2, and the reason."""
    (folder / "ingest.test.yaml").write_text(text)
    assert tried(folder)[0] == 2 and said in capsys.readouterr().err


def test_a_path_without_expectations_is_an_error(folder, capsys):
    """As is a file of expectations without its definition."""
    assert tried(folder / "ingest.yaml")[0] == 2 and "ingest.test.yaml" in capsys.readouterr().err
    (folder / "lone.test.yaml").write_text("expect: []")
    assert tried(folder)[0] == 2 and "lone.yaml" in capsys.readouterr().err


def test_expectations_stand_beside_a_definition_in_lua_too(tmp_path):
    """It is declared and tried like one in YAML."""
    (tmp_path / "ingest.lua").write_text(
        'workflow{name = "ingest", triggers = {{path = "in/*"}}, steps = {{log = {message = "hello"}}}}'
    )
    (tmp_path / "ingest.test.yaml").write_text(
        "events: [{ts_ms: 0, type: file.closed, path: in/a}]\nexpect: [{kind: run, workflow: ingest}]\n"
    )
    assert expectations.main([str(tmp_path)]) == 0
    (tmp_path / "ingest.test.yaml").write_text("events: []\nexpect: [{kind: run, workflow: ingest}]\n")
    assert expectations.main([str(tmp_path)]) == 1
