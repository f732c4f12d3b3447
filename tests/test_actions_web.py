"""What an HTTP call may reach, how it proves who it is, and what never leaves with it: against real servers."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from automation.actions import hosts
from automation.actions.hosts import Hosts
from automation.errors import WorldError
from tests.effects import acting_in


class Handler(BaseHTTPRequestHandler):
    """Tells what it got; `/to?URL` redirects there."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Any method."""
        path, _, query = self.path.partition("?")
        headers = {k.lower(): v for k, v in self.headers.items()}
        content = self.rfile.read(int(headers.get("content-length", 0)))
        told = json.loads(content) if headers.get("content-type") == "application/json" else None
        self.server.seen.append({"path": path, "headers": headers, "json": told})
        body = json.dumps({"headers": headers}).encode()
        self.send_response({"/to": 307, "/busy": 503}.get(path, 200))
        if path == "/to":
            self.send_header("Location", query)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    """Forgives clients that leave."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that did not trust us is no news."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.seen = []
    scheme = "http"
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    server.url = f"{scheme}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server():
    with serving() as one:
        yield one


@pytest.fixture
async def act(tmp_path: Path):
    async with acting_in(tmp_path, allow=()) as one:
        yield one


async def test_private_addresses_are_refused_unless_the_definition_allows(act, server):
    """By address and by name, whether or not an allowed call has left a connection open."""
    for url in (server.url, server.url.replace("127.0.0.1", "localhost"), "http://169.254.169.254/", "http://[::1]/"):
        with pytest.raises(WorldError, match="private address"):
            await act("http", url=url)
    assert (await act("http", url=server.url, allow_private=True))["status"] == 200
    with pytest.raises(WorldError, match="private address"):
        await act("http", url=server.url)
    assert len(server.seen) == 1


async def test_an_address_that_is_refused_says_nothing_of_its_host(act, server):
    """It was never called: once it is allowed there is no breaker in the way."""
    for _ in range(7):
        with pytest.raises(WorldError, match="private address"):
            await act("http", url=server.url)
    assert (await act("http", url=server.url, allow_private=True))["status"] == 200


async def test_private_addresses_can_be_allowed_by_the_configuration(tmp_path, server):
    """A host list or a network."""
    for i, allow in enumerate((("127.0.0.0/8",), ("localhost",))):
        async with acting_in(_made(tmp_path / str(i)), allow=allow) as act:
            url = server.url if i == 0 else server.url.replace("127.0.0.1", "localhost")
            assert (await act("http", url=url))["status"] == 200


async def test_a_redirect_to_a_private_address_is_refused(tmp_path, server, monkeypatch):
    """Each hop is judged: a public server cannot send us inside."""
    with serving() as inside:
        async with acting_in(tmp_path, allow=("front.example",)) as act:
            pretend(monkeypatch, {"front.example": "127.0.0.1"})
            url = f"http://front.example:{server.server_port}/to?{inside.url}/"
            with pytest.raises(WorldError, match="private address"):
                await act("http", url=url, follow_redirects=True)
            assert server.seen and not inside.seen


async def test_a_name_is_judged_by_the_address_that_is_called(act, server, monkeypatch):
    """DNS rebinding: a name that is public when asked first and private when asked again gains nothing."""
    answers = ["198.51.100.1", "127.0.0.1"]

    monkeypatch.setattr(hosts, "look_up", lambda host, port: [(2, 1, 6, "", (answers.pop(0), port))])
    with pytest.raises(WorldError):
        await act("http", url=f"http://rebind.example:{server.server_port}/", timeout=0.5)
    assert not server.seen


async def test_credentials_and_headers_stay_with_the_host_they_were_meant_for(tmp_path, server):
    """A redirect to another origin goes without auth, headers and idempotency key; within one they are kept."""
    async with acting_in(tmp_path) as act:
        with serving() as other:
            given = {"auth": {"bearer": "s3cr3t-token"}, "headers": {"X-Api": "abc"}, "method": "POST"}
            await act("http", url=f"{server.url}/to?{other.url}/x", follow_redirects=True, **given)
            (got,) = other.seen
            assert not {"authorization", "x-api", "idempotency-key"} & set(got["headers"])
            await act("http", url=f"{server.url}/to?{server.url}/x", follow_redirects=True, **given)
            assert server.seen[-1]["headers"]["x-api"] == "abc"
            with pytest.raises(WorldError, match="more than 1 times"):
                await act(
                    "http", url=f"{server.url}/to?{server.url}/to?x", follow_redirects=True, max_redirects=1, **given
                )


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        ({"bearer": "tok"}, "authorization", "Bearer tok"),
        ({"user": "ann", "password": "pw"}, "authorization", "Basic YW5uOnB3"),
        ({"header": "X-Key", "value": "k"}, "x-key", "k"),
    ],
)
async def test_each_way_to_prove_who_one_is(act, server, auth, name, value):
    """As its own header."""
    await act("http", url=server.url, allow_private=True, auth=auth)
    assert server.seen[0]["headers"][name] == value


async def test_a_call_that_changes_something_carries_the_step_s_key(tmp_path, server):
    """The same at each attempt; not on GET, and not when switched off."""
    async with acting_in(tmp_path, key="run-1/post") as act:
        for more in ({"method": "POST"}, {"method": "POST", "idempotency_header": ""}, {}):
            await act("http", url=server.url, **more)
    assert [seen["headers"].get("idempotency-key") for seen in server.seen] == ["run-1/post", None, None]


async def test_a_limit_on_the_answer_can_be_named(tmp_path, server):
    """In bytes; the answer is not read to its end."""
    async with acting_in(tmp_path) as act:
        with pytest.raises(WorldError, match="more than 10 bytes"):
            await act("http", url=server.url, response_limit=10)


async def test_certificates_are_verified_against_the_named_file(tmp_path):
    """An unknown authority is refused; the one in `ca_file` is trusted."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    words += ["-keyout", key, "-out", certificate, "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"]
    await trio.run_process(words, capture_stderr=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context) as server:
        async with acting_in(tmp_path) as act:
            with pytest.raises(WorldError, match="CERTIFICATE_VERIFY_FAILED"):
                await act("http", url=server.url)
            assert (await act("http", url=server.url, ca_file=certificate))["status"] == 200
            with pytest.raises(WorldError, match="cannot be read"):
                await act("http", url=server.url, ca_file=str(tmp_path / "none"))


PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
]
PRIVATE += ["::1", "::", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_every_kind_of_private_address_is_known(address):
    """Also those that hide an IPv4 address in an IPv6 one."""
    assert not Hosts().permits("x", address)


@given(st.ip_addresses(v=4))
def test_an_allowed_network_is_allowed_and_nothing_more(address):
    """For any address: allowed by its network or by being public."""
    some = Hosts(("10.0.0.0/8",))
    inside = str(address).startswith("10.")
    assert some.permits("x", str(address)) == (inside or Hosts().permits("x", str(address)))


def pretend(monkeypatch, names: dict[str, str]) -> None:
    """Resolve these names so, all others as usual."""
    real = hosts.look_up
    monkeypatch.setattr(hosts, "look_up", lambda host, port: real(names.get(host, host), port))


def _made(path: Path) -> Path:
    path.mkdir()
    return path
