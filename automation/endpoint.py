"""The HTTP endpoint for events from outside: CloudEvents posted to `/events`, on a loopback address or a Unix socket.

Structured (`application/cloudevents+json`), batched (`application/cloudevents-batch+json`) and binary mode (`ce-…`
headers, the body as data). Answers: 202 taken, 400 what is wrong, 401 no or a wrong token, 404, 405, 413 too large,
503 too many at once. HTTP/1.1 by h11; at most 64 connections, each request within 10 seconds.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import ipaddress
import json
import logging
import os
import secrets
import socket
import stat
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import h11
import trio

from automation.errors import CallerError
from automation.inbox import MOST_BYTES, Inbox, Sender

log: Final = logging.getLogger(__name__)

MOST_CONNECTIONS: Final = 64
REQUEST_SECONDS: Final = 10.0
PATH: Final = "/events"


def open_socket(address: str) -> socket.socket:
    """A listening socket for `127.0.0.1:PORT`, `[::1]:PORT` or `unix:PATH`; CallerError says what is wrong."""
    try:
        return _unix(address[5:]) if address.startswith("unix:") else _loopback(address)
    except OSError as error:
        raise CallerError(f"cannot listen on {address}: {error.strerror or error}") from error


def _unix(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise CallerError(f"cannot listen on unix:{path}: there is something else")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0:
                raise CallerError(f"cannot listen on unix:{path}: somebody does already")
        os.unlink(path)  # left by a process that was killed
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(MOST_CONNECTIONS)
    return listener


def _loopback(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
        number = int(port)
    except ValueError:
        raise CallerError(f"{address!r} is no place to listen; write 127.0.0.1:PORT, [::1]:PORT or unix:PATH") from None
    if not 0 <= number <= 65535:
        raise CallerError(f"{address}: a port is a number up to 65535, not {number}")
    if not ip.is_loopback:
        raise CallerError(f"{address} is no loopback address: put a proxy before it to be reached from elsewhere")
    listener = socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((str(ip), number))
    listener.listen(MOST_CONNECTIONS)
    return listener


def read_token(path: str, *, make: bool) -> str:
    """The token in a file that only its owner can read; with `make` one is written where none is yet."""
    try:
        if make and not os.path.exists(path):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(f"{secrets.token_urlsafe(32)}\n")
            log.info("the token of the endpoint is in %s", path)
        with open(path, encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            token = file.read(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"the token file {path} cannot be read: {getattr(error, 'strerror', error)}") from error
    if mode & 0o077:
        raise CallerError(f"others can read the token file {path}: chmod 600 {path}")
    if len(token) < 16:
        raise CallerError(f"the token in {path} must have 16 characters or more")
    return token


class Endpoint:
    """Serves `listener`, which it closes. `token` is what a request must bring as `Authorization: Bearer …`; None lets
    everybody in who can connect, which is right for a Unix socket alone.
    """

    def __init__(self, listener: socket.socket, inbox: Inbox, token: str | None) -> None:
        self._listener: Final = listener
        self._inbox: Final = inbox
        self._token: Final = token
        self._connections = 0
        name = listener.getsockname()
        self.address: Final = f"unix:{name}" if isinstance(name, str) else f"http://{_host(name[0])}:{name[1]}{PATH}"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        stream = trio.SocketListener(trio.socket.from_stdlib_socket(self._listener))
        try:
            task_status.started()
            await trio.serve_listeners(self._connection, [stream])
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the address."""
        if self.address.startswith("unix:"):
            with contextlib.suppress(OSError):
                os.unlink(self.address[5:])
        self._listener.close()

    async def _connection(self, stream: trio.SocketStream) -> None:
        self._connections += 1
        try:
            await _Exchange(stream, self).serve(full=self._connections > MOST_CONNECTIONS)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
            log.debug("a client broke off")
        except Exception:  # one connection is nothing to end the mount for
            log.exception("the endpoint met a bug")
        finally:
            self._connections -= 1
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    def answer(self, request: h11.Request, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and JSON for one request."""
        if request.target.decode("latin-1").partition("?")[0] != PATH:
            return 404, {"error": f"events are posted to {PATH}"}
        if request.method != b"POST":
            return 405, {"error": "events are posted"}
        if self._token is not None and not _is_authorized(headers.get("authorization", ""), self._token):
            return 401, {"error": "a token is needed: Authorization: Bearer TOKEN"}
        if len(body) > MOST_BYTES:
            return 413, {"error": f"a request may have {MOST_BYTES} bytes, not more"}
        try:
            receipts = self._inbox.receive(_decode(headers, body), Sender("http", os.getuid(), os.getgid()))
        except CallerError as error:
            return 400, {"error": str(error)}
        taken = sum(not receipt.duplicate for receipt in receipts)
        return 202, {"accepted": taken, "duplicates": len(receipts) - taken}


class _Exchange:
    """The requests of one connection."""

    def __init__(self, stream: trio.SocketStream, endpoint: Endpoint) -> None:
        self._stream: Final = stream
        self._endpoint: Final = endpoint
        self._http: Final = h11.Connection(h11.SERVER, max_incomplete_event_size=65_536)

    async def serve(self, *, full: bool) -> None:
        while True:
            with trio.move_on_after(REQUEST_SECONDS):
                if not await self._one(full=full):
                    return
                continue
            return

    async def _one(self, *, full: bool) -> bool:
        """Whether another request may follow."""
        try:
            request, body = await self._request()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                await self._send(error.error_status_hint or 400, {"error": str(error)})
            return False
        if request is None:
            return False
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers}
        busy = (503, {"error": "too many connections at once"})
        await self._send(*(busy if full else self._endpoint.answer(request, headers, body)))
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _request(self) -> tuple[h11.Request | None, bytes]:
        """The next request, with one byte more of its body than is allowed at the most."""
        request: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    await self._stream.send_all(self._http.send(go_on) or b"")
                self._http.receive_data(await self._stream.receive_some(65_536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MOST_BYTES:
                    return request, bytes(body)
            elif isinstance(event, h11.EndOfMessage):
                return request, bytes(body)
            else:  # the client has gone
                return None, b""

    async def _send(self, status: int, answer: Mapping[str, Any]) -> None:
        data = f"{json.dumps(answer)}\n".encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
        if status == 401:
            headers.append(("WWW-Authenticate", "Bearer"))
        out = self._http.send(h11.Response(status_code=status, headers=headers)) or b""
        out += self._http.send(h11.Data(data=data)) or b""
        out += self._http.send(h11.EndOfMessage()) or b""
        await self._stream.send_all(out)


def _host(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _is_authorized(given: str, token: str) -> bool:
    scheme, _, found = given.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(found.strip().encode(), token.encode())


def _decode(headers: Mapping[str, str], body: bytes) -> Any:
    """The event or events of a request; CallerError for a body that is none."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if "ce-specversion" in headers:
        attributes = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
        return attributes | _data(kind, body)
    if kind not in ("application/cloudevents+json", "application/cloudevents-batch+json", "application/json"):
        raise CallerError(
            f"the content type {kind or 'is missing and'} is none of application/cloudevents+json,"
            " application/cloudevents-batch+json and, with ce- headers, any other"
        )
    return _json(body)


def _data(kind: str, body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    about = {"datacontenttype": kind} if kind else {}
    if kind == "application/json" or kind.endswith("+json"):
        return about | {"data": _json(body)}
    try:
        return about | {"data": body.decode()}
    except UnicodeDecodeError:
        return about | {"data_base64": base64.b64encode(body).decode()}


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallerError(f"the body is no JSON: {error}") from None
