"""Paths that must not be written: by rule, on a real mount; everything in the state directory is looked through."""

import json
import shutil

import pytest

from automation import configuration
from automation.errors import DefinitionError
from automation.journal.chain import Chain, Head
from automation.journal.database import Database
from automation.journal.path_redaction import PathRedactor, is_redacted
from automation.journal.verification import verify
from automation.redaction import Redactor
from tests.mounting import mounted, scratch
from tests.patience import eventually
from tests.test_journal_mount import vexfs

FLOW = """
triggers: {path: "**", types: file.closed, written: true, own: false}
steps:
  - {name: tell, log: {message: "got {{ event.path }}, called {{ event.name }} or {{ event.stem }}"}}
  - {name: miss, read: {path: "{{ event.path }}.missing"}, on_error: continue}
  - {name: fail, command: {argv: [sh, -c, 'echo "cannot use {{ event.path }}" >&2; exit 3']}}
"""
BOOK = """
rules: {watch: {on: file.closed, paths: ["**"], actions: [{log: {message: "saw {{ event.path }}"}}]}}
guards: [{name: kept, operations: [delete, rename], paths: ["**"], errno: EPERM}]
"""
PATTERN = "patterns: {pair: 'a(file.created) -> b(file.closed) within 1m by path'}"
MODEL = "{kind: model, workflow: flow, features: {where: event.path, size: event.size}, snapshot_every: 1, warm_up: 2}"
RULES = """
[journal.redact-paths]
"vault/**" = "hash"
"**/*.key" = "mask"
"homes/*" = "parent"
"""
FILES = [
    "vault/plan-nine.odt",
    "vault/deep/letter to bob.txt",
    "keys/launchcode.key",
    "homes/wilhelmina/diary",
    "open/x",
]
HIDDEN = ["plan-nine", "letter to", "to bob", "launchcode", "wilhelmina", "diary"]


@pytest.mark.mount
def test_no_such_path_is_in_anything_that_is_written():
    """Firings, runs, steps, errors, denials, matches: neither the state directory, nor an export, nor the log has a
    name that a rule covers; those who know a path find its records, and the proof holds.
    """
    with scratch() as place:
        for name in FILES:
            (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "workflows").mkdir()
        for name, text in {"flow": FLOW, "book": BOOK, "pair": PATTERN, "model": MODEL}.items():
            (place / "workflows" / f"{name}.yaml").write_text(text)
        (place / "vexfs.toml").write_text(RULES)
        options = ["--config", f"{place}/vexfs.toml", "--workflows", f"{place}/workflows", "--state-dir"]
        with mounted(place / "source", arguments=[*options, f"{place}/state"]) as mount:
            for name in FILES:
                (mount.mountpoint / name).write_text("x")
                with pytest.raises(PermissionError):
                    (mount.mountpoint / name).unlink()
            runs = ["runs", mount.mountpoint, "--workflow", "flow", "--limit", "100", "--json"]
            eventually(lambda: len(vexfs(*runs, "--status", "failed").splitlines()) == len(FILES))
            eventually(lambda: len(asked(place / "state", "--kind", "pattern.matched")) == len(FILES))
            model = mount.mountpoint / ".vexfs" / "models" / "model" / "status"
            eventually(lambda: "examples: 5" in model.read_text())
            log = mount.text()
        _look_through(place, log)
        _ask(place / "state")
        with mounted(place / "source", arguments=[*options, f"{place}/state"]) as mount:
            runs[1] = mount.mountpoint
            ended = map(json.loads, vexfs(*runs).splitlines())
            run = next(run for run in ended if run["event"]["path"] != "open/x")
            with pytest.raises(OSError, match="Invalid"):
                (mount.mountpoint / ".vexfs" / "runs" / run["id"] / "retry").write_text("\n")
            assert "the path that it was about is not kept" in (mount.mountpoint / ".vexfs" / "error").read_text()


def asked(state, *words):
    return [json.loads(line) for line in vexfs("journal", state, "--limit", "0", *words).splitlines()]


def _look_through(place, log):
    written = [path for path in (place / "state").rglob("*") if path.is_file()]
    assert {"journal.db", "journal.key"} <= {path.name for path in written}
    assert (place / "state" / "journal.key").stat().st_mode & 0o777 == 0o600
    exported = vexfs("journal", place / "state", "--limit", "0", "--format", "cloudevents")
    assert "open/x" in log and "open/x" in exported and "cannot use" in exported
    for word in HIDDEN:
        for path in written:
            at = (data := path.read_bytes()).find(word.encode())
            assert at < 0, f"{word} is in {path}: {data[max(0, at - 300) : at + 60]!r}"
        assert word not in log, f"{word} is in the log"
        assert word not in exported, f"{word} is in the export"


