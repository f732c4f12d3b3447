"""An automation service over a plain directory, without a mount: for benchmarks and for the crash test."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import trio

from automation.actions import Commands
from automation.bus import Bus
from automation.events import SemanticEvent
from automation.journal.keeping import Keeping
from automation.service import Service
from automation.state_directory import StateDirectory
from automation.workspace import Workspace
from vexfs_fuse.session import GARBAGE, TURN


class NoCache:
    """A kernel that remembers nothing."""

    def entry(self, parent: str, name: str) -> None:
        """Nothing to forget."""

    def content(self, path: str) -> None:
        """Nothing to forget."""


def prepare(directory: str, definitions: Mapping[str, str]) -> None:
    """Make the directories in it and write the definitions, by name, in YAML."""
    for name in ("root", "workflows"):
        os.makedirs(os.path.join(directory, name), exist_ok=True)
    for name, text in definitions.items():
        with open(os.path.join(directory, "workflows", f"{name}.yaml"), "w", encoding="utf-8") as file:
            file.write(text)


@asynccontextmanager
async def serving(directory: str) -> AsyncIterator[Service]:
    """A service over `directory/root` that keeps its state in `directory/state`; ends without grace."""
    gc.set_threshold(GARBAGE)  # as the mount does
    sys.setswitchinterval(TURN)
    kept = StateDirectory(os.path.join(directory, "state"))
    root_fd = os.open(os.path.join(directory, "root"), os.O_RDONLY | os.O_DIRECTORY)
    bus = Bus()
    service = Service(
        bus,
        workspace=Workspace(root_fd, bus.publish, NoCache()),
        commands=Commands(directory),
        workflows=os.path.join(directory, "workflows"),
        kept=kept,
        keeping=Keeping(retention_runs=1_000_000),
    )
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
            gc.freeze()  # as the mount does once it answers
            yield service
            await service.shutdown(0)
    finally:
        os.close(root_fd)
        kept.close()


def closed(path: str, number: int) -> SemanticEvent:
    """A program has written and closed a file."""
    return SemanticEvent("file.closed", path, inode=number, size=1, attrs={"written": True, "nlink": 1})
