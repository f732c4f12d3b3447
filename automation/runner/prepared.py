"""The action of a step, ready to be done: rendered and validated. Of a template in which nothing needs rendering this
is made once for all runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from automation.actions import build_action
from automation.actions.form import Action
from automation.actions.script import SCRIPTS
from automation.templates import Template


@dataclass(frozen=True, slots=True)
class Prepared:
    """`given` are its parameters. `variables` is what a script sees, empty where nobody looks."""

    action: Action
    given: Any
    variables: Mapping[str, Any]


def prepare(template: Template, see: Callable[[], Mapping[str, Any]]) -> Prepared:
    """Render an action; ValidationError when it is wrong. What is seen is only worked out where it is looked at."""
    known: Prepared | None = template.prepared
    if known is not None:
        return known
    variables = {} if template.constant else see()
    parameters = template.render(variables)
    action = build_action(parameters)
    given = {name: value for name, value in parameters.items() if name != "type"}
    if not template.constant:
        return Prepared(action, given, variables)
    if action.type in SCRIPTS:
        return Prepared(action, given, see())
    found = template.prepared = Prepared(action, given, variables)
    return found
