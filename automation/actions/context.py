"""What an action may reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from automation.actions.commands import Commands
from automation.actions.databases import Databases
from automation.actions.inference import Models
from automation.actions.web import Web
from automation.breakers import Breakers
from automation.events import Cause, SemanticEvent
from automation.scripts.pool import ScriptPool
from automation.secrets import Secrets
from automation.state import State
from automation.workspace import Workspace

if TYPE_CHECKING:
    from automation.actions.executor import Executor
    from automation.actions.form import Action


_THREADS: Final = 16


class Workflows(Protocol):
    """How an action starts runs; `automation.runner.subworkflow` does it."""

    async def start(self, name: str, given: Mapping[str, Any], *, waits: bool) -> dict[str, Any]:
        """Run a workflow: `{run}`, and when it waits for the end `status` and `output`."""
        ...

    async def rule(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out the actions of a rule and wait for their end."""
        ...


class Learned(Protocol):
    """The models that learn here; `automation.models.desk` keeps them."""

    async def predict(
        self, name: str, features: Mapping[str, Any] | None, variables: Mapping[str, Any], cause: Cause
    ) -> dict[str, Any]:
        """`{label, probability, confidence, version}`."""
        ...


def no_progress(done: int, total: int) -> None:
    """Nobody asks how far it is."""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What the actions of one mount work with, made once."""

    workspace: Workspace
    state: State
    publish: Callable[[SemanticEvent], None]
    scripts: ScriptPool
    web: Web
    commands: Commands
    secrets: Secrets = field(default_factory=Secrets)
    breakers: Breakers = field(default_factory=Breakers)
    databases: Databases = field(default_factory=Databases)
    models: Models = field(default_factory=Models)
    learned: Learned | None = None
    threads: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_THREADS))


@dataclass(frozen=True, slots=True)
class ActionContext:
    """Everything that one step's action works with.

    `cause` marks each event that it brings about. `variables` is what templates see, plain JSON values throughout:
    `event`, `steps`, `state`, `vars`, `input`, `run`. `key` is the same whenever this execution of the step is tried
    again. `executor` is the one door through which actions are done, those of scripts too; `progress(done, total)` is
    told, in any unit, how far long work is. To `undo` each effect on the tree adds plain JSON, from which the action
    `undo` takes all of it back, what a failed action had done before included.
    """

    equipment: Equipment
    cause: Cause
    variables: Mapping[str, Any]
    executor: Executor
    key: str = ""
    progress: Callable[[int, int], None] = no_progress
    undo: list[dict[str, Any]] = field(default_factory=list)
    workflows: Workflows | None = None

    async def effect(self, action: Action, part: str = "") -> Any:
        """What another action results in, through the same door; `part` tells its key from that of others."""
        context = replace(self, key=f"{self.key}#{part}") if part and self.key else self
        return await self.executor.perform(action, context)

    @property
    def workspace(self) -> Workspace:
        """The tree."""
        return self.equipment.workspace

    @property
    def state(self) -> State:
        """The shared state."""
        return self.equipment.state

    @property
    def publish(self) -> Callable[[SemanticEvent], None]:
        """The bus."""
        return self.equipment.publish

    @property
    def scripts(self) -> ScriptPool:
        """Workers that compute and ask for effects."""
        return self.equipment.scripts

    @property
    def web(self) -> Web:
        """For calls to web services."""
        return self.equipment.web

    @property
    def commands(self) -> Commands:
        """Child processes."""
        return self.equipment.commands

    @property
    def secrets(self) -> Secrets:
        """What references to secrets stand for, and where their values must not appear."""
        return self.equipment.secrets

    @property
    def references(self) -> Mapping[str, str]:
        """What stands for each secret in the hands of a script."""
        return self.equipment.secrets.references()

    @property
    def breakers(self) -> Breakers:
        """Which destinations are not to be bothered now."""
        return self.equipment.breakers

    @property
    def databases(self) -> Databases:
        """Where SQLite files may be."""
        return self.equipment.databases

    @property
    def models(self) -> Models:
        """Trained models."""
        return self.equipment.models

    @property
    def learned(self) -> Learned | None:
        """Models that learn here."""
        return self.equipment.learned

    @property
    def threads(self) -> trio.CapacityLimiter:
        """Threads for what may be slow, so that it never takes those of the filesystem."""
        return self.equipment.threads
