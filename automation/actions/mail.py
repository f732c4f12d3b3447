"""Sends mail by SMTP: smtplib in a thread, to an address that was judged like that of any other call."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any, Final, Literal, cast

import trio

from automation.actions.hosts import Forbidden
from automation.actions.web import Web
from automation.breakers import Harmless
from automation.errors import TimedOut, WorldError

Security = Literal["starttls", "tls", "none"]
_REFUSED: Final = (
    smtplib.SMTPRecipientsRefused,
    smtplib.SMTPSenderRefused,
    smtplib.SMTPDataError,
    smtplib.SMTPAuthenticationError,
    smtplib.SMTPNotSupportedError,
)


@dataclass(frozen=True, slots=True)
class Relay:
    """The server that takes the mail; `ca_file` holds the authorities that it is verified against."""

    host: str
    port: int
    security: Security
    user: str | None
    password: str | None
    ca_file: str | None
    private: bool
    timeout: float


def compose(sender: str, to: list[str], subject: str, text: str, key: str) -> EmailMessage:
    """A plain message; ValueError when an address is none. The same `key` gives the same Message-ID."""
    message = EmailMessage()
    message["From"], message["To"] = sender, ", ".join(to)
    message["Subject"] = " ".join(subject.split())
    message["Date"] = formatdate(localtime=True)
    if key:
        message["Message-ID"] = f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@vexfs>"
    message.set_content(text.encode("utf-8", "replace").decode())
    return message


async def send(relay: Relay, message: EmailMessage, web: Web, threads: trio.CapacityLimiter) -> list[str]:
    """Hand a message over; the recipients that were refused, if others were not. WorldError when none took it."""
    try:
        private = web.reaches_private(relay.private)
        addresses = await web.hosts.addresses(relay.host, relay.port, private=private)
    except Forbidden as error:
        raise Harmless(error) from None
    where = f"the mail server {relay.host}:{relay.port}"
    try:
        with trio.fail_after(relay.timeout):
            return await trio.to_thread.run_sync(
                _deliver, relay, addresses[0], message, web, abandon_on_cancel=True, limiter=threads
            )
    except (trio.TooSlowError, TimeoutError):
        raise TimedOut(f"{where} took longer than {relay.timeout:g} s") from None
    except _REFUSED as error:
        raise Harmless(WorldError(f"{where} refused: {_said(error)}")) from None
    except (smtplib.SMTPException, OSError) as error:
        raise WorldError(f"{where} failed: {_said(error)}") from None


def _deliver(relay: Relay, address: str, message: EmailMessage, web: Web) -> list[str]:
    trust = web.trust(relay.ca_file) if relay.ca_file else ssl.create_default_context()
    client = (
        smtplib.SMTP_SSL(timeout=relay.timeout, context=trust)
        if relay.security == "tls"
        else smtplib.SMTP(timeout=relay.timeout)
    )
    cast(Any, client)._host = relay.host  # what the certificate must name; the connection goes to the judged address
    try:
        client.connect(address, relay.port)
        if relay.security == "starttls":
            client.starttls(context=trust)
        if relay.user is not None:
            client.login(relay.user, relay.password or "")
        refused = list(client.send_message(message))
        client.quit()
        return refused
    finally:
        client.close()


def _said(error: Exception) -> str:
    """What the server said, on one line."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        parts = [f"{who}: {_text(said)}" for who, (_, said) in error.recipients.items()]
        return ", ".join(parts)
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    return " ".join(str(error).split()) or type(error).__name__


def _text(said: bytes | str) -> str:
    return " ".join((said.decode("utf-8", "replace") if isinstance(said, bytes) else said).split())
