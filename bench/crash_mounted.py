"""The crash test on a real mount: what a user has. `python -m bench.crash --mounted --kills 50`.

`mount.py` serves the directory; a process renames files into the mount, whose events are accepted before rename(2)
returns. A random moment later, sometimes already while it starts, the mount gets SIGKILL, and the next one takes over
its dead mountpoint. The last one may settle and is unmounted.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from typing import Final

REPOSITORY: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
START_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 180.0


class Mounted:
    """The mount of `directory/root` on `directory/mnt`, alive or killed."""

    def __init__(self, directory: str, names: list[str], events_a_second: int) -> None:
        self._directory: Final = directory
        self._point: Final = os.path.join(directory, "mnt")
        self._names: Final = names
        self._pause: Final = 1 / events_a_second
        self._start = 1.0  # seconds that the last start took
        for path in ("mnt", "root/coming", *(f"root/in/{name}" for name in names)):
            os.makedirs(os.path.join(directory, path), exist_ok=True)
        with open(os.path.join(directory, "vexfs.toml"), "w", encoding="ascii") as file:
            file.write("[journal]\nretention-runs = 1_000_000\n")

    def serve_and_kill(self, first: int, dice: random.Random, longest: float) -> None:
        """Mount, rename files into it from number `first` on, and kill the mount at a random moment."""
        began = time.monotonic()
        server = self._serve()
        kind = dice.random()
        if kind < 0.15:
            time.sleep(dice.uniform(0, self._start))
        else:
            self._await_up(server)
            self._start = time.monotonic() - began
        feeder = os.fork()
        if not feeder:
            self._feed(first)
        if kind >= 0.15:
            time.sleep(dice.uniform(0, longest) if kind < 0.85 else dice.uniform(0, 0.02))
        server.kill()
        server.wait()
        if os.waitpid(feeder, 0)[1]:
            raise SystemExit("the feeding process failed")

    def settle(self) -> str:
        """Mount once more, wait until nothing is left to do, unmount; what went wrong, or nothing."""
        server = self._serve()
        try:
            self._await_up(server)
            deadline, quiet = time.monotonic() + SETTLE_SECONDS, 0
            while quiet < 5 and time.monotonic() < deadline:
                time.sleep(0.05)
                quiet = 0 if self._waiting() else quiet + 1
            subprocess.run(["fusermount3", "-u", self._point], check=True)
            code = server.wait(60)
            return f"the last mount ended with {code}" if code else ""
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()
                subprocess.run(["fusermount3", "-u", "-z", self._point], check=False)

    def _serve(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, f"{REPOSITORY}/mount.py", "--foreground", f"{self._directory}/root", self._point]
        command += ["--workflows", f"{self._directory}/workflows", "--state-dir", f"{self._directory}/state"]
        command += ["--config", f"{self._directory}/vexfs.toml", "--log-level", "error"]
        with open(f"{self._directory}/mount.log", "ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)

    def _await_up(self, server: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._lives():
            if server.poll() is not None:
                raise SystemExit(f"the mount ended by itself with {server.returncode}")
            if time.monotonic() > deadline:
                server.kill()
                raise SystemExit("the mount did not start")
            time.sleep(0.005)

    def _feed(self, number: int) -> None:
        """In a process of its own: rename files into the mount until it is gone, and note which, as `fed` has them."""
        fed = os.open(os.path.join(self._directory, "fed"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        code = 0
        try:
            while self._lives():
                path = f"{self._point}/coming/{number}"
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
                os.write(fed, f"+{number}\n".encode())
                os.rename(path, f"{self._point}/in/{self._names[number % len(self._names)]}/{number}")
                os.write(fed, f"={number}\n".encode())
                number += 1
                time.sleep(self._pause)
        except OSError:
            code = int(self._lives())  # an error is one only while the mount lives
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 1
        finally:
            os._exit(code)

    def _lives(self) -> bool:
        return os.path.exists(f"{self._point}/.vexfs/README")

    def _waiting(self) -> bool:
        """Whether events, firings or runs are left."""
        with open(f"{self._point}/.vexfs/metrics", encoding="utf-8") as file:
            queues = [line for line in file if line.startswith("vexfs_queue_length{")]
        return not queues or any(float(line.rpartition(" ")[2]) for line in queues)
