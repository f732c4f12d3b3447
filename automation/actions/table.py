"""Which actions there are, and how a definition's mapping becomes one of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from automation import seals
from automation.actions.archive import Archive
from automation.actions.checksum import Checksum
from automation.actions.command import Command
from automation.actions.copy import Copy
from automation.actions.delete import Delete
from automation.actions.emit_event import EmitEvent
from automation.actions.extract import Extract
from automation.actions.form import Action
from automation.actions.http import Http
from automation.actions.link import Link
from automation.actions.list import List
from automation.actions.log import Log
from automation.actions.lua import Lua
from automation.actions.mkdir import Mkdir
from automation.actions.ml_inference import MlInference
from automation.actions.move import Move
from automation.actions.predict import Predict
from automation.actions.read import Read
from automation.actions.script import SCRIPTS, Script
from automation.actions.send_notification import SendNotification
from automation.actions.set_mode import SetMode
from automation.actions.set_owner import SetOwner
from automation.actions.set_xattr import SetXattr
from automation.actions.snapshot import Snapshot
from automation.actions.stat import Stat
from automation.actions.trigger_workflow import ExecuteRule, TriggerWorkflow
from automation.actions.undo import Undo
from automation.actions.update_database import UpdateDatabase
from automation.actions.update_state import UpdateState
from automation.actions.write import Write
from automation.scripts.api import POSITIONAL, Effects

ACTIONS: Final[Mapping[str, type[BaseModel]]] = MappingProxyType(
    {
        "copy": Copy,
        "move": Move,
        "delete": Delete,
        "write": Write,
        "read": Read,
        "mkdir": Mkdir,
        "list": List,
        "stat": Stat,
        "set_mode": SetMode,
        "set_owner": SetOwner,
        "set_xattr": SetXattr,
        "link": Link,
        "archive": Archive,
        "extract": Extract,
        "snapshot": Snapshot,
        "undo": Undo,
        "checksum": Checksum,
        "command": Command,
        "http": Http,
        "send_notification": SendNotification,
        "update_database": UpdateDatabase,
        "ml_inference": MlInference,
        "predict": Predict,
        "emit_event": EmitEvent,
        "update_state": UpdateState,
        "log": Log,
        "script": Script,
        "lua": Lua,
        "trigger_workflow": TriggerWorkflow,
        "execute_rule": ExecuteRule,
    }
)
"""Every action by its name in a definition."""

ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {"call_api": "http", "execute_script": "script", "notify": "send_notification"}
)
"""The seed's names for some of them."""

LITERAL: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        **{name: frozenset(("script", "script_content")) for name in SCRIPTS},
        "update_database": frozenset(("sql",)),
    }
)
"""Fields that are never templates: `{{` is the languages' own syntax, and in SQL a template would be an injection."""

EFFECTS: Final[Effects] = MappingProxyType(
    {name: POSITIONAL.get(name, ()) for name in ACTIONS if name not in (*SCRIPTS, "log")}
)
"""The actions that a script can ask for, each with the fields that can be given in order; it logs by itself."""


def check_action(raw: Mapping[str, Any]) -> None:
    """Validate a definition's action before its templates are rendered.

    A text that holds a template is not judged, everything else is. ValidationError names each wrong field.
    """
    name, model = _model(raw)
    try:
        model.model_validate({**raw, "type": name})
    except ValidationError as error:
        wrong = [_again(one) for one in error.errors(include_url=False) if not _templated(one, raw, name)]
        if wrong:
            raise ValidationError.from_exception_data(name, wrong) from None


def misplaced_secrets(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each field of a definition's action that names a secret and takes none, and what is wrong with that."""
    kind = str(raw.get("type"))
    name = ALIASES.get(kind, kind)
    taking: frozenset[str] = getattr(ACTIONS.get(name), "SECRETS", frozenset())
    for field, value in raw.items():
        secret = None if field in taking or field in LITERAL.get(kind, ()) else seals.named(value)
        if secret is not None:
            where = f"; {name} takes them in {', '.join(sorted(taking))}" if taking else ""
            yield field, f"this cannot take the secret '{secret}'{where}"


def build_action(raw: Mapping[str, Any]) -> Action:
    """The action of a mapping without templates; ValidationError when it is wrong."""
    name, model = _model(raw)
    try:
        action: Any = model.model_validate({**raw, "type": name})
    except ValidationError as error:
        wrong = [_again(one) for one in error.errors(include_url=False)]
        raise ValidationError.from_exception_data(name, wrong) from None
    return action  # type: ignore[no-any-return]


def describe(error: ValidationError) -> str:
    """What is wrong with an action, in one sentence."""
    found = []
    for one in error.errors(include_url=False):
        where = ".".join(str(part) for part in one["loc"])
        found.append(f"{where}: {one['msg']}" if where else one["msg"])
    return f"wrong action '{error.title}': {'; '.join(found)}"


def _model(raw: Mapping[str, Any]) -> tuple[str, type[BaseModel]]:
    given = raw.get("type")
    name = ALIASES.get(given, given) if isinstance(given, str) else given
    if not isinstance(name, str) or name not in ACTIONS:
        raise ValidationError.from_exception_data("action", [_unknown(given)])
    return name, ACTIONS[name]


def _unknown(given: object) -> InitErrorDetails:
    near = difflib.get_close_matches(str(given), [*ACTIONS, *ALIASES], 1)
    if given is None:
        reason = "an action needs a 'type', for instance 'copy'"
    elif near:
        reason = f"there is no action '{given}'; did you mean '{near[0]}'?"
    else:
        reason = f"there is no action '{given}'; there are {', '.join(ACTIONS)}"
    return InitErrorDetails(
        type=PydanticCustomError("action_type", "{reason}", {"reason": reason}), loc=("type",), input=given
    )


def _again(one: Any) -> InitErrorDetails:
    """A found error in the form in which it can be raised once more."""
    kind = PydanticCustomError(one["type"], "{message}", {"message": one["msg"]})
    return InitErrorDetails(type=kind, loc=one["loc"], input=one["input"])


def _templated(one: Any, raw: Mapping[str, Any], name: str) -> bool:
    """Whether the error is about a value that its templates have yet to make."""
    if one["type"] in ("extra_forbidden", "missing"):
        return False
    literal = LITERAL.get(name, frozenset())
    if one["loc"] and one["loc"][0] in literal:
        return False
    return _holds_template(one["input"])


def _holds_template(value: Any) -> bool:
    if isinstance(value, str):
        return "{{" in value
    if isinstance(value, Mapping):
        return any(_holds_template(item) for item in value.values())
    return isinstance(value, list) and any(_holds_template(item) for item in value)
