"""What an action may reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from automation.actions.commands import Commands
from automation.events import Cause, SemanticEvent
from automation.scripts.pool import ScriptPool
from automation.state import State
from automation.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ActionContext:
    """Everything that one step's action works with.

    `cause` marks each event that it brings about. `variables` is what templates see, plain JSON values throughout:
    `event`, `steps`, `state`, `vars`, `input`, `run`. `http` is a client made by `automation.actions.http.new_client`.
    """

    workspace: Workspace
    state: State
    publish: Callable[[SemanticEvent], None]
    cause: Cause
    scripts: ScriptPool
    http: httpx.AsyncClient
    variables: Mapping[str, Any]
    commands: Commands
