"""A real mount with a secret: all that it writes anywhere is scanned for the value. And a mount that acts on paper."""

import base64
import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest

import mount
from tests.listening import Listener
from tests.mounting import Mount, mounted, scratch
from tests.patience import eventually
from tests.test_actions_web import serving

pytestmark = pytest.mark.mount

VALUE = 'tOp "s3cret"/+value'
SAID = 'echo "$T"; printf %s "$T" | base64; echo "$T" >&2'
CONFIG = """
[actions]
allow-hosts = ["127.0.0.0/8"]
secrets = "vault"
secrets-env = {other = "OTHER_VALUE"}
"""


def ended(mount: Mount, count: int) -> list[dict]:
    """The traces of so many finished runs."""

    def found() -> list[dict]:
        names = os.listdir(mount.mountpoint / ".vexfs/runs")
        traces = [json.loads((mount.mountpoint / ".vexfs/runs" / name / "trace").read_text()) for name in names]
        done = [trace for trace in traces if trace["status"] not in ("pending", "running", "waiting", "compensating")]
        return done if len(done) >= count else []

    return eventually(found)


def everything(top: Path) -> dict[str, bytes]:
    """The content of every file below a directory."""
    return {str(path): path.read_bytes() for path in top.rglob("*") if path.is_file() and not path.is_symlink()}


def control_files(mount: Mount) -> dict[str, bytes]:
    """The content of every file of the control tree but the streams, which do not end."""
    found = {}
    for directory, _, names in os.walk(mount.mountpoint / ".vexfs"):
        if "events.d" in directory:
            continue
        for name in names:
            path = Path(directory) / name
            if name != "events" and os.access(path, os.R_OK) and path.stat().st_mode & 0o400:
                found[str(path)] = path.read_bytes()
    return found


def test_no_secret_is_ever_written():
    """Not to the log, the database, the audit trail, a control file, an event or the tree; yet the server got it."""
    with scratch() as directory, serving() as server:
        source, workflows, vault, state = (directory / name for name in ("source", "workflows", "vault", "state"))
        for path in (source, workflows, vault):
            path.mkdir()
        (vault / "token").write_text(VALUE)
        (vault / "token").chmod(0o600)
        (directory / "vexfs.toml").write_text(CONFIG)
        steps = [
            {
                "type": "http",
                "url": server.url,
                "auth": {"user": "ann", "password": "secret:token"},
                "query": {"t": "secret:other"},
            },
            {"type": "command", "argv": SAID, "shell": True, "env": {"T": "secret:token"}},
            {"type": "write", "path": "kept", "content": "{{ steps.step2.stdout }} {{ steps.step1.body }}"},
            {"type": "log", "message": "{{ steps.step2.stderr }}"},
            {"type": "emit_event", "event": "user.said", "data": {"all": "{{ steps.step2.stdout }}"}},
            {"type": "update_state", "path": "said", "value": "{{ steps.step2.stdout }}"},
            {
                "type": "command",
                "argv": f"{SAID}; env >&2; exit 3",
                "shell": True,
                "env": {"T": "x {{ secrets.token }}"},
            },
        ]
        triggers = {"types": "file.closed", "path": "go"}
        definition = {"name": "leak", "triggers": triggers, "steps": [{"action": one} for one in steps]}
        (workflows / "leak.json").write_text(json.dumps(definition))
        words = ("--workflows", str(workflows), "--state-dir", str(state), "--config", str(directory / "vexfs.toml"))
        other = {"OTHER_VALUE": "0ther-value-of-secret"}
        with mounted(source, arguments=(*words, "--log-level", "debug"), environment=other) as mount:
            with Listener(mount.mountpoint) as listener:
                (mount.mountpoint / "go").write_text("x")
                (trace,) = ended(mount, 1)
                events = listener.take()
            assert trace["status"] == "failed" and "[secret token]" in trace["error"], trace
            written = control_files(mount) | {"events": json.dumps(events).encode(), "log": mount.text().encode()}
            got = server.seen[0]
        written |= everything(source) | everything(state)
        basic = base64.b64encode(f"ann:{VALUE}".encode()).decode()
        assert got["headers"]["authorization"] == f"Basic {basic}"
        assert any(name.endswith(".db") or "sqlite" in name for name in written), sorted(written)
        forms = [VALUE, json.dumps(VALUE)[1:-1], quote(VALUE, safe=""), basic, other["OTHER_VALUE"]]
        forms.append(base64.b64encode(VALUE.encode()).decode())
        found = [(name, form) for name, data in written.items() for form in forms if form.encode() in data]
        assert not found


def test_a_mount_may_act_on_paper():
    """`--dry-run`: runs go through, their traces say what would have been done, the tree stays as it is."""
    with scratch() as directory:
        source, workflows = directory / "source", directory / "workflows"
        source.mkdir()
        workflows.mkdir()
        steps = [
            {"type": "copy", "from": "{{ event.path }}", "to": "copies/"},
            {"type": "command", "argv": ["touch", "made"]},
            {"type": "delete", "path": "{{ event.path }}"},
        ]
        triggers = {"types": "file.closed", "path": "in"}
        definition = {"name": "paper", "triggers": triggers, "steps": [{"action": one} for one in steps]}
        (workflows / "paper.json").write_text(json.dumps(definition))
        with mounted(source, arguments=("--workflows", str(workflows), "--dry-run")) as mount:
            (mount.mountpoint / "in").write_text("12345")
            (trace,) = ended(mount, 1)
            assert trace["status"] == "succeeded", trace
            assert [step["result"]["would"]["action"] for step in trace["steps"]] == ["copy", "command", "delete"]
            assert trace["steps"][0]["result"]["size"] == 5
            assert (
                os.listdir(mount.mountpoint) == ["in"]
                and "on paper" in (mount.mountpoint / ".vexfs/status").read_text()
            )


@pytest.mark.parametrize("line", ['secrets = "source/x"', 'models = "source/x"', 'databases = ["source/x"]'])
def test_what_the_process_itself_reads_may_not_lie_under_the_mountpoint(line, capsys):
    """It would wait for its own answer."""
    with scratch() as directory:
        (directory / "source/x").mkdir(parents=True)
        (directory / "vexfs.toml").write_text(f"[actions]\n{line}\n")
        status = mount.main(
            ["mount", str(directory / "source"), "--config", str(directory / "vexfs.toml"), "--volatile"]
        )
        assert status == 2 and "lies under the mountpoint" in capsys.readouterr().err