def _ask(state):
    assert "are as they were written" in vexfs("verify", state)
    found = asked(state, "--path", "vault/plan-nine.odt")
    assert {"rule.fired", "rule.denied", "pattern.matched", "workflow.started", "workflow.step"} <= {
        record["kind"] for record in found
    }
    (shown,) = {record["path"] for record in found}
    assert shown.startswith("vault/#") and is_redacted(shown)
    deep = asked(state, "--path", "vault/deep")
    assert deep and all(record["path"].startswith("vault/#") and record["path"].count("/") == 2 for record in deep)
    assert len(asked(state, "--path", "vault")) == len(found) + len(deep)
    assert {record["path"] for record in asked(state, "--path", "homes")} == {"homes/[masked]"}
    assert asked(state, "--path", "vault/other") == []
    shutil.move(state / "journal.key", state / "elsewhere")
    assert asked(state, "--path", "vault/plan-nine.odt") == []


def redactor(**rules):
    return PathRedactor(rules or {"vault/**": "hash", "**/*.key": "mask"}, b"k" * 32, ["/mnt/point"])


@pytest.mark.parametrize(
    "text",
    [
        "cannot read vault/plan: No such file",
        "vault/plan",
        "/mnt/point/vault/plan was moved",
        "'vault/my plan' is gone",
        'moved "vault/plan b" away',
        "source=vault/plan",
        "(vault/plan)",
        "to vault/deep/plan, at last",
        "my.plan.key",
        "the plan",
    ],
)
def test_paths_within_texts_are_found(text):
    """As words, in quotes, from outside, after a sign; names of files that were seen as words."""
    one = redactor()
    one.see("vault/plan")
    assert "plan" not in one.text(text) and one.text(one.text(text)) == one.text(text)
    assert one.text("in/planning.csv, out/plan.pdf") == f"in/planning.csv, out/{one.text('plan')}.pdf"


def test_values_keep_their_shape():
    """Keys, lists and what definitions name."""
    one = redactor()
    token = one.see("vault/flow").rpartition("/")[2]
    value = {"workflow": "flow", "name": "flow", "steps": [{"path": "vault/flow"}, 7, None], "vault/flow": True}
    shown = {"workflow": "flow", "name": token, "steps": [{"path": f"vault/{token}"}, 7, None], f"vault/{token}": True}
    assert one.value(value) == shown


def test_hashes_are_of_the_key():
    """Another mount's are others; without the key nothing can be told."""
    rules = {"vault/**": "hash"}
    one, other = (PathRedactor(rules, key).path("vault/a") for key in (b"1" * 32, b"2" * 32))
    assert one != other and one == PathRedactor(rules, b"1" * 32).path("vault/a")
    assert one in PathRedactor({}, b"1" * 32).alternatives("vault/a")


def test_a_secret_in_a_path_is_in_no_column(tmp_path):
    """A secret's value within a path or within a name of the record itself: hidden, and the proof holds."""
    secrets = Redactor()
    secrets.learn("token", "hunter2very")
    secrets.learn("odd", "rule.fired")
    chain = Chain(Head(), secrets.text)
    connection = Database(str(tmp_path / "j.db"), sync="off").connect()
    row = chain.link("rule.fired", path="in/hunter2very", data={"hunter2very": ["is hunter2very"]})
    connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row[1:])
    assert verify(connection, chain.head).problems == []
    assert "hunter2" not in str(row) and row[4] == "in/[secret token]" and row[3] == "rule.fired"
    connection.close()


def test_what_is_wrong_is_said(tmp_path):
    """An unknown way and a malformed glob, with the line."""
    path = tmp_path / "vexfs.toml"
    for rule, said in (('"a/**" = "blur"', "'hash', 'mask' or 'parent'"), ('"{a" = "hash"', "without")):
        path.write_text(f"[journal.redact-paths]\n{rule}\n")
        with pytest.raises(DefinitionError, match=said) as found:
            configuration.read(str(path))
        assert found.value.line and found.value.field.startswith("journal.redact-paths")
