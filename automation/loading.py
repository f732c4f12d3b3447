"""The text of a definition → a `Workflow`, or every error in it with file, line, field and reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from automation import field_names
from automation.definitions import Workflow
from automation.errors import DefinitionError
from automation.expressions import nearest
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
    workflow, errors = examine_form(source, Workflow)
    if workflow is not None:
        errors = list(_cross_check(source, workflow))
    return (None, errors) if errors else (workflow, [])


def _canonical(source: Source) -> Source:
    """Steps in their long form: `copy: {…}` → `action: {type: copy, …}`."""
    value = dict(source.value)
    lines = dict(source.lines)
    for field in ("steps", "compensation_steps"):
        if isinstance(value.get(field), list):
            value[field] = [long_step(step, (field, i), lines) for i, step in enumerate(value[field])]
    return Source(source.path, value, lines)


Kind = TypeVar("Kind", bound=BaseModel)


def examine_form(source: Source, form: type[Kind]) -> tuple[Kind | None, list[DefinitionError]]:
    """The values of a file as `form`, named after the file unless named; or None and every error by line."""
    try:
        return form.model_validate({"name": source.stem, **source.value}), []
    except ValidationError as error:
        found = [one for item in error.errors() for one in _problems(source, item, form)]
        return None, sorted(found, key=lambda one: one.line or 0)


def _problems(source: Source, item: Mapping[str, Any], root: type[BaseModel]) -> Iterator[DefinitionError]:
    """One of pydantic's errors as ours; an action's own errors are unfolded."""
    loc: Place = item["loc"]
    context = item.get("ctx") or {}
    if item["type"] == "action":
        action = _at(source.value, loc)
        names = field_names.of_action(action.get("type", "")) if isinstance(action, dict) else []
        for inner, kind, message in context["problems"]:
            name = str(inner[-1]) if inner else ""
            yield problem(source, (*loc, *inner), reason(kind, message, name, names))
    elif item["type"] == "template":
        yield problem(source, (*loc, *context["place"]), context["reason"])
    else:
        unknown = item["type"] == "extra_forbidden"
        names = field_names.of_forms(field_names.forms_at(loc[:-1], root, _TAGS)) if unknown else []
        yield problem(source, loc, reason(item["type"], item["msg"], str(loc[-1]) if loc else "", names))


def reason(kind: str, message: str, name: str, names: list[str]) -> str:
    """One of pydantic's errors in our words; `names` are the fields that there are."""
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
