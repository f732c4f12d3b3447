"""What an action has to go by in a dry run, and what it answers: nothing here can change anything."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from automation.actions.shadow import Shadow, Unforeseen
from automation.errors import WorldError
from automation.scripts.pool import ScriptPool
from automation.workspace import FileStat

if TYPE_CHECKING:
    from automation.actions.context import ActionContext
    from automation.actions.executor import Executor
    from automation.actions.form import Action
    from automation.events import Cause


class Reader(Protocol):
    """The reading half of a workspace."""

    async def stat(self, path: str, *, follow: bool = True) -> FileStat:
        """What is known of a name."""
        ...

    async def exists(self, path: str) -> bool:
        """Whether there is one."""
        ...

    async def listdir(self, path: str = "") -> list[FileStat]:
        """The entries of a directory."""
        ...

    async def read(self, path: str, limit: int = 0) -> bytes:
        """The content."""
        ...

    async def checksum(self, path: str, algorithm: str = "sha256") -> str:
        """The digest of the content."""
        ...


class Reading(Protocol):
    """What an action that only reads needs; it is done for real in a dry run too."""

    @property
    def workspace(self) -> Reader:
        """The tree."""
        ...


class Scripting(Protocol):
    """What an action needs that runs a script: the script computes, its effects come back through the executor."""

    @property
    def scripts(self) -> ScriptPool:
        """Workers without files or network."""
        ...

    @property
    def variables(self) -> Mapping[str, Any]:
        """What the script is given."""
        ...

    @property
    def cause(self) -> Cause:
        """On whose behalf."""
        ...

    @property
    def references(self) -> Mapping[str, str]:
        """What stands for each secret."""
        ...

    async def effect(self, action: Action, part: str = "") -> Any:
        """What another action results in; `part` tells its key from that of others."""
        ...


class Foresight:
    """The view in a dry run: the tree as it would be by now, the state, and scripts, whose effects are foreseen too."""

    def __init__(self, tree: Shadow, context: ActionContext, executor: Executor) -> None:
        self.workspace: Final = tree
        self.scripts: Final = context.scripts
        self.variables: Final = context.variables
        self.cause: Final = context.cause
        self.key: Final = context.key
        self.references: Final[Mapping[str, str]] = context.references
        self._context: Final = context
        self._executor: Final = executor

    def state(self, path: str) -> Any:
        """A copy of a value in the shared state."""
        return self._context.state.get(path)

    async def effect(self, action: Action, part: str = "") -> Any:
        """What another action would result in."""
        return await self._executor.perform(action, self._context)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """`result` as far as it is known; `now` tells what there is that the action would meet. `read`: it was done."""

    result: Any
    now: Mapping[str, Any] = field(default_factory=dict)
    read: bool = False


async def looked(result: Awaitable[Any], *names: str) -> Foreseen:
    """What a reading action found; `null` for each of `names` where only acting would show it."""
    try:
        return Foreseen(await result, read=True)
    except Unforeseen:
        return Foreseen(dict.fromkeys(names))


async def transferred(view: Foresight, source: str, target: str, *, overwrite: bool) -> tuple[str, dict[str, Any]]:
    """Where a copied or moved thing would be, and what is at both places; WorldError where it could not be done."""
    name = source.rstrip("/").rpartition("/")[2]
    path = f"{target}{name}" if target.endswith("/") else target
    await view.workspace.stat(source, follow=False)
    now = await seen(view, source=source, target=path)
    if now["target"] is not None and not overwrite:
        raise WorldError(f"cannot put '{source}' at '{path}': file exists")
    return path.strip("/"), now


async def seen(view: Foresight, **paths: str) -> dict[str, Any]:
    """What stands at each path now, `null` for nothing: type, size and mode."""
    out: dict[str, Any] = {}
    for name, path in paths.items():
        stat = await view.workspace.stat(path, follow=False) if await view.workspace.exists(path) else None
        out[name] = None if stat is None else {"type": stat.type, "size": stat.size, "mode": f"{stat.mode:04o}"}
    return out
