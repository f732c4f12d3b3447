"""A mount of its own, in a temporary directory, with the definitions of the demonstration."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent.parent
DEFINITIONS: Final = Path(__file__).resolve().parent / "definitions"
CONFIGURATION: Final = """
[automation]
max_automation_latency_ms = 100

[actions]
allow-hosts = ["127.0.0.1"]
breaker-failures = 2
breaker-cooldown = "1s"
"""
TENANTS: Final = ("daemon", "bin")
"""Users that every system has."""
PATIENCE: Final = 20.0


class Stage:
    """`mount` is where it is played, `source` the directory below, `control` is `/.vexfs`."""

    def __init__(self, root: Path) -> None:
        self.root: Final = root
        self.source: Final = root / "source"
        self.mount: Final = root / "mount"
        self.workflows: Final = root / "workflows"
        self.control: Final = self.mount / ".vexfs"
        for path in (self.source, self.mount, self.workflows):
            path.mkdir()
        root.chmod(0o755)
        tenants = (f'[tenants.{user}]\nuids = ["{user}"]\npaths = ["{user}"]\n' for user in TENANTS)
        (root / "vexfs.toml").write_text("\n".join([CONFIGURATION, *tenants]))

    def write(self, path: str, text: str = "x\n") -> Path:
        """A file in the mount, made as any program would."""
        full = self.mount / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text)
        return full

    def as_user(self, user: str, script: str, given: str = "") -> str:
        """What a shell of that user prints, in the mount; it must succeed."""
        words = ["sh", "-c", script]
        about = pwd.getpwnam(user)
        done = subprocess.run(
            words,
            cwd=self.mount,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            user=about.pw_uid,
            group=about.pw_gid,
            extra_groups=(),
        )
        assert done.returncode == 0, f"{script}: {done.stderr}"
        return done.stdout

    def install(self, name: str, **values: str) -> None:
        """Copy a definition into the running mount; `<NAME>` in it is replaced."""
        (self.control / "workflows" / name).write_text(definition(name, **values))

    def command(self, line: str) -> None:
        """A line to `/.vexfs/ctl`."""
        (self.control / "ctl").write_text(f"{line}\n")

    def runs(self, workflow: str) -> list[dict[str, Any]]:
        """The traces of a workflow's runs, newest first."""
        traces = []
        for name in os.listdir(self.control / "runs"):
            with contextlib.suppress(FileNotFoundError):
                traces.append(json.loads((self.control / "runs" / name / "trace").read_text()))
        return [trace for trace in traces if trace["workflow"] == workflow]

    def ended(self, workflow: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until so many runs of a workflow have ended; their traces, newest first."""

        def found() -> list[dict[str, Any]]:
            done = [run for run in self.runs(workflow) if run.get("ended_ns")]
            return done if len(done) >= count else []

        done: list[dict[str, Any]] = until(found, f"{count} runs of {workflow} to end")
        return done

    def metric(self, start: str) -> float:
        """The number of the first line of `metrics` that begins so."""
        lines = (self.control / "metrics").read_text().splitlines()
        return float(next(line for line in lines if line.startswith(start)).rpartition(" ")[2])


def definition(name: str, **values: str) -> str:
    """The text of a definition; `<NAME>` in it is replaced."""
    text = (DEFINITIONS / name).read_text()
    for key, value in values.items():
        text = text.replace(f"<{key}>", value)
    return text


def until(question: Callable[[], Any], what: str) -> Any:
    """What `question` answers once that is true; AssertionError when it takes longer than 20 s."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = question()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """A stage, mounted; afterwards nothing is left of it."""
    root = Path(tempfile.mkdtemp(prefix="vexfs-demo-"))
    one = Stage(root)
    base = [sys.executable, str(REPOSITORY / "mount.py")]
    try:
        options = ["--background", "--workflows", str(one.workflows), "--config", str(root / "vexfs.toml")]
        options += ["--state-dir", str(root / "state"), "--log-file", str(root / "log"), "-o", "allow_other"]
        subprocess.run([*base, "mount", *options, str(one.source), str(one.mount)], check=True)
        try:
            yield one
        finally:
            subprocess.run([*base, "unmount", str(one.mount)], check=True, capture_output=True)
    finally:
        shutil.rmtree(root)


class Service:
    """A web service on loopback that answers 503 until it is `well`; counts its `calls`."""

    def __init__(self) -> None:
        self.well = False
        self.calls = 0
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                service.calls += 1
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200 if service.well else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self._server: Final = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread: Final = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> Service:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
