"""Secrets: where they come from, that nobody smuggles a reference in, and that no value is ever written."""

import base64
import gc
import io
import json
import logging
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation import seals
from automation.actions import Recorder, build_action
from automation.errors import WorldError
from automation.library import check
from automation.permissions import Permissions
from automation.redaction import Redactor, hide_in_logs
from automation.secrets import Secrets
from automation.templates import Template
from tests.automation_rig import rig
from tests.effects import acting_in
from tests.test_actions_web import serving

VALUE = 'p@ss "wörd"/+\\with=everything'


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    path = tmp_path / "vault"
    path.mkdir(mode=0o700)
    (path / "token").write_text(f"{VALUE}\n")
    (path / "token").chmod(0o600)
    return path


@pytest.fixture
def server():
    with serving() as one:
        yield one


def test_a_value_comes_from_a_file_a_credential_or_a_variable(vault, tmp_path, monkeypatch):
    """In this order; one trailing newline is not part of it."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name in ("token", "smtp"):
        (credentials / name).write_text(f"credential {name}")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    monkeypatch.setenv("DB_PASSWORD", "from the environment")
    secrets = Secrets(str(vault), {"db": "DB_PASSWORD"})
    assert [secrets.value(name) for name in ("token", "smtp", "db")] == [
        VALUE,
        "credential smtp",
        "from the environment",
    ]
    assert secrets.names() == ["db", "smtp", "token"]
    assert "DB_PASSWORD" not in secrets.environment() and "PATH" in secrets.environment()
    with pytest.raises(WorldError, match="there is no secret 'none': write it to"):
        secrets.value("none")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_could_read_is_refused(vault, mode):
    """With the command that mends it."""
    (vault / "token").chmod(mode)
    with pytest.raises(WorldError, match="chmod 600"):
        Secrets(str(vault)).value("token")


def test_a_link_a_short_value_and_bytes_that_are_no_text_are_refused(vault):
    """Each says why; a changed file counts at once."""
    secrets = Secrets(str(vault))
    os.symlink("token", vault / "link")
    (vault / "folder").mkdir()
    (vault / "short").write_text("abc")
    (vault / "short").chmod(0o600)
    (vault / "bytes").write_bytes(b"\xff\xfe12345678")
    (vault / "bytes").chmod(0o600)
    for name, says in (
        ("link", "cannot be read"),
        ("short", "shorter than 6"),
        ("bytes", "not UTF-8"),
        ("folder", "is no file"),
    ):
        with pytest.raises(WorldError, match=says):
            secrets.value(name)
    (vault / "token").write_text("another value")
    assert secrets.value("token") == "another value"
    assert secrets.redact([VALUE, "another value"]) == ["[secret token]"] * 2


def test_only_a_definition_can_refer_to_a_secret():
    """`secret:NAME` in an event's path, or made by an expression, stays a text; written in the definition it counts."""
    variables = {"event": {"path": "secret:token"}, "vars": {"n": "token"}, "steps": {}, "state": {}, "input": {}}
    template = Template(
        {"a": "secret:token", "b": "x {{ secrets.token }}", "c": "{{ event.path }}", "d": "secret:{{ vars.n }}"}
    )
    got = template.render(variables)
    assert seals.sealed(got["a"]) == seals.sealed(got["b"]) == ["token"]
    assert seals.sealed(got["c"]) == seals.sealed(got["d"]) == []
    assert seals.shown(got["b"]) == "x secret:token"


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("let: {token: 'x {{ secrets.token }}'}", "let.token: the secret 'token' would be recorded here"),
        ("outputs: {t: {value: 'secret:token'}}", "the secret 'token' would be recorded here"),
        ("description: x", "content: this cannot take the secret 'token'"),
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_at_load(tmp_path, where, says):
    """With file, line and field."""
    step = (
        "{action: {type: write, path: x, content: 'secret:token'}}" if "content" in says else "{action: {type: list}}"
    )
    path = tmp_path / "s.yaml"
    path.write_text(f"name: s\n{where}\nsteps: [{step}]\n")
    (error,) = check([str(path)])
    assert says in str(error) and error.line in (2, 3), error


