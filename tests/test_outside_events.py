"""Events from outside: CloudEvents in the inbox and over HTTP."""

import json
import os
import socket

import httpx
import pytest
import trio

from automation.bus import Bus
from automation.endpoint import Endpoint, open_socket, read_token
from automation.errors import CallerError
from automation.inbox import Inbox, Sender, check, parse
from tests.automation_rig import rig

EVENT = {"specversion": "1.0", "id": "1", "source": "/ci/build", "type": "build.finished", "data": {"ok": True}}
SENDER = Sender("inbox")
REACTS = """
triggers: {type: external_event, source: "/ci/*", filter: {data.ok: true}}
steps: [{write: {path: log, content: "{{ event.attrs.id }} ", append: true}}]
"""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": None}, "id is missing"),
        ({"source": ""}, "source is missing"),
        ({"specversion": "0.3"}, "specversion must be '1.0'"),
        ({"type": 5}, "type must be text"),
        ({"time": "yesterday"}, "time must be as"),
        ({"Bad-Name": 1}, "lower-case letters and digits"),
        ({"data_base64": "AA=="}, "not both"),
        ({"data": None, "data_base64": "?"}, "not both"),
    ],
)
def test_what_is_no_cloudevent_is_refused_with_the_reason(change, reason):
    """Each rule of the specification that VexFS relies on."""
    with pytest.raises(CallerError, match=reason):
        check(EVENT | change)


def test_a_batch_is_taken_whole_or_not_at_all():
    """The error says which event is wrong."""
    inbox = Inbox(Bus())
    with pytest.raises(CallerError, match="event 1: id is missing"):
        inbox.receive([EVENT, {**EVENT, "id": ""}], SENDER)
    assert inbox.received == 0 and inbox.refused == 1


def test_the_same_event_again_is_a_duplicate():
    """By source and id; another source is another event."""
    inbox = Inbox(Bus())
    receipts = inbox.receive([EVENT, EVENT, {**EVENT, "source": "/other"}], SENDER)
    assert [receipt.duplicate for receipt in receipts] == [False, True, False]
    assert inbox.received == 2


@pytest.mark.parametrize(("text", "value"), [("1", 1), (" 1\n\n2 ", [1, 2]), ("[1]\n", [1]), ('{"a":\n1}', {"a": 1})])
def test_one_event_a_line_or_one_over_several_lines(text, value):
    """JSON values one after another are a list."""
    assert parse(text) == value


async def test_a_workflow_reacts_to_what_comes_in(tmp_path, autojump_clock):
    """By source and filter; the same event starts one run."""
    async with rig(tmp_path, w=REACTS) as one:
        inbox = one.service.inbox
        inbox.receive(EVENT, SENDER)
        inbox.receive(EVENT, SENDER)
        inbox.receive({**EVENT, "id": "2", "data": {"ok": False}}, SENDER)
        inbox.receive({**EVENT, "id": "3", "source": "/cd/deploy"}, SENDER)
        await one.settled()
        assert one.text("log") == "1 "
        assert one.runs[0].trigger == "external_event#0"


async def serving(nursery, address, token=None):
    endpoint = Endpoint(open_socket(address), Inbox(Bus()), token)
    await nursery.start(endpoint.run)
    return endpoint


async def test_events_come_by_http(nursery):
    """Structured, batched and binary, on one connection."""
    endpoint = await serving(nursery, "127.0.0.1:0", "a-token-of-some-length")
    async with httpx.AsyncClient(headers={"Authorization": "Bearer a-token-of-some-length"}) as client:
        kind = {"Content-Type": "application/cloudevents+json"}
        answer = await client.post(endpoint.address, headers=kind, content=json.dumps(EVENT))
        assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "duplicates": 0})
        kind = {"Content-Type": "application/cloudevents-batch+json"}
        answer = await client.post(endpoint.address, headers=kind, content=json.dumps([EVENT, EVENT | {"id": "2"}]))
        assert answer.json() == {"accepted": 1, "duplicates": 1}
        binary = {"ce-specversion": "1.0", "ce-id": "3", "ce-source": "/%C3%A9", "ce-type": "t"}
        answer = await client.post(endpoint.address, headers=binary | {"Content-Type": "text/plain"}, content="hello")
        assert answer.json() == {"accepted": 1, "duplicates": 0}
    last = endpoint._inbox.recent[-1]
    assert (last.source, last.via) == ("/é", "http")


