"""Events from outside on a real mount: the inbox file, the endpoint, and what remains after a restart."""

import json
import subprocess

import httpx
import pytest

from tests.mounting import mounted, scratch
from tests.patience import eventually

pytestmark = pytest.mark.mount

WORKFLOW = """
triggers: {type: external_event, event_type: build.*}
steps: [{write: {path: log, content: "{{ event.attrs.id }} {{ event.attrs.via }}\\n", append: true}}]
"""
EVENT = {"specversion": "1.0", "id": "1", "source": "/ci", "type": "build.finished"}


def until(path, text):
    eventually(lambda: path.exists() and path.read_text() == text, text)


def test_the_inbox_and_the_endpoint(tmp_path):
    """A file written by cat, lines by a program that stays, a POST with the token that VexFS made; all start runs."""
    with scratch() as place:
        source, flows, state = (place / name for name in ("source", "workflows", "state"))
        for path in (source, flows):
            path.mkdir()
        (flows / "w.yaml").write_text(WORKFLOW)
        options = ("--workflows", str(flows), "--state-dir", str(state), "--listen", "127.0.0.1:0")
        with mounted(source, arguments=options) as mount:
            control = mount.mountpoint / ".vexfs"
            subprocess.run(
                ["sh", "-c", 'cat > "$1"', "sh", control / "inbox"],
                input=json.dumps(EVENT, indent=1).encode(),
                check=True,
            )
            until(source / "log", "1 inbox\n")
            with open(control / "inbox", "w", buffering=1) as lines:
                lines.write(json.dumps(EVENT | {"id": "2"}) + "\n")
                until(source / "log", "1 inbox\n2 inbox\n")
            with pytest.raises(OSError), open(control / "inbox", "w") as wrong:
                wrong.write("{}")
            assert "specversion is missing" in (control / "error").read_text()
            assert [json.loads(line)["id"] for line in (control / "inbox").read_text().splitlines()] == ["1", "2"]
            row = next(line for line in (control / "status").read_text().splitlines() if line.startswith("endpoint"))
            address = row.split()[1].rstrip(",")
            headers = {"Authorization": f"Bearer {(state / 'token').read_text().strip()}"}
            headers |= {"Content-Type": "application/cloudevents+json"}
            answer = httpx.post(address, headers=headers, content=json.dumps(EVENT | {"id": "3"}))
            assert answer.status_code == 202, answer.text
            until(source / "log", "1 inbox\n2 inbox\n3 http\n")
