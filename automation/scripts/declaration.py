"""A Lua or JavaScript file that declares a workflow → the mapping that a YAML file would hold."""

from __future__ import annotations

import os
import re
from typing import Any, Final

from automation.errors import DefinitionError, WorldError
from automation.scripts.languages import of_file
from automation.scripts.pool import ScriptPool

_ENTRY: Final = "\0entry"
_PLACE: Final = re.compile(r"\A(?P<name>.*?):(?P<line>\d+): (?P<reason>.*)\Z", re.DOTALL)
_READING: Final = 2.0  # seconds of computing to read a file
_GROUPS: Final = frozenset({"sequence", "parallel", "decision", "loop", "on_error"})
_HOLDERS: Final = frozenset({"steps", "then", "else", "otherwise", "default", "fallback", "do"})
_STEP: Final = frozenset({_ENTRY, "run", "action"})
_LISTS: Final = ("steps", "compensation_steps", "triggers", "trigger_patterns")


async def declare(pool: ScriptPool, path: str, text: str) -> dict[str, Any]:
    """The definition that the file's `workflow{…}` gives.

    A step is written `{name = …, run = function(ctx) … end, compensate = function(ctx) … end}` or with an `action`
    table; each function becomes an action that runs the same text with the function as its entry.
    DefinitionError with the line when the file does not declare one.
    """
    name = os.path.basename(path)
    language = of_file(path)
    runs = {"type": "script", "language": language, "script": text}
    try:
        found = await pool.run(text, "@declare", {}, _nothing, _READING, name=name, language=language)
    except WorldError as error:
        place = _PLACE.match(str(error))
        line = int(place["line"]) if place and place["name"] == name else None
        raise DefinitionError(path, line, "", place["reason"] if place and line else str(error)) from None
    if not isinstance(found, dict):
        raise DefinitionError(path, None, "", "workflow takes a table with named fields")
    definition = {key: value for key, value in found.items() if key not in _LISTS}
    for key in _LISTS:
        if key in found:
            definition[key] = [_entry(item, runs) for item in _listed(found[key])]
    _refuse_functions(path, definition, "")
    return definition


async def _nothing(action: dict[str, Any]) -> Any:
    """What is printed while a file is read is of no interest."""


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value == {} else [value]


def _entry(item: Any, runs: dict[str, str]) -> Any:
    """A step with its functions as actions; anything else as it is."""
    if not isinstance(item, dict):
        return item
    if _ENTRY in item:  # a bare function is a step
        return {"action": _action(item, runs)}
    out = dict(item)
    if "run" in out and "action" not in out:
        out["action"] = out.pop("run")
    for field in ("action", "compensate"):
        if field in out:
            out[field] = _actions(out[field], runs)
    return {key: _within(item, runs) if key in _GROUPS else item for key, item in out.items()}


def _within(value: Any, runs: dict[str, str]) -> Any:
    """What holds steps: a list of them, or lists of them by name at any depth."""
    if isinstance(value, list):
        return [_entry(item, runs) for item in value]
    if isinstance(value, dict) and not _STEP & value.keys():
        return {key: _within(item, runs) if key in _HOLDERS else item for key, item in value.items()} | (
            {"cases": {case: _within(steps, runs) for case, steps in value["cases"].items()}}
            if isinstance(value.get("cases"), dict)
            else {}
        )
    return _entry(value, runs)


def _actions(value: Any, runs: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_action(one, runs) for one in value]
    return _action(value, runs)


def _action(value: Any, runs: dict[str, str]) -> Any:
    if isinstance(value, dict) and _ENTRY in value:
        return {**runs, "entry": value[_ENTRY]}
    return value


def _refuse_functions(path: str, value: Any, field: str) -> None:
    if isinstance(value, dict):
        if _ENTRY in value:
            raise DefinitionError(path, None, field, "a function belongs in a step's 'run' or 'compensate'")
        for key, item in value.items():
            _refuse_functions(path, item, f"{field}.{key}" if field else key)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _refuse_functions(path, item, f"{field}.{i}")
