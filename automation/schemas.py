"""The JSON Schema of every kind of definition, for editors: `make schema`, or `python -m automation.schemas`.

One document for all: which kind a file is follows from its fields, as in the library. Each field is there under each of
its names, steps also in their short form (`copy: {…}`), and where an action wants a number a template will do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import AliasChoices, BaseModel
from pydantic.json_schema import models_json_schema

from automation.actions import ACTIONS, ALIASES
from automation.analytics.forms import Analytics
from automation.definitions import Workflow
from automation.expectations import Case, Expectations
from automation.machines.model import MachineForm
from automation.machines.thresholds import ThresholdsForm
from automation.models.forms import AdaptiveForm, ModelForm
from automation.patterns import collection
from automation.patterns.correlation import Correlation
from automation.patterns.model import Pattern
from automation.patterns.table import PATTERN
from automation.provenance.forms import ProvenanceForm
from automation.rules import book

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TEMPLATE: Final = {"type": "string", "pattern": r"\{\{"}
_BY_KIND: Final[Mapping[str, type[BaseModel]]] = {
    "machine": MachineForm,
    "system": ThresholdsForm,
    "analytics": Analytics,
    "provenance": ProvenanceForm,
    "model": ModelForm,
    "adaptive": AdaptiveForm,
}
"""Definitions that say with `kind` what they are."""
_NAMELESS: Final[tuple[type[BaseModel], ...]] = (
    Workflow,
    book.BookForm,
    collection.Collection,
    *_BY_KIND.values(),
    Pattern,
    Correlation,
)
"""Their name is that of the file, or of the entry that they stand in."""

Schema = dict[str, Any]


def schema() -> Schema:
    """JSON Schema (draft 2020-12) of a definition file of any kind."""
    models: list[type[BaseModel]] = [*_NAMELESS, Expectations, Case, *ACTIONS.values()]
    places, document = models_json_schema([(model, "validation") for model in models], ref_template="#/$defs/{model}")
    defs: dict[str, Schema] = document["$defs"]
    at = {model: places[model, "validation"]["$ref"] for model in models}
    for model in _models(models):
        found = defs.get(model.__name__) or defs.get(f"{model.__module__}.{model.__name__}".replace(".", "__"))
        if found is not None:
            _respell(found, model)
    for action in ACTIONS.values():
        _loosen(defs[_key(at[action])])
    for one in defs.values():
        _shorten(one, {name: at[ACTIONS[ALIASES.get(name, name)]] for name in (*ACTIONS, *ALIASES)})
    for model in _NAMELESS:
        found = defs[_key(at[model])]
        found["required"] = [name for name in found.get("required", ()) if name != "name"]
    defs["StateTrigger"]["properties"]["condition"] = {"type": "object"}  # the seed's way
    _alone(defs[_key(at[collection.Collection])])
    pattern = {"anyOf": [{"$ref": at[Pattern]}, {"$ref": at[Correlation]}]}
    filled: Schema = _filled(defs, pattern)
    return {"$schema": DIALECT, "title": "A definition of VexFS", **_choice(at, defs), "$defs": filled}


def _choice(at: Mapping[type[BaseModel], str], defs: Mapping[str, Schema]) -> Schema:
    """The kind that the fields of a file say it is, in the order in which the library asks."""
    kinds: list[tuple[Schema, Schema]] = [
        *((_kind(name), {"$ref": at[model]}) for name, model in _BY_KIND.items()),
        (_has("cases"), {"$ref": at[Expectations]}),
        (_has("expect"), _single_case(defs[_key(at[Case])], defs[_key(at[Expectations])])),
        (_has(*sorted(book.KEYS)), {"$ref": at[book.BookForm]}),
        (_only(_has(*sorted(collection.KEYS)), "steps", "triggers"), {"$ref": at[collection.Collection]}),
    ]
    out: Schema = {"$ref": at[Workflow]}
    for condition, then in reversed(kinds):
        out = {"if": condition, "then": then, "else": out}
    return {"type": "object", **out}


def _key(ref: str) -> str:
    return ref.removeprefix("#/$defs/")


def _kind(name: str) -> Schema:
    return {"properties": {"kind": {"const": name}}, "required": ["kind"]}


def _has(*names: str) -> Schema:
    return {"anyOf": [{"required": [name]} for name in names]}


def _only(condition: Schema, *without: str) -> Schema:
    return {"allOf": [condition, {"not": _has(*without)}]}


def _single_case(case: Schema, several: Schema) -> Schema:
    """A file of expectations may be one case; `with` stands beside its fields."""
    return {**case, "properties": {**case["properties"], "with": several["properties"]["with"]}}


def _respell(found: Schema, model: type[BaseModel]) -> None:
    """Every name of each field; of a required one, any."""
    properties, required = found.get("properties", {}), found.get("required", [])
    for info in model.model_fields.values():
        alias = info.validation_alias
        names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else []
        if len(names) < 2 or names[0] not in properties:
            continue
        properties |= dict.fromkeys(names[1:], properties[names[0]])
        if names[0] in required:
            found.setdefault("allOf", []).append(_has(*names))
            found["required"] = required = [name for name in required if name != names[0]]


def _loosen(action: Schema) -> None:
    """A template in place of whatever is not text; the type is said by whoever uses it."""
    properties = action.get("properties", {})
    for name, value in properties.items():
        if name != "type" and value.get("type") != "string":
            properties[name] = {"anyOf": [value, _TEMPLATE]}
    action["required"] = [name for name in action.get("required", ()) if name != "type"]


def _shorten(step: Schema, actions: Mapping[str, str]) -> None:
    """Where an `action` may stand, its short form may."""
    properties = step.get("properties", {})
    if "action" not in properties:
        return
    for name, ref in actions.items():
        properties.setdefault(name, {"$ref": ref} if name != "log" else {"anyOf": [{"$ref": ref}, {"type": "string"}]})
    step["required"] = [name for name in step.get("required", ()) if name != "action"]


def _alone(patterns: Schema) -> None:
    """A file may hold one `pattern` instead."""
    patterns["properties"]["pattern"] = {"anyOf": [{"type": "string"}, PATTERN]}
    patterns["required"] = []


def _filled(value: Any, pattern: Schema) -> Any:
    """With the schema of a pattern wherever one may stand."""
    if isinstance(value, dict):
        return pattern if value == PATTERN else {name: _filled(one, pattern) for name, one in value.items()}
    return [_filled(one, pattern) for one in value] if isinstance(value, list) else value


def _models(roots: list[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """The models and all that they are made of."""
    seen: set[type[BaseModel]] = set()
    stack: list[Any] = list(roots)
    while stack:
        one = stack.pop()
        if isinstance(one, type) and issubclass(one, BaseModel):
            if one not in seen:
                seen.add(one)
                yield one
                stack += [info.annotation for info in one.model_fields.values()]
        else:
            stack += getattr(one, "__args__", ())


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
