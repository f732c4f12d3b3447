"""People are told: by mail through a real SMTP server, by webhooks in the form of each service, on the desktop."""

import os
import socket
import ssl
import stat
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from automation import seals
from automation.errors import CircuitOpen, WorldError
from automation.secrets import Secrets
from tests.effects import acting_in
from tests.test_actions_web import serving

# aiosmtpd leaves the connections open on which TLS failed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Mailbox:
    """What the server received; refuses some."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, list[str], str]] = []

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 - aiosmtpd's name
        if address.startswith("nobody"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.messages.append((envelope.mail_from, envelope.rcpt_tos, envelope.content.decode()))
        return "250 OK"


@contextmanager
def smtp(**options):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    controller = Controller(Mailbox(), hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield controller
    finally:
        controller.stop()


@pytest.fixture
async def act(tmp_path: Path):
    async with acting_in(tmp_path, key="run-1/notify") as one:
        yield one


def mail(server, **more):
    return {"host": "127.0.0.1", "port": server.port, "from": "vexfs@x.org", "to": ["ann@x.org"], **more}


async def test_a_mail_arrives(act):
    """Subject and text as given, a header cannot be smuggled in, and the same step has the same Message-ID."""
    with smtp() as server:
        text = "Ümläut\n.\nend"
        for _ in range(2):
            done = await act(
                "send_notification", title="a\r\nBcc: eve@x.org", text=text, email=mail(server, security="none")
            )
        assert done == {"channel": "email", "refused": []}
        (sender, to, content), (_, _, again) = server.handler.messages
        assert (sender, to) == ("vexfs@x.org", ["ann@x.org"])
        assert "Subject: a Bcc: eve@x.org" in content and "\nBcc" not in content
        ids = [line for one in (content, again) for line in one.splitlines() if line.startswith("Message-ID")]
        assert len(ids) == 2 and ids[0] == ids[1]


async def test_some_recipients_may_be_refused_but_not_all(act):
    """Those that were are told; when all were the step fails, but the server is not to blame."""
    with smtp() as server:
        to = ["nobody@x.org", "bob@x.org"]
        done = await act("send_notification", message="x", email=mail(server, security="none", to=to))
        assert done["refused"] == ["nobody@x.org"]
        with pytest.raises(WorldError, match=r"refused: nobody@x\.org: .*no such user"):
            await act("send_notification", message="x", email=mail(server, security="none", to="nobody@x.org"))
        assert act.context.breakers.all[0].failures == 0


async def test_starttls_and_a_password_from_the_secrets(tmp_path):
    """The certificate is verified; without TLS a password would not even be offered."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    words += ["-keyout", key, "-out", certificate, "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"]
    await trio.run_process(words, capture_stderr=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    vault = tmp_path / "vault"
    vault.mkdir()
    (vault / "smtp").write_text("correct horse")
    (vault / "smtp").chmod(0o600)
    seen = []

    def check(server, session, envelope, mechanism, data):
        seen.append((data.login, data.password))
        return AuthResult(success=data.password == b"correct horse", handled=False)

    with smtp(tls_context=context, authenticator=check, auth_required=True) as server:
        async with acting_in(tmp_path, secrets=Secrets(str(vault))) as act:
            form = mail(server, user="ann", password=seals.seal("smtp"), ca_file=certificate)
            await act("send_notification", message="x", email=form)
            assert seen == [(b"ann", b"correct horse")] and len(server.handler.messages) == 1
            with pytest.raises(WorldError, match="CERTIFICATE_VERIFY_FAILED"):
                await act("send_notification", message="x", email={**form, "ca_file": None})
            with pytest.raises(WorldError, match="refused: 535"):
                await act("send_notification", message="x", email={**form, "password": "wrong one"})


async def test_a_dead_or_private_mail_server(tmp_path):
    """Refused connections open the breaker; a private address needs a permission."""
    async with acting_in(tmp_path) as act:
        form = {"host": "127.0.0.1", "port": 1, "from": "a@x.org", "to": "b@x.org"}
        raw = {"message": "x", "email": form, "breaker": {"failures": 2}}
        for _ in range(2):
            with pytest.raises(WorldError, match=r"the mail server 127\.0\.0\.1:1 failed"):
                await act("send_notification", **raw)
        with pytest.raises(CircuitOpen):
            await act("send_notification", **raw)
    (tmp_path / "y").mkdir()
    async with acting_in(tmp_path / "y", allow=()) as act:
        with pytest.raises(WorldError, match="private address"):
            await act("send_notification", **raw)


@pytest.mark.parametrize(
    ("channel", "body"),
    [
        ("slack", {"text": "*Full*\n90% &lt;disk&gt;"}),
        ("discord", {"content": "**Full**\n90% <disk>", "allowed_mentions": {"parse": []}}),
        (
            "webhook",
            {"title": "Full", "message": "90% <disk>", "urgency": "normal", "workflow": "sorter", "run": "run-1"},
        ),
    ],
)
async def test_webhooks_have_the_form_that_the_service_takes(act, channel, body):
    """As JSON in a POST, with the step's key."""
    with serving() as server:
        done = await act("notify", title="Full", message="90% <disk>", **{channel: server.url})
        assert done["channel"] == channel
        assert server.seen[0]["json"] == body and server.seen[0]["headers"]["idempotency-key"] == "run-1/notify"


async def test_teams_gets_a_card(act):
    """An adaptive card with title and text."""
    with serving() as server:
        await act("send_notification", title="Full", message="x", teams=server.url)
        card = server.seen[0]["json"]["attachments"][0]["content"]
        assert card["type"] == "AdaptiveCard" and [block["text"] for block in card["body"]] == ["Full", "x"]


async def test_the_desktop_is_told_by_its_own_program(act, tmp_path, monkeypatch):
    """notify-send gets title and text as words of their own; without it the step fails with a sentence."""
    program = tmp_path / "bin/notify-send"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {tmp_path}/told\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    await act("send_notification", message="--urgency=low; $(id)", desktop=True, urgency="critical")
    assert (tmp_path / "told").read_text().endswith("--urgency=critical|--|sorter|--urgency=low; $(id)|")
    program.unlink()
    monkeypatch.setenv("PATH", str(program.parent))
    with pytest.raises(WorldError, match="notify-send"):
        await act("send_notification", message="x", desktop=True)
