"""The text of a machine's definition → a `Machine`, or every error in it with file, line, field and reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from automation import field_names
from automation.actions.table import ACTIONS
from automation.errors import DefinitionError
from automation.loading import reason
from automation.machines.chart import Chart, compile_chart
from automation.machines.machine import Machine
from automation.machines.model import Doing, MachineForm, action_name
from automation.machines.notation import outline_of
from automation.machines.outline import ChartError
from automation.machines.scxml import VEXFS, Fetch, read_scxml, wrong
from automation.machines.thresholds import ThresholdsForm
from automation.sources import Place, Source, read_source

KIND: Final = "machine"
SYSTEM: Final = "system"


def is_machine(value: Any) -> bool:
    """Whether the values of a definition file are those of a machine."""
    return isinstance(value, dict) and value.get("kind") == KIND


def is_system(value: Any) -> bool:
    """Whether the values of a definition file are thresholds of the system state."""
    return isinstance(value, dict) and value.get("kind") == SYSTEM


def examine_system(source: Source) -> tuple[ThresholdsForm | None, list[DefinitionError]]:
    """The thresholds of the system state in a file, or None and everything that is wrong with them, by line."""
    try:
        return ThresholdsForm.model_validate({"name": source.stem, **source.value}), []
    except ValidationError as error:
        return None, _errors(source, error, ThresholdsForm)


def examine(path: str, text: str) -> tuple[Machine | None, list[DefinitionError]]:
    """The machine in a YAML, JSON or SCXML file, or None and everything that is wrong with it, by line."""
    try:
        if path.endswith(".scxml"):
            return load_scxml(path, text), []
        return examine_source(read_source(path, text))
    except DefinitionError as error:
        return None, [error]


def load(path: str, text: str) -> Machine:
    """The machine in a file; raises the first DefinitionError."""
    machine, errors = examine(path, text)
    if machine is None:
        raise errors[0]
    return machine


def examine_source(source: Source) -> tuple[Machine | None, list[DefinitionError]]:
    """`examine` for a file that is read already."""
    if not isinstance(source.value, dict):
        reason = "a machine is a mapping with 'kind: machine', 'name' and 'states'"
        return None, [DefinitionError(source.path, source.line(()), "", reason)]
    value = {"name": source.stem, **source.value}
    try:
        form = MachineForm.model_validate(value)
    except ValidationError as error:
        return None, _errors(source, error, MachineForm)
    try:
        return _machine(source, form, value), []
    except ChartError as error:
        return None, [_problem(source, error.place, str(error))]
    except DefinitionError as error:
        return None, [error]


def _machine(source: Source, form: MachineForm, value: dict[str, Any]) -> Machine:
    if form.scxml is not None:
        chart = _inline(source.path, form.scxml, source.line(("scxml",)) or 1)
    else:
        chart = compile_chart(outline_of(form))
    return _built(form, chart, value)


def _built(form: MachineForm, chart: Chart, value: dict[str, Any]) -> Machine:
    return Machine(
        name=form.name,
        chart=chart,
        key=form.key,
        paths=tuple(form.path or ()),
        where=form.where,
        limit=form.limit,
        own=form.own,
        failed=form.failed,
        enabled=form.enabled,
        description=form.description,
        source=value,
    )


def _inline(path: str, text: str, line: int) -> Chart:
    """An SCXML document inside a YAML file: its lines are counted from the key that holds it."""
    try:
        _, outline = read_scxml(path, text)
        return _compiled(path, lambda: compile_chart(outline))
    except DefinitionError as error:
        at = line + error.line if error.line is not None else line
        field = f"scxml.{error.field}" if error.field else "scxml"
        raise DefinitionError(path, at, field, error.reason) from None


def load_scxml(path: str, text: str, fetch: Fetch | None = None) -> Machine:
    """The machine in an SCXML document. Attributes of the namespace `urn:vexfs` on its root stand for what YAML has
    beside the chart: `key` (default: one instance in all), `path`, `where`, `limit`, `own`, `failed`, `enabled`.
    """
    root, outline = read_scxml(path, text, fetch)
    own = {name.partition("}")[2]: value for name, value in root.attrib.items() if name.startswith("{" + VEXFS)}
    value = {"name": root.get("name") or Source(path, None, {}).stem, "key": "none", "scxml": text, **own}
    try:
        form = MachineForm.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise DefinitionError(path, 1, field, _reason(first["type"], first["msg"], field, [])) from None
    return _built(form, _compiled(path, lambda: compile_chart(outline)), value)


def _compiled(path: str, compiled: Callable[[], Chart]) -> Chart:
    try:
        return compiled()
    except ChartError as error:
        raise wrong(path, error) from None


# Pydantic's errors as ours


def _errors(source: Source, error: ValidationError, root: type[BaseModel]) -> list[DefinitionError]:
    found = [problem for item in error.errors() for problem in _problems(source, item, root)]
    return sorted(found, key=lambda e: e.line or 0)


def _problems(source: Source, item: Mapping[str, Any], root: type[BaseModel]) -> Iterator[DefinitionError]:
    loc: Place = item["loc"]
    if item["type"] == "action":
        place, _, value = _walk(source.value, loc)
        names = field_names.of_action(value.get("type", place[-1]) if isinstance(value, dict) and place else "")
        for inner, kind, message in item["ctx"]["problems"]:
            yield _problem(source, (*loc, *inner), _reason(kind, message, str(inner[-1]) if inner else "", names))
        return
    if item["type"] == "template":
        yield _problem(source, (*loc, *item["ctx"]["place"]), item["ctx"]["reason"])
        return
    names = _names_at(loc[:-1], root) if item["type"] == "extra_forbidden" else []
    yield _problem(source, loc, _reason(item["type"], item["msg"], str(loc[-1]) if loc else "", names))


def _reason(kind: str, message: str, name: str, names: list[str]) -> str:
    return message.replace("Input should be", "use") if kind == "literal_error" else reason(kind, message, name, names)


def _problem(source: Source, loc: Place, reason: str) -> DefinitionError:
    place, shown, _ = _walk(source.value, loc)
    return DefinitionError(source.path, source.line(place), ".".join(map(str, shown)), reason)


def _walk(value: Any, loc: Place) -> tuple[Place, Place, Any]:
    """Where `loc` of the validated form is in the file, how to show it, and what is there. The form is longer: a single
    transition is a list there, `copy: {…}` is `action: {type: copy, …}`.
    """
    place: list[str | int] = []
    shown: list[str | int] = []
    for i, part in enumerate(loc):
        if part == "[key]":
            break
        if part == "action" and isinstance(value, dict) and "action" not in value:
            part = action_name(value) or part  # noqa: PLW2901
        here = isinstance(value, dict) and part in value
        if here or (isinstance(value, list) and isinstance(part, int) and part < len(value)):
            value = value[part]
            place.append(part)
            shown.append(part)
        elif i == len(loc) - 1 and isinstance(part, str) and part != "action":
            shown.append(part)
    return tuple(place), tuple(shown), value


def _names_at(loc: Place, root: type[BaseModel]) -> list[str]:
    """The fields that may stand at `loc`; an action is written as one by its type."""
    forms = field_names.forms_at(loc, root)
    names = [name for name in field_names.of_forms(forms) if name != "action"]
    return names + (list(ACTIONS) if Doing in forms else [])
