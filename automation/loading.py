"""The text of a definition → a `Workflow`, or every error in it with file, line, field and reason."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel, ValidationError

from automation.actions.table import ACTIONS, ALIASES
from automation.definitions import Workflow
from automation.errors import DefinitionError
from automation.expressions import nearest
from automation.forms import Form
from automation.sources import Place, Source, read_source
from automation.step_loading import check_steps, long_step
from automation.triggers.forms import ManualTrigger

_REQUIRED: Final = "this field is required"
_TAGS: Final = ("event", "pattern", "schedule", "state_change", "external_event", "anomaly", "ml_prediction", "manual")


def load(path: str, text: str) -> Workflow:
    """The workflow in a YAML or JSON file; raises the most telling DefinitionError."""
    workflow, errors = examine(path, text)
    if workflow is None:
        raise most_telling(errors)
    return workflow


def most_telling(errors: list[DefinitionError]) -> DefinitionError:
    """The first error, but a misspelt field rather than the required one that is missing because of it."""
    return min(errors, key=lambda error: error.reason == _REQUIRED)


def examine(path: str, text: str) -> tuple[Workflow | None, list[DefinitionError]]:
    """The workflow in a YAML or JSON file, or None and everything that is wrong with it, by line."""
    try:
        source = read_source(path, text)
    except DefinitionError as error:
        return None, [error]
    return examine_source(source)


def examine_source(source: Source) -> tuple[Workflow | None, list[DefinitionError]]:
    """`examine` for values that come from elsewhere (a Lua file that declares a workflow)."""
    if not isinstance(source.value, dict):
        reason = "a workflow is a mapping with 'name', 'triggers' and 'steps'"
        return None, [DefinitionError(source.path, source.line(()), "", reason)]
    source = _canonical(source)
    try:
        workflow = Workflow.model_validate(source.value)
    except ValidationError as error:
        found = [problem for item in error.errors() for problem in problems(source, item)]
        return None, sorted(found, key=lambda e: e.line or 0)
    errors = list(_cross_check(source, workflow))
    return (None, errors) if errors else (workflow, [])


def _canonical(source: Source) -> Source:
    """The file's name where none is given; steps in their long form: `copy: {…}` → `action: {type: copy, …}`."""
    value = dict(source.value)
    value.setdefault("name", os.path.splitext(os.path.basename(source.path))[0])
    lines = dict(source.lines)
    for field in ("steps", "compensation_steps"):
        if isinstance(value.get(field), list):
            value[field] = [long_step(step, (field, i), lines) for i, step in enumerate(value[field])]
    return Source(source.path, value, lines)


Kind = TypeVar("Kind", bound=BaseModel)


def examine_form(source: Source, form: type[Kind]) -> tuple[Kind | None, list[DefinitionError]]:
    """The values of a file as `form`, named after the file unless named; or None and every error by line."""
    stem = os.path.splitext(os.path.basename(source.path))[0]
    try:
        return form.model_validate({"name": stem, **source.value}), []
    except ValidationError as error:
        found = [one for item in error.errors() for one in problems(source, item, form)]
        return None, sorted(found, key=lambda one: one.line or 0)


def problems(source: Source, item: Mapping[str, Any], root: type[BaseModel] = Workflow) -> Iterator[DefinitionError]:
    """One of pydantic's errors as ours; an action's own errors are unfolded."""
    loc: Place = item["loc"]
    context = item.get("ctx") or {}
    if item["type"] == "action":
        names = _action_fields(_at(source.value, loc))
        for inner, kind, message in context["problems"]:
            name = str(inner[-1]) if inner else ""
            yield problem(source, (*loc, *inner), _reason(kind, message, name, names))
    elif item["type"] == "template":
        yield problem(source, (*loc, *context["place"]), context["reason"])
    else:
        names = _names_at(loc[:-1], root) if item["type"] == "extra_forbidden" else []
        yield problem(source, loc, _reason(item["type"], item["msg"], str(loc[-1]) if loc else "", names))


def _reason(kind: str, message: str, name: str, names: list[str]) -> str:
    if kind == "extra_forbidden":
        return f"there is no such field{nearest(name, names) or _list_of(names)}"
    if kind == "missing" and name == "action":
        return "a step needs an action, for instance 'copy: {source: a, target: b}'"
    if kind == "missing":
        return _REQUIRED
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "a mapping is expected"
    if kind == "union_tag_invalid":
        return message.replace("Input tag", "the type").replace(
            " found using 'type' does not match any of the expected tags", " is none of"
        )
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return message if message[:1] in "'\"" else message[:1].lower() + message[1:]


def _list_of(names: list[str]) -> str:
    return f"; the fields are {', '.join(names)}" if names else ""


def problem(source: Source, loc: Place, reason: str) -> DefinitionError:
    """An error at a place of a file."""
    place, shown = _resolve(source.value, loc)
    return DefinitionError(source.path, source.line(place), ".".join(map(str, shown)), reason)


def _resolve(value: Any, loc: Place) -> tuple[Place, Place]:
    """Where `loc` is in the file, and how to show it: without the tags of unions."""
    place: list[str | int] = []
    shown: list[str | int] = []
    for i, part in enumerate(loc):
        if i and part in _TAGS and isinstance(loc[i - 1], int):
            continue
        shown.append(part)
        here = isinstance(value, dict) and part in value
        if here or (isinstance(value, list) and isinstance(part, int) and part < len(value)):
            value = value[part]
            place.append(part)
    return tuple(place), tuple(shown)


def _at(value: Any, loc: Place) -> Any:
    for part in _resolve(value, loc)[0]:
        value = value[part]
    return value


def _action_fields(action: Any) -> list[str]:
    name = str(action.get("type", "")) if isinstance(action, dict) else ""
    model = ACTIONS.get(ALIASES.get(name, name))
    return ["type", *(name for name in model.model_fields if name != "type")] if model else []


def _names_at(loc: Place, root: type[BaseModel]) -> list[str]:
    """The fields that the models know at `loc`."""
    models: list[type[BaseModel]] = [root]
    for part in loc:
        if isinstance(part, int):
            continue
        if part in _TAGS and len(models) > 1:
            models = [m for m in models if part in get_args(m.model_fields["type"].annotation)]
            continue
        models = [
            inner
            for model in models
            for name, info in model.model_fields.items()
            if part in _spellings(name, info)
            for inner in _models(info.annotation)
        ]
    return [_spellings(name, info)[0] for model in models for name, info in model.model_fields.items()]


def _spellings(name: str, info: Any) -> list[str]:
    alias = info.validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, Form):
        return [annotation]
    if get_origin(annotation) in (list, Annotated, Union, types.UnionType):
        return [model for inner in get_args(annotation) for model in _models(inner)]
    return []


def _cross_check(source: Source, workflow: Workflow) -> Iterator[DefinitionError]:
    """What concerns several fields: names of steps are unique, and results are used only after they exist."""
    if workflow.join is not None and workflow.join.require not in ("all", *range(1, len(workflow.triggers) + 1)):
        reason = f"there are only {len(workflow.triggers)} triggers, of which {workflow.join.require} cannot fire"
        yield problem(source, ("join", "require"), reason)
    for place, reason in check_steps(workflow, source.value):
        yield problem(source, place, reason)
    if any(one.required for one in workflow.inputs.values()) and not all(
        isinstance(trigger, ManualTrigger) for trigger in workflow.triggers
    ):
        yield problem(source, ("inputs",), "what is triggered by events is given no input: give defaults instead")
