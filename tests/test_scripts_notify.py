"""workflows/notify.lua, run by a whole service over a plain directory."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.automation_rig import rig

NOTIFY = (Path(__file__).parent.parent / "workflows" / "notify.lua").read_text()


@pytest.fixture
async def mount(tmp_path: Path):
    async with rig(tmp_path, notify_lua=NOTIFY) as one:
        assert one.service.library.entries["notify"].error is None
        yield one


def notices(mount) -> list[str]:
    """The lines of the log, without their times."""
    (log,) = (path for path in mount.files() if path.startswith("notices/"))
    assert re.fullmatch(r"notices/\d{4}-\d\d-\d\d\.log", log)
    lines = mount.text(log).splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", line) for line in lines)
    return [line[21:] for line in lines]


async def test_what_happens_in_shared_is_a_line_in_the_log(mount):
    """A save, a move and a deletion each leave one line that says who did what, and one run that succeeded."""
    mount.publish("file.renamed", "shared/a.txt", "shared/b.txt", attrs={"kind": "file"})
    mount.publish("file.deleted", "shared/b\nforged", attrs={"kind": "file", "nlink": 0})
    mount.save("shared/sub/plan.odt", b"x" * 12_300)
    runs = await mount.settled()
    assert sorted(notices(mount)) == [
        "uid 1000 (test) deleted shared/b?forged",
        "uid 1000 (test) moved shared/a.txt to shared/b.txt",
        "uid 1000 (test) saved shared/sub/plan.odt, 12.3 kB",
    ]
    assert [run.status for run in runs] == ["succeeded"] * 3
    assert all(run.steps[-1].result == {"sent": False} for run in runs)


async def test_what_nobody_wants_to_know_is_not_told(mount):
    """Other directories, hidden and temporary files, and files that were only read leave no line."""
    mount.save("elsewhere/a")
    mount.save("shared/.hidden")
    mount.save("shared/a.txt~")
    mount.save("shared/a.part")
    mount.publish("file.closed", "shared/read", attrs={"written": False, "mode": "r"})
    assert await mount.settled() == []
    assert [name for name in mount.files() if name.startswith("notices")] == []


class Hook(BaseHTTPRequestHandler):
    """Keeps what is posted."""

    def do_POST(self) -> None:
        """Take a notice."""
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hook():
    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        server.posted = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_a_webhook_gets_each_notice(mount, hook):
    """An address in the state, set while mounted, is posted the sentence and the event."""
    mount.service.state.set("notify.webhook", f"http://127.0.0.1:{hook.server_port}/hook")
    mount.publish("file.deleted", "shared/old", attrs={"kind": "file"})
    (run,) = await mount.settled()
    assert run.steps[-1].result == {"sent": True, "status": 204}
    event = {"type": "file.deleted", "path": "shared/old", "uid": 1000, "comm": "test"}
    assert hook.posted == [{"text": "uid 1000 (test) deleted shared/old", "event": event}]
