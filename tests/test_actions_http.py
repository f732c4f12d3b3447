"""HTTP calls against a real server on the loopback."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trio

from automation.errors import TimedOut, WorldError
from tests.effects import acting_in


class Handler(BaseHTTPRequestHandler):
    """Answers by path; `/echo` tells what it got."""

    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        """Any method."""
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        path = self.path.partition("?")[0]
        if path == "/slow":
            self.server.released.wait(60)
        status = int(path[8:]) if path.startswith("/status/") else 302 if path == "/away" else 200
        kind = "application/json" if path == "/echo" else "text/plain; charset=latin-1"
        answer = {
            "/echo": lambda: json.dumps(
                {
                    "method": self.command,
                    "path": self.path,
                    "headers": {k.lower(): v for k, v in self.headers.items()},
                    "body": body.decode("latin-1"),
                }
            ).encode(),
            "/large": lambda: b"x" * (1 << 21),
        }.get(path, lambda: "schön".encode("latin-1"))()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        if status == 302:
            self.send_header("Location", "/echo")
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_one  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    """Forgives clients that leave."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that went away is no news."""


@pytest.fixture
def server():
    one = Server(("127.0.0.1", 0), Handler)
    one.released = threading.Event()
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{one.server_port}"
    finally:
        one.released.set()
        one.shutdown()
        thread.join()
        one.server_close()


@pytest.fixture
async def act(tmp_path: Path):
    async with acting_in(tmp_path) as one:
        yield one


async def test_an_answer_in_json_is_decoded(act, server):
    """`json` holds the decoded answer, `body` its text."""
    done = await act("http", url=f"{server}/echo", query={"q": "a b"}, headers={"X-Key": "k"})
    assert done["status"] == 200
    assert (done["json"]["method"], done["json"]["path"]) == ("GET", "/echo?q=a+b")
    assert done["json"]["headers"]["x-key"] == "k"
    assert json.loads(done["body"]) == done["json"]
    plain = await act("http", url=f"{server}/text")
    assert (plain["body"], plain["json"]) == ("schön", None)


async def test_a_body_makes_it_a_post(act, server):
    """Text goes as text, anything else as JSON, and an explicit method or content type counts."""
    got = (await act("http", url=f"{server}/echo", body={"a": [1, None]}))["json"]
    assert (got["method"], got["body"], got["headers"]["content-type"]) == (
        "POST",
        '{"a": [1, null]}',
        "application/json",
    )
    got = (await act("call_api", url=f"{server}/echo", body="raw", method="put", headers={"content-type": "a/b"}))[
        "json"
    ]
    assert (got["method"], got["body"], got["headers"]["content-type"]) == ("PUT", "raw", "a/b")


async def test_a_file_is_uploaded_as_it_is_or_in_a_form(act, server):
    """`upload` streams a file of the mount with its length; `upload_field` wraps it as a form does."""
    data = bytes(range(256)) * 300
    (act.tree.top / 'q"x').write_bytes(data)
    got = (await act("http", url=f"{server}/echo", method="PUT", upload='q"x'))["json"]
    assert got["body"].encode("latin-1") == data
    assert got["headers"]["content-length"] == str(len(data))
    got = (await act("http", url=f"{server}/echo", upload='q"x', upload_field="file"))["json"]
    boundary = got["headers"]["content-type"].partition("boundary=")[2]
    head, _, rest = got["body"].partition("\r\n\r\n")
    assert head.startswith(f"--{boundary}\r\n")
    assert 'name="file"; filename="q%22x"' in head
    assert rest == data.decode("latin-1") + f"\r\n--{boundary}--\r\n"
    with pytest.raises(WorldError, match="no such file"):
        await act("http", url=f"{server}/echo", upload="none")


@pytest.mark.parametrize("status", [400, 404, 500, 503])
async def test_a_status_of_400_or_more_is_an_error(act, server, status):
    """The error names the status and shows the beginning of the answer, but no query and no password."""
    url = server.replace("//", "//user:pa55@")
    with pytest.raises(WorldError, match=rf"/status/{status} answered {status}: schön") as caught:
        await act("http", url=f"{url}/status/{status}?token=secret")
    assert "secret" not in str(caught.value)
    assert "pa55" not in str(caught.value)


async def test_redirects_are_followed_only_if_asked(act, server):
    """A redirect is an answer like another unless `follow_redirects`."""
    assert (await act("http", url=f"{server}/away"))["status"] == 302
    assert (await act("http", url=f"{server}/away", follow_redirects=True))["json"]["path"] == "/echo"


async def test_a_slow_answer_times_out(act, server):
    """`timeout` bounds the whole call."""
    started = time.monotonic()
    with pytest.raises(TimedOut, match=r"longer than 0\.2 s"):
        await act("http", url=f"{server}/slow", timeout="200ms")
    assert time.monotonic() - started < 40


async def test_a_large_answer_is_cut_off(act, server):
    """More than 1 MiB is an error and is not read to its end."""
    with pytest.raises(WorldError, match="more than 1 MiB"):
        await act("http", url=f"{server}/large")
    assert (await act("http", url=f"{server}/text"))["status"] == 200


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "nonsense", "ftp://x/", "http://[", "http://a b/"])
async def test_what_cannot_be_reached_is_an_error_of_one_sentence(act, url):
    """No connection, no such scheme, no such URL: the world's fault, not a crash."""
    with pytest.raises(WorldError, match="GET"):
        await act("http", url=url, timeout=60)


@pytest.mark.parametrize("headers", [{"a\nb": "c"}, {"a": "b\r\nc: d"}, {"a": "\udcff"}])
async def test_headers_cannot_smuggle(act, server, headers):
    """A header that would break the request's form is refused."""
    with pytest.raises(WorldError):
        await act("http", url=f"{server}/echo", headers=headers)


async def test_a_cancelled_call_leaves_the_client_usable(act, server):
    """Cancelling closes that connection only."""
    with trio.move_on_after(0.1):
        await act("http", url=f"{server}/slow")
    assert (await act("http", url=f"{server}/text"))["status"] == 200