async def test_a_secret_opens_only_in_a_field_that_takes_one(tmp_path, vault, server):
    """A header receives it; a file, a log line and an event do not, in a dry run either."""
    async with acting_in(tmp_path, secrets=Secrets(str(vault))) as act:
        seal = seals.seal("token")
        (vault / "token").write_text("plain-value")
        await act("http", url=server.url, auth={"header": "X-Token", "value": f"v1 {seal}"})
        assert server.seen[0]["headers"]["x-token"] == "v1 plain-value"
        for raw in (
            {"type": "write", "path": "x", "content": seal},
            {"type": "log", "message": {"deep": [seal]}},
            {"type": "emit_event", "event": "user.x", "data": {"k": seal}},
            {"type": "http", "url": "http://x", "upload_field": seal, "upload": "x"},
        ):
            for perform in (act.context.executor.perform, Recorder().perform):
                with pytest.raises(WorldError, match="cannot take the secret 'token'"):
                    await perform(build_action(raw), act.context)
        told = await Recorder().perform(build_action({"type": "http", "url": f"http://x/{seal}"}), act.context)
        assert told["would"]["parameters"]["url"] == "http://x/secret:token"


@given(st.text(min_size=6, max_size=60).filter(lambda t: len(t.strip()) >= 6), st.text(max_size=9), st.text(max_size=9))
def test_no_form_of_a_value_passes(value, before, after):
    """Raw, URL-encoded, in JSON, and in base64 wherever it stands in a longer text."""
    redactor = Redactor()
    redactor.learn("k", value)
    try:
        encoded = base64.b64encode(f"{before}{value}{after}".encode()).decode()
    except UnicodeEncodeError:
        return
    for text in (f"{before}{value}{after}", f"?q={quote(value)}", json.dumps({"v": value}), json.dumps(value)):
        assert value not in redactor.text(text) or value in "[secret k]"
    hidden = redactor.text(encoded)
    assert len(value.encode()) < 9 or "[secret k]" in hidden


async def test_nothing_that_is_written_holds_a_value(tmp_path, vault, server, caplog):
    """A workflow that uses a secret wherever it may, and fails: logs, traces, events and files are scanned."""
    plain = "tOps3cret/value+42"
    (vault / "token").write_text(plain)
    reference, said = "secret:token", "echo $T; echo $T | base64; echo $T >&2"
    steps = [
        {"type": "http", "url": server.url, "auth": {"bearer": reference}, "query": {"t": reference}},
        {"type": "command", "argv": ["sh", "-c", said], "env": {"T": reference}},
        {"type": "write", "path": "kept", "content": "{{ steps.step2.stdout }} {{ steps.step1.body }}"},
        {"type": "command", "argv": ["sh", "-c", f"{said}; exit 3"], "env": {"T": "x {{ secrets.token }}"}},
    ]
    leak = {"name": "leak", "triggers": {"types": "user.go"}, "steps": [{"action": one} for one in steps]}
    stream = tmp_path / "log"
    handler = logging.FileHandler(stream)
    logging.getLogger().addHandler(handler)
    try:
        permissions = Permissions(allow_hosts=("127.0.0.1",), secrets=str(vault))
        async with rig(tmp_path, permissions=permissions, leak=json.dumps(leak)) as r:
            r.publish("user.go")
            (run,) = await r.settled()
            assert run.status == "failed" and "[secret token]" in run.error, run.error
            assert server.seen[0]["headers"]["authorization"] == f"Bearer {plain}"
            logging.getLogger("automation").error("a library says %s", plain)
            logging.getLogger("x").error("a bug", exc_info=ValueError(plain))
            written = [json.dumps(run.as_dict()), r.text("kept"), stream.read_text()]
            written += [json.dumps(event.as_dict()) for event in r.events()]
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    assert "[secret token]" in written[1] and "[secret token]" in written[2]
    for value in (plain, quote(plain, safe=""), base64.b64encode(plain.encode()).decode()):
        assert not [where for where in written if value in where]


def test_every_service_hides_its_own_secrets_in_the_log():
    """The operator's and each tenant's, beside one another, and no longer than they live."""
    first, second = Redactor(), Redactor()
    first.learn("one", "correct-horse")
    second.learn("two", "battery-staple")
    root, logger = logging.getLogger(), logging.getLogger("tests.secrets")
    logger.setLevel(logging.WARNING)  # whatever others have set the root to
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root.addHandler(handler)
    try:
        hide_in_logs(first)
        hide_in_logs(second)
        logger.warning("correct-horse and battery-staple")
        del second
        gc.collect()
        logger.warning("correct-horse and battery-staple")
    finally:
        root.removeHandler(handler)
    assert stream.getvalue().splitlines() == [
        "[secret one] and [secret two]",
        "[secret one] and battery-staple",
    ]