async def test_wrong_requests_are_answered_with_what_is_wrong(nursery):
    """And nothing is taken."""
    endpoint = await serving(nursery, "127.0.0.1:0", "a-token-of-some-length")
    good = {"Authorization": "Bearer a-token-of-some-length", "Content-Type": "application/json"}
    body = json.dumps(EVENT)
    async with httpx.AsyncClient() as client:
        post = client.post
        assert (await post(endpoint.address, content=body)).status_code == 401
        assert (
            await post(endpoint.address, content=body, headers=good | {"Authorization": "Bearer x"})
        ).status_code == 401
        assert (await post(endpoint.address, content="{", headers=good)).status_code == 400
        assert "id is missing" in (await post(endpoint.address, content='{"specversion":"1.0"}', headers=good)).text
        assert (
            await post(endpoint.address, content=body, headers=good | {"Content-Type": "text/plain"})
        ).status_code == 400
        assert (await post(f"{endpoint.address}/x", content=body, headers=good)).status_code == 404
        assert (await client.get(endpoint.address, headers=good)).status_code == 405
        assert (await post(endpoint.address, content=b" " * (1 << 20) + b"  ", headers=good)).status_code == 413
    assert endpoint._inbox.received == 0


async def test_nonsense_on_the_wire_costs_its_connection_only(nursery):
    """And a client that says nothing."""
    endpoint = await serving(nursery, "127.0.0.1:0")
    host, port = endpoint.address[7:].partition("/")[0].split(":")
    silent = await trio.open_tcp_stream(host, int(port))
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(b"\x00\xff nonsense\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 400")
    async with httpx.AsyncClient() as client:
        kind = {"Content-Type": "application/cloudevents+json"}
        assert (await client.post(endpoint.address, headers=kind, content=json.dumps(EVENT))).status_code == 202
    await silent.aclose()


async def test_a_unix_socket_is_its_owners_and_leaves_nothing(tmp_path, nursery):
    """Mode 0600; one that a killed process left is replaced; at the end it is gone."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    async with trio.open_nursery() as inner:
        endpoint = await serving(inner, f"unix:{path}")
        assert os.stat(path).st_mode & 0o777 == 0o600
        with pytest.raises(CallerError, match="somebody does already"):
            open_socket(f"unix:{path}")
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path)) as client:
            kind = {"Content-Type": "application/cloudevents+json"}
            answer = await client.post("http://vexfs/events", headers=kind, content=json.dumps(EVENT))
            assert answer.status_code == 202
        inner.cancel_scope.cancel()
    assert not (tmp_path / "socket").exists() and endpoint.address == f"unix:{path}"


@pytest.mark.parametrize(
    "address", ["0.0.0.0:80", "192.168.1.1:80", "localhost:80", "8080", "127.0.0.1:x", "127.0.0.1:65536", "[::1]:-1"]
)
def test_only_this_machine_is_listened_to(address):
    """Anything else is refused with what would be right."""
    with pytest.raises(CallerError, match=r"loopback|no place to listen|a port is a number"):
        open_socket(address)


def test_the_token_is_made_once_and_must_be_private(tmp_path):
    """0600, the same at the next start; a file that others can read is refused."""
    path = tmp_path / "token"
    token = read_token(str(path), make=True)
    assert len(token) >= 32 and path.stat().st_mode & 0o777 == 0o600
    assert read_token(str(path), make=True) == token
    path.chmod(0o644)
    with pytest.raises(CallerError, match="others can read"):
        read_token(str(path), make=False)
