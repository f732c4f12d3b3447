"""A tree that is not mounted, with everything that an action needs: real files, a real bus, a fake kernel cache."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from automation.actions import (
    EFFECTS,
    ActionContext,
    Commands,
    Equipment,
    Hosts,
    Performer,
    Web,
    build_action,
    check_action,
)
from automation.bus import Bus
from automation.events import Cause, SemanticEvent
from automation.identity import EVERYWHERE, Identity, Territory
from automation.scripts.pool import ScriptPool
from automation.scripts.quota import WorkerQuota
from automation.state import State
from automation.workspace import Trash, Workspace

CAUSE = Cause("run-1", "sorter", 2)


class RecordingCache:
    """Remembers what the kernel was told to forget."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.contents: list[str] = []

    def entry(self, parent: str, name: str) -> None:
        """Note an entry."""
        self.entries.append((parent, name))

    def content(self, path: str) -> None:
        """Note a content."""
        self.contents.append(path)


class Tree:
    """A workspace on the directory `top`, and what it published."""

    def __init__(
        self, top: Path, root_fd: int, identity: Identity | None = None, territory: Territory = EVERYWHERE
    ) -> None:
        self.top = top
        self.bus = Bus()
        self.cache = RecordingCache()
        trash = Trash(root_fd, tenant="" if identity is None else f"u{identity.uid}", identity=identity)
        self.workspace = Workspace(root_fd, self.bus.publish, self.cache, trash, identity=identity, territory=territory)
        self._subscription = self.bus.subscribe("test")

    def events(self) -> list[SemanticEvent]:
        """What was published since the last call."""
        return self._subscription.receive_nowait(100_000)

    def told(self) -> list[str]:
        """The same, as `type path` or `type path>dest`."""
        return [f"{e.type} {e.path}" + (f">{e.dest}" if e.dest is not None else "") for e in self.events()]

    def names(self) -> list[str]:
        """Every path in the tree, hidden ones too, but for the trash."""
        paths = (path.relative_to(self.top) for path in self.top.rglob("*"))
        return sorted(str(path) for path in paths if path.parts[0] != ".vexfs-tmp-trash")


@contextmanager
def tree_in(directory: Path, identity: Identity | None = None, territory: Territory = EVERYWHERE) -> Iterator[Tree]:
    """The tree in `directory`/top, a fresh one for root; beside it is what must not be reached."""
    top = directory / "top"
    top.mkdir(exist_ok=identity is not None)
    fd = os.open(top, os.O_PATH | os.O_DIRECTORY)
    try:
        yield Tree(top, fd, identity, territory)
    finally:
        os.close(fd)


class Acting:
    """Performs actions on a tree as a runner would."""

    def __init__(self, tree: Tree, context: ActionContext) -> None:
        self.tree = tree
        self.context = context

    async def __call__(self, type: str, **fields: Any) -> Any:
        """Check, build and perform one action."""
        raw = {"type": type, **fields}
        check_action(raw)
        return await self.context.effect(build_action(raw))


@asynccontextmanager
async def acting_in(
    directory: Path,
    variables: dict[str, Any] | None = None,
    *,
    allow: tuple[str, ...] = ("127.0.0.1",),
    key: str = "",
    identity: Identity | None = None,
    territory: Territory = EVERYWHERE,
    quota: WorkerQuota | None = None,
    calls: int | None = None,
    **equipment: Any,
) -> AsyncIterator[Acting]:
    """A tree and a context of its own; everything is closed at the end."""
    with tree_in(directory, identity, territory) as tree:
        commands = Commands(str(tree.top), identity=identity, territory=territory, quota=quota)
        async with (
            ScriptPool(EFFECTS, identity=identity, quota=quota) as scripts,
            Web(Hosts(allow), calls_per_minute=calls, identity=identity) as web,
        ):
            context = ActionContext(
                equipment=Equipment(
                    tree.workspace, State(tree.bus), tree.bus.publish, scripts, web, commands, **equipment
                ),
                cause=CAUSE,
                executor=Performer(),
                key=key,
                variables={
                    "event": {"path": "in/a.txt", "name": "a.txt"},
                    "vars": {},
                    "steps": {},
                    "input": {},
                    **(variables or {}),
                },
            )
            try:
                yield Acting(tree, context)
            finally:
                await commands.aclose()
