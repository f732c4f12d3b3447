"""What tests of the automations share: a service over a plain directory, and a program that works in it."""

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from automation.actions import Commands
from automation.bus import Bus
from automation.events import SemanticEvent
from automation.journal.keeping import DEFAULTS as KEEPING
from automation.journal.keeping import Keeping
from automation.permissions import Permissions
from automation.runner import Run
from automation.service import Service
from automation.targets import DEFAULTS, Automation
from automation.workspace import Workspace
from tests.patient_clock import real_sleep

LOOPBACK = Permissions(allow_hosts=("127.0.0.1",))  # where the servers of tests are


class NoCache:
    """A kernel that remembers nothing."""

    def entry(self, parent: str, name: str) -> None:
        """Nothing to forget."""

    def content(self, path: str) -> None:
        """Nothing to forget."""


class Rig:
    """A service over `root` with the definitions in `workflows`; acts as the program whose events they see."""

    def __init__(self, directory: Path, definitions: dict[str, str], **options):
        self.root, self.workflows = directory / "root", directory / "workflows"
        for path in (self.root, self.workflows):
            path.mkdir(exist_ok=True)
        for name, text in definitions.items():
            (self.workflows / name).write_text(text)
        self.bus = Bus()
        self.root_fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        self.service = Service(
            self.bus,
            workspace=Workspace(self.root_fd, self.bus.publish, NoCache()),
            commands=Commands(str(self.root)),
            workflows=str(self.workflows),
            **options,
        )
        self.seen = self.bus.subscribe("test")

    def publish(self, type: str, path: str = "", dest: str | None = None, **fields) -> SemanticEvent:
        """An event as the mount would publish it."""
        event = SemanticEvent(type, path, dest, uid=1000, comm="test", **fields)
        self.bus.publish(event)
        return event

    def save(self, path: str, content: bytes = b"x") -> SemanticEvent:
        """Write a file as a program on the mount does, with the event of its close."""
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(content)
        attrs = {"written": True, "mode": "w", "nlink": 1}
        inode = full.stat().st_ino
        return self.publish("file.closed", path, inode=inode, size=len(content), attrs=attrs)

    async def carried_out(self, name: str, given: str = "") -> Run:
        """Run a workflow by hand and wait for its end."""
        said = await self.service.command(f"run {name} {given}".strip(), 0)
        run_id = said.split()[3]
        await self.service.runner.ended(run_id)
        return self.service.runner.runs[run_id]

    async def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait in real time, whatever the clock of the test says; AssertionError after so many seconds."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it never came to pass"
            await real_sleep(0.005)

    async def settled(self, limit: float = 60.0):
        """Wait until nothing runs or waits any more; the runs, oldest first.

        AssertionError when that takes longer than `limit` (s) by the wall's clock and by the test's.
        """
        ends, wall_ends = trio.current_time() + limit, time.monotonic() + limit
        await trio.sleep(0.001)
        while waiting := {name: count for name, count in self.waiting().items() if count}:
            await trio.sleep(0.005)
            if trio.current_time() > ends:  # a virtual clock may get there in no time
                assert time.monotonic() < wall_ends, f"these still wait: {waiting}"
                time.sleep(0.005)  # noqa: ASYNC251
        return self.runs

    def waiting(self) -> dict[str, int]:
        """How much waits where: runs, deadlines, and the events that somebody has yet to look at."""
        unread = {one.name: len(one) for one in self.bus.subscriptions if one.name != "test"}
        return {**unread, **self.service.dispatcher.queues()}

    @property
    def runs(self):
        return list(self.service.runner.runs.values())

    def events(self, type: str = ""):
        """What was published since the last call."""
        return [event for event in self.seen.receive_nowait(100_000) if event.type.startswith(type)]

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def files(self) -> list[str]:
        """Every file below the root."""
        return sorted(
            str(p.relative_to(self.root))
            for p in self.root.rglob("*")
            if p.is_file() and ".vexfs-tmp-trash" not in p.parts
        )


@asynccontextmanager
async def rig(
    directory: Path,
    _automation: Automation | None = None,
    *,
    _history: int = 1000,
    dry_run: bool = False,
    permissions: Permissions = LOOPBACK,
    wall: Callable[[], float] = time.time,
    keeping: Keeping = KEEPING,
    **definitions: str,
) -> AsyncIterator[Rig]:
    """A running rig; each keyword is a definition called so, in YAML (`_lua` at its end makes it Lua)."""
    files = {f"{k[:-4]}.lua" if k.endswith("_lua") else f"{k}.yaml": v for k, v in definitions.items()}
    options = {"automation": _automation or DEFAULTS, "history": _history, "permissions": permissions, "wall": wall}
    options["keeping"] = keeping
    one = Rig(directory, files, dry_run=dry_run, **options)
    async with serving(one):
        yield one


def virtual_wall() -> Callable[[], float]:
    """A wall clock that goes with trio's, virtual or not; from the first moment of 2030 on."""
    begin = None

    def wall() -> float:
        nonlocal begin
        now = trio.current_time()
        begin = now if begin is None else begin
        return 1_893_456_000.0 + now - begin

    return wall


@asynccontextmanager
async def serving(one: Rig) -> AsyncIterator[None]:
    """The service of a rig runs in the block."""
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(one.service.run)
            yield
            await one.service.shutdown(0.5)
    finally:
        os.close(one.root_fd)
