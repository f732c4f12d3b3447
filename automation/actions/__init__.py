"""What a workflow can do: one file per action, listed in `table`.

A definition's mapping is checked by `check_action` when it is loaded; when a step runs, its templates are rendered,
`build_action` makes the action, and an `Executor` performs it within an `ActionContext`.
"""

from automation.actions.commands import Commands
from automation.actions.context import ActionContext, Equipment
from automation.actions.executor import Executor, Performer, Recorder
from automation.actions.form import Action
from automation.actions.hosts import Hosts
from automation.actions.table import ACTIONS, ALIASES, EFFECTS, LITERAL, build_action, check_action, describe
from automation.actions.web import Web

__all__ = [
    "ACTIONS",
    "ALIASES",
    "EFFECTS",
    "LITERAL",
    "Action",
    "ActionContext",
    "Commands",
    "Equipment",
    "Executor",
    "Hosts",
    "Performer",
    "Recorder",
    "Web",
    "build_action",
    "check_action",
    "describe",
]
