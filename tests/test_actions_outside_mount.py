"""What acts beyond the tree, reached as a user reaches it: a configuration file, a definition, a file that is saved."""

import json
import os
import sqlite3
import tarfile

import pytest

from tests.mounting import mounted, scratch
from tests.test_actions_inference import linear
from tests.test_actions_secrets_mount import ended
from tests.test_actions_web import serving

pytestmark = pytest.mark.mount

INSERT = "INSERT INTO arrivals (path, score) VALUES (:path, :score)"


def test_one_workflow_uses_all_of_them():
    """A model judges a saved file, a database remembers it, a chat hears of it, it is packed, unpacked and kept."""
    with scratch() as directory, serving() as server:
        source, workflows, state = (directory / name for name in ("source", "workflows", "state"))
        for path in (source, workflows, state, state / "models", state / "databases"):
            path.mkdir()
        linear(state / "models/double.onnx")
        with sqlite3.connect(state / "databases/catalogue.db") as connection:
            connection.execute("CREATE TABLE arrivals (path TEXT, score REAL)")
        connection.close()
        (directory / "vexfs.toml").write_text('[actions]\nallow-hosts = ["127.0.0.1"]\n')
        actions = [
            {"type": "ml_inference", "model": "double", "input": {"x": [["{{ event.size }}", 0, 0]]}},
            {
                "type": "update_database",
                "sqlite": "catalogue.db",
                "sql": INSERT,
                "parameters": {"path": "{{ event.path }}", "score": "{{ steps.step1.output.y[0][0] }}"},
            },
            {"type": "send_notification", "title": "Arrived", "message": "{{ event.path }}", "slack": server.url},
            {"type": "archive", "source": "{{ event.path }}", "target": "packed/it.tar.gz"},
            {"type": "extract", "source": "packed/it.tar.gz", "target": "unpacked"},
            {"type": "link", "target": "{{ event.path }}", "path": "latest", "overwrite": True},
            {"type": "snapshot", "path": "in", "keep": 2},
        ]
        definition = {
            "name": "all",
            "triggers": {"types": "file.closed", "path": "in/**"},
            "steps": [{"action": one} for one in actions],
        }
        (workflows / "all.json").write_text(json.dumps(definition))
        words = ("--workflows", str(workflows), "--state-dir", str(state), "--config", str(directory / "vexfs.toml"))
        with mounted(source, arguments=words) as mount:
            point = mount.mountpoint
            (point / "in").mkdir()
            (point / "in/a'); DROP TABLE arrivals; --").write_text("12345")
            (trace,) = ended(mount, 1)
            assert trace["status"] == "succeeded", trace
            assert server.seen[0]["json"]["text"].startswith("*Arrived*\nin/a")
            with tarfile.open(point / "packed/it.tar.gz") as archive:
                assert archive.getnames() == ["a'); DROP TABLE arrivals; --"]
            assert (point / "unpacked" / "a'); DROP TABLE arrivals; --").read_text() == "12345"
            assert (point / "latest").read_text() == "12345"
            (kept,) = os.listdir(point / ".snapshots/in")
            assert (point / ".snapshots/in" / kept / "a'); DROP TABLE arrivals; --").read_text() == "12345"
            assert "127.0.0.1" in (point / ".vexfs/breakers").read_text()
        with sqlite3.connect(state / "databases/catalogue.db") as connection:
            rows = connection.execute("SELECT path, score FROM arrivals").fetchall()
        connection.close()
        assert rows == [("in/a'); DROP TABLE arrivals; --", 11.0)]
