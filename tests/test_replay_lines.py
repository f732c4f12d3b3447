"""Replay: definitions and JSON lines in, JSON lines out."""

from __future__ import annotations

import io
import json

import pytest

from automation.errors import DefinitionError
from automation.event_lines import read_event
from automation.patterns.loading import read_definition
from automation.rehearsal import load_ensemble
from automation.replay import main, replay

PAIR = "a(user.a) -> b(user.b) within 5s timeouts"


def run(text, *items):
    """Records of a replay without the last."""
    return list(replay([read_definition("p", text)], items))


def test_match_timeout_and_end():
    """Matches, timeouts and the summary are records in the order in which they come about."""
    items = [
        {"type": "user.a", "ts_ms": 0},
        {"type": "user.b", "ts_ms": 10},
        {"type": "user.a", "ts_ms": 20},
        {"advance_to": 5020},
    ]
    match, timeout, end = run(PAIR, *items)
    assert (match["kind"], match["at"], match["on"], match["ts"]) == ("match", 1, "event", 10_000_000)
    assert [event["seq"] for event in match["steps"]["b"]] == [2]
    assert (timeout["kind"], timeout["at"], timeout["deadline_ms"], list(timeout["steps"])) == (
        "timeout",
        3,
        5020.0,
        ["a"],
    )
    assert (end["items"], end["events"], end["patterns"]["p"]["live_partials"]) == (4, 3, 0)


def test_unknown_fields_are_attributes():
    """What is no field of an event, or has another type, is an attribute."""
    event = read_event({"type": "x", "ts": 5, "size": 3, "uid": "root", "colour": "red", "attrs": {"a": 1}, "code": 9})
    assert (event.size, event.uid, event.ts) == (3, 0, 5)
    assert dict(event.attrs) == {"a": 1, "uid": "root", "colour": "red"}


def test_recorded_events_read_back():
    """An event in the form of `/.vexfs/events` is read back as it was."""
    line = {"seq": 7, "ts": 12, "type": "file.closed", "path": "p", "dest": "q", "size": 1, "pid": 3, "comm": "cp"}
    line |= {"cause": {"run": "r", "workflow": "w", "depth": 2}, "attrs": {"written": 5}}
    event = read_event(line)
    event.seq = 7
    assert {name: event.as_dict()[name] for name in line} == line


def test_late_events_are_reported():
    """In event time an event that is not newer than the watermark is late."""
    items = [{"type": "user.a", "ts_ms": 5}, {"watermark": 4}, {"watermark": 9}, {"type": "user.b", "ts_ms": 9}]
    late, end = run("a(user.a) -> b(user.b) event time", *items)
    assert (late["kind"], late["at"], late["event"]["type"], late["total"]) == ("late", 3, "user.b", 1)
    assert end["patterns"]["p"]["late"] == 1


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[1]",
        '{"type": 5}',
        '{"type": "a", "ts": "now"}',
        '{"type": "a", "ts": 1e300}',
        '{"watermark": null}',
        '{"advance_to": "soon"}',
        '{"type": "a", "attrs": 3}',
        b"\xff\xfe",
        "[" * 100_000,
        '{"type": "a", "ts_ms": NaN}',
    ],
)
def test_wrong_lines_are_named_and_passed_over(line):
    """A wrong line is a record with a reason, and the rest is used."""
    records = run(PAIR, '{"type": "user.a"}', line, "", '{"type": "user.b"}')
    assert [(record["kind"], record.get("at")) for record in records] == [("invalid", 1), ("match", 2), ("end", None)]
    assert records[0]["reason"]


def test_command(tmp_path, capsys):
    """The command reads a directory of definitions and a file or standard input, and says how it went."""
    (tmp_path / "one.yaml").write_text(f'patterns:\n  pair: "{PAIR}"\n  other: {{text: "c(user.c)", by: path}}\n')
    (tmp_path / "two.json").write_text('{"pattern": {"steps": [{"step": "d", "event": "user.d"}]}}')
    (tmp_path / "workflow.yml").write_text("name: something else\nsteps: []\n")
    events = b'{"type":"user.a"}\n{"type":"user.b"}\n{"type":"user.c"}\n{"type":"user.d"}\n'
    out = io.StringIO()
    assert main(["--definitions", str(tmp_path), "-"], io.BytesIO(events), out) == 0
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [record.get("pattern") for record in records] == ["pair", "other", "two", None]
    assert main(["--definitions", str(tmp_path), "-"], io.BytesIO(b"x\n"), io.StringIO()) == 1
    assert main(["--definitions", str(tmp_path), str(tmp_path / "missing")]) == 2
    assert main(["--definitions", str(tmp_path / "missing"), "-"]) == 2
    assert "missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("patterns:\n  ok: a()\n  bad: a(\n", 3, "event type"),
        ("patterns:\n  bad: {steps: [{step: a, colour: red}]}\n", 2, "colour"),
        ("patterns: [a]\n", 1, "mapping"),
        ("pattern: a() -> b(where 5parsecs)\n", 1, "parsecs"),
        ("pattern: {steps: [\n", 2, ""),
        ("pattern: 5\n", 1, "a pattern is text"),
    ],
)
def test_wrong_definitions_name_file_and_line(tmp_path, text, line, reason):
    """A wrong definition is refused with its file, line and a reason."""
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(DefinitionError) as error:
        load_ensemble(str(tmp_path))
    assert (error.value.path, error.value.line) == (str(file), line)
    assert reason in error.value.reason


@pytest.mark.parametrize("name", ["nowhere", "nowhere.yaml", "nowhere.lua", "nowhere.scxml"])
def test_definitions_that_are_not_there_are_an_error(tmp_path, capsys, name):
    """Of whatever kind they would be."""
    assert main(["--definitions", str(tmp_path / name), "-"], stdin=io.BytesIO(b""), stdout=io.StringIO()) == 2
    assert name in capsys.readouterr().err


def test_all_that_is_due_at_a_jump_has_timed_out_before_a_match_rules_it_out():
    """As Flink has it: the match by absence at 6 ms would have taken the partial match that began at 5 ms along."""
    text = "s1(user.c)? ->> s2(user.c) -> !s3(user.c) within 2ms skip past last timeouts over user"
    times = (2, 4, 4, 5, 5, 5, 5, 5)
    items = [{"type": f"user.{name}", "ts_ms": at} for name, at in zip("caccabbb", times, strict=True)]
    ends = [
        (record["kind"], {name: [event["seq"] for event in events] for name, events in record["steps"].items()})
        for record in run(text, *items, {"advance_to": 1000})
        if record.get("at") == 8
    ]
    assert ("timeout", {"s1": [4]}) in ends and any(kind == "match" for kind, _ in ends)
