"""Runs in the terminal: a trace as a tree, lists, plain text where there is no terminal."""

import io

from rich.console import Console

from automation.terminal.drawing import drawn, listing

MS = 10**6
TRACE = {
    "id": "00aa",
    "workflow": "ingest",
    "status": "failed",
    "started_ns": 10**18,
    "ended_ns": 10**18 + 1500 * MS,
    "event": {"type": "file.closed", "path": "in/a.csv"},
    "events": [{"type": "file.closed", "path": "in/a\udcff.csv", "comm": "cp", "pid": 7, "uid": 1000}],
    "count": 3,
    "input": {"size": 10},
    "error": "send: refused",
    "steps": [
        {"name": "sum", "action": "checksum", "status": "succeeded", "started_ns": 10**18, "ended_ns": 10**18 + 2 * MS,
         "result": {"digest": "ab"}, "input": {"path": "in/a.csv"}},
        {"name": "choose", "action": "decision", "status": "failed", "branch": "then", "steps": [
            {"name": "send", "action": "call_api", "status": "failed", "attempts": 3, "error": "refused"}]},
        {"name": "copy", "action": "copy", "status": "running", "progress": [1, 4]},
        {"name": "late", "action": "log", "status": "pending"},
    ],
}  # fmt: skip


def text_of(what, width=100):
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(what)
    return out.getvalue()


def test_a_trace_is_a_tree():
    """Cause, input, steps with inputs, results, attempts, branches and errors, progress, and the error of the run."""
    text = text_of(drawn(TRACE))
    lines = text.splitlines()
    assert lines[0].startswith("✗ failed  ingest  00aa") and lines[0].endswith("1.5 s")
    assert "because of file.closed in/a\\udcff.csv by cp (pid 7, uid 1000)" in text and "and 2 more events" in text
    assert 'with {"size": 10}' in text and "✓ sum  checksum  2.0 ms" in text
    assert 'in   {"path": "in/a.csv"}' in text and 'out  {"digest": "ab"}' in text
    branch = next(i for i, line in enumerate(lines) if "choose  decision → then" in line)
    assert "✗ send  call_api" in lines[branch + 1] and "3 tries" in lines[branch + 1]
    assert lines[branch + 1].index("send") > lines[branch].index("choose"), "it stands within"
    assert "25% 1 of 4" in text and "· late" in text and "error send: refused" in text


def test_a_list_has_a_row_for_each_run():
    """With its cause; what does not fit is cut, not wrapped."""
    lines = text_of(listing([TRACE, {**TRACE, "id": "00bb", "status": "waiting", "ended_ns": 0}])).splitlines()
    assert lines[0].split() == ["RUN", "WORKFLOW", "STATUS", "STARTED", "TOOK", "EVENT"] and len(lines) == 3
    assert lines[1].startswith("00aa") and "✗ failed" in lines[1] and "file.closed in/a.csv" in lines[1]
    assert "◔ waiting" in lines[2]


def test_identities_in_a_list_are_never_cut():
    """Who wants to see one of the runs needs it whole; long names of workflows and paths give way."""
    long = {**TRACE, "id": "0123456789abcdef", "workflow": "w" * 40, "status": "compensation_failed"}
    long["event"] = {"type": "file.closed", "path": "p" * 80}
    lines = text_of(listing([long])).splitlines()
    assert lines[1].startswith("0123456789abcdef  wwwwwwww") and max(map(len, lines)) <= 100
    assert "compensation_failed" in text_of(listing([{**long, "workflow": "w", "event": {}}]))


def test_nothing_in_a_trace_can_disturb_a_terminal():
    """Control characters are shown as escapes, markup stays text."""
    evil = {**TRACE, "error": "\x1b[2Jboo [red]x[/red]"}
    text = text_of(drawn(evil))
    assert "\x1b" not in text and "\\x1b[2Jboo [red]x[/red]" in text
