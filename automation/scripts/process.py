"""One worker process, seen from the nursery: of a script language, or of a model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Final

import trio

from automation.errors import TimedOut, WorldError
from automation.identity import Identity
from automation.scripts import frames
from automation.scripts.confinement import USER
from automation.scripts.frames import Message

_START: Final = 30.0  # seconds until a worker must be ready; 0.1 is usual
_ROOT: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Worker:
    """A process that answers one message after the other. Whoever holds it either hands it back whole or kills it.
    `what` it works for (script, model) is named in messages.
    """

    def __init__(self, what: str, process: trio.Process) -> None:
        self._what: Final = what
        self._process: Final = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin: Final = process.stdin
        self._stdout: Final = process.stdout

    @classmethod
    async def start(cls, what: str, module: str, *arguments: str, identity: Identity | None = None) -> Worker:
        """A new process that runs a module of ours, in the end as nobody or as `identity`; `ready` tells when it is."""
        environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": _ROOT, "PYTHONDONTWRITEBYTECODE": "1"}
        environment["TZ"] = os.environ.get("TZ") or ":/etc/localtime"  # named, it is read once and not looked up again
        if identity is not None:
            environment[USER] = f"{identity.uid}:{identity.gid}"
        command = [sys.executable, "-s", "-m", module, *arguments]
        with trio.CancelScope(shield=True):  # never lose a child between its start and our knowing it
            try:
                process = await trio.lowlevel.open_process(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise WorldError(f"cannot start a worker for a {what}: {error}") from error
        if identity is not None:
            identity.yield_to_others(process.pid)
        return cls(what, process)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    async def ready(self) -> None:
        """Wait until it takes a call. WorldError when it ended instead, however long ago."""
        with trio.move_on_after(_START) as scope:
            if (await self.receive()).get("op") != "ready":
                raise WorldError(f"the {self._what}'s worker is out of step")
        if scope.cancelled_caught:
            raise TimedOut(f"the worker of a {self._what} was not ready after {_START:g} s")
        if self._process.poll() is not None:
            raise await self._obituary()

    async def exchange(self, data: bytes) -> Message:
        """Send an encoded message, and wait for the answer."""
        with suppress(trio.BrokenResourceError):  # it ended; reading says how
            await self._stdin.send_all(data)
        return await self.receive()

    async def receive(self) -> Message:
        """The next message. WorldError when the process ended instead, TimedOut if its CPU time was used up."""
        try:
            header = await self._exactly(frames.HEADER.size)
            return frames.decode(await self._exactly(frames.length(header)))
        except (ValueError, RecursionError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise WorldError(f"the {self._what}'s worker broke off: {error or 'it was stopped'}") from None

    async def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            chunk = await self._stdout.receive_some(min(count - len(data), 1 << 20))
            if not chunk:
                raise await self._obituary()
            data += chunk
        return bytes(data)

    async def _obituary(self) -> WorldError:
        with trio.move_on_after(_START):
            await self._process.wait()
        code = self._process.returncode
        if code == -signal.SIGXCPU:
            return TimedOut(f"the {self._what} used up its CPU time and was stopped")
        how = "exit code 0" if not code else f"signal {-code}" if code < 0 else f"exit code {code}"
        return WorldError(f"the {self._what}'s worker ended ({how}); perhaps it ran out of memory")

    async def kill(self) -> None:
        """End it at once and leave nothing behind."""
        with trio.CancelScope(shield=True):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # it leads its session; Python's interpreter is its child
            await self._process.wait()
            await self._stdin.aclose()
            await self._stdout.aclose()
