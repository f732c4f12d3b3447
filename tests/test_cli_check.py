"""`vexfs check`: definitions validated without a mount, in words for editors and CI."""

import json
import subprocess
import sys

from tests.mounting import REPOSITORY

GOOD = "name: good\ntriggers: [{types: file.closed}]\nsteps: [{name: a, action: {type: log, message: hi}}]\n"
BAD = "name: bad\ntriggers: [{types: file.closd}]\nsteps:\n  - name: a\n    action: {type: log, mesage: hi}\n"
LUA_BAD = (
    'workflow{ name = "lua-bad", triggers = { { types = "file.closed" } }, steps = { { name = "a", run = 3 } } }\n'
)


def check(*words, cwd=None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "mount.py"), "check", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, cwd=cwd)


def test_right_definitions_pass(tmp_path):
    """Exit status 0, and with --quiet nothing to read; ./workflows is what is checked when nothing is named."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows/good.yaml").write_text(GOOD)
    (tmp_path / "workflows/notes.txt").write_text("not a definition")
    assert (done := check(cwd=tmp_path)).returncode == 0, done.stdout + done.stderr
    assert "no errors in workflows" in done.stdout
    assert (done := check("--quiet", tmp_path / "workflows/good.yaml")).returncode == 0
    assert done.stdout == ""


def test_errors_are_lines_for_an_editor(tmp_path):
    """`file:line: field: reason` on stdout, all errors of all files, exit status 1."""
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD)
    (tmp_path / "bad.lua").write_text(LUA_BAD)
    (tmp_path / "worse.json").write_text("{")
    done = check(tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert all(line.startswith(f"{tmp_path}/") for line in lines), done.stdout
    assert any(line.startswith(f"{tmp_path}/bad.yaml:2: triggers.0.types") and "did you mean" in line for line in lines)
    assert any(line.startswith(f"{tmp_path}/bad.yaml:5: steps.0.action.mesage: ") for line in lines)
    assert any("bad.lua" in line for line in lines)
    assert any(line.startswith(f"{tmp_path}/worse.json:1: not JSON") for line in lines)
    assert not any("good.yaml" in line for line in lines)
    assert "Traceback" not in done.stderr


def test_errors_are_json_for_a_program(tmp_path):
    """--json gives a list of objects with file, line, field and reason; an empty one when all is right."""
    (tmp_path / "bad.yaml").write_text(BAD)
    errors = json.loads(check("--json", tmp_path).stdout)
    assert {tuple(error) for error in errors} == {("file", "line", "field", "reason")}
    assert {error["line"] for error in errors} == {2, 5}
    (tmp_path / "bad.yaml").write_text(GOOD)
    assert json.loads(check("--json", tmp_path).stdout) == []


def test_what_is_no_definition_is_the_callers_error(tmp_path):
    """A missing path and a file of another kind: exit status 2."""
    (tmp_path / "x.txt").write_text("")
    for path in (tmp_path / "none", tmp_path / "x.txt"):
        done = check(path)
        assert (done.returncode, done.stdout) == (2, ""), done.stdout
        assert done.stderr.startswith("vexfs: ")


def test_the_shipped_workflows_are_right():
    """`vexfs check` of the repository's own examples finds nothing."""
    done = check(REPOSITORY / "workflows")
    assert done.returncode == 0, done.stdout + done.stderr
