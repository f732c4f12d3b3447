"""Steps as they are written: their short forms made long, and what is wrong among several of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pydantic import AliasChoices

from automation.actions.table import ACTIONS, ALIASES
from automation.definitions import Workflow
from automation.expressions import nearest
from automation.runner.retry import CLASSES, known
from automation.sources import Place
from automation.step_forms import Step, named

Problem = tuple[Place, str]

_REFERENCE: Final = re.compile(r"(?<![\w.])steps\s*\.\s*([A-Za-z_]\w*)")
_CONDITIONS: Final = frozenset({"when", "condition", "guard", "pre", "post", "precondition", "postcondition"})
_FIELDS: Final = frozenset(
    name
    for field, info in Step.model_fields.items()
    for name in (field, *(info.validation_alias.choices if isinstance(info.validation_alias, AliasChoices) else ()))
)
_WITHIN: Final = {
    "decision": ("then", "else", "otherwise", "default", "fallback"),
    "loop": ("do",),
    "on_error": ("do",),
}
_MODELS: Final = frozenset({"ml_inference"})


def long_step(step: Any, place: Place, lines: dict[Place, int]) -> Any:
    """A step in its long form, with all steps in it: `copy: {…}` → `action: {type: copy, …}`."""
    if not isinstance(step, dict):
        return step
    out = _long_action(step, place, lines)
    if "compensate" in out:
        out["compensate"] = _each(out["compensate"], (*place, "compensate"), lines, _long_undo)
    if "sequence" in out:
        out["sequence"] = _each(out["sequence"], (*place, "sequence"), lines, long_step)
    if isinstance(out.get("parallel"), list):
        out["parallel"] = {"steps": out["parallel"]}
        _move(lines, (*place, "parallel"), (*place, "parallel", "steps"))
    if isinstance(out.get("parallel"), dict) and "steps" in out["parallel"]:
        way = (*place, "parallel", "steps")
        out["parallel"] = {**out["parallel"], "steps": _each(out["parallel"]["steps"], way, lines, long_step)}
    for field, names in _WITHIN.items():
        if isinstance(out.get(field), dict):
            out[field] = _long_within(out[field], (*place, field), names, lines)
    return out


def _long_within(value: dict[str, Any], place: Place, names: tuple[str, ...], lines: dict[Place, int]) -> Any:
    out = {
        key: _each(inner, (*place, key), lines, long_step) if key in names else inner for key, inner in value.items()
    }
    if isinstance(out.get("cases"), dict):
        cases = out["cases"].items()
        out["cases"] = {key: _each(steps, (*place, "cases", key), lines, long_step) for key, steps in cases}
    return out


def _each(
    value: Any, place: Place, lines: dict[Place, int], long: Callable[[Any, Place, dict[Place, int]], Any]
) -> Any:
    if isinstance(value, list):
        return [long(one, (*place, i), lines) for i, one in enumerate(value)]
    if isinstance(value, dict):
        _move(lines, place, (*place, 0))
        return [long(value, (*place, 0), lines)]
    return value


def _long_undo(undo: Any, place: Place, lines: dict[Place, int]) -> Any:
    return undo if not isinstance(undo, dict) or "type" in undo else _long_action(undo, place, lines)


def _long_action(step: dict[str, Any], place: Place, lines: dict[Place, int]) -> dict[str, Any]:
    out = dict(step)
    if "action" not in out:
        if isinstance(out.get("log"), str):
            out["log"] = {"message": out["log"]}
            _move(lines, (*place, "log"), (*place, "log", "message"))
        short = [
            key
            for key in out
            if (key in ACTIONS or key in ALIASES) and key not in _FIELDS and isinstance(out[key], dict)
        ]
        if len(short) == 1:
            out["action"] = {"type": short[0], **out.pop(short[0])}
            _move(lines, (*place, short[0]), (*place, "action"))
    return out


def _move(lines: dict[Place, int], old: Place, new: Place) -> None:
    for place in [p for p in lines if p[: len(old)] == old]:
        lines[*new, *place[len(old) :]] = lines[place]


def check_steps(workflow: Workflow, raw: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong among the steps: names, references, dependencies, and what their workflow's type asks for."""
    top = named(workflow.steps, "step")
    yield from _unique(top, ("steps",), set())
    yield from _types(workflow, top)
    everything = {name for _, name, _ in _every(top, ("steps",))}
    free = workflow.workflow_type in ("state_machine", "event_driven")
    graph = workflow.workflow_type == "parallel"
    visible = everything if free else set()
    yield from _references(top, ("steps",), raw.get("steps"), visible, everything, graph=graph)
    for way, name, step in _every(top, ("steps",)):
        yield from _single(way, name, step)
        if step.transitions is not None and (workflow.workflow_type != "state_machine" or len(way) > 2):
            yield (*way, "transitions"), "transitions belong to the steps of a workflow_type 'state_machine'"
        if step.final is not None and (workflow.workflow_type != "state_machine" or len(way) > 2):
            yield (*way, "final"), "final states belong to the steps of a workflow_type 'state_machine'"
    for i, step in enumerate(workflow.compensation_steps):
        if step.action is None:
            yield ("compensation_steps", i), "a compensation step needs an action"


def _every(steps: list[tuple[str, Step]], way: Place) -> Iterator[tuple[Place, str, Step]]:
    for i, (name, step) in enumerate(steps):
        yield (*way, i), name, step
        for inner, group in _groups(name, step):
            yield from _every(group, (*way, i, *inner))


def _groups(name: str, step: Step) -> Iterator[tuple[Place, list[tuple[str, Step]]]]:
    """The lists of steps within a step, named as the plan names them, with the way to each in the file."""
    for inner, group in step.groups:
        if inner[0] == "decision":
            way = str(inner[1])
            place = inner if way in ("then", "else") else ("decision", "cases", way)
            yield place, named(group, f"{name}_{way}_")
        else:
            yield inner, named(group, f"{name}_error" if inner[0] == "on_error" else f"{name}_")


def _unique(steps: list[tuple[str, Step]], way: Place, taken: set[str]) -> Iterator[Problem]:
    """Names are unique, but for those in different branches of one decision; `taken` grows."""
    for i, (name, step) in enumerate(steps):
        if name in taken:
            yield (*way, i, "name"), f"another step is already called {name!r}"
        taken.add(name)
        if step.decision is None:
            for inner, group in _groups(name, step):
                yield from _unique(group, (*way, i, *inner), taken)
            continue
        before = set(taken)
        for inner, group in _groups(name, step):
            branch = set(before)
            yield from _unique(group, (*way, i, *inner), branch)
            taken |= branch


def _single(way: Place, name: str, step: Step) -> Iterator[Problem]:
    """What is wrong with one step."""
    for field in ("on", "not_on"):
        for one in getattr(step.retry, field):
            if not known(one):
                reason = (
                    f"there is no class of errors {one!r}{nearest(one, CLASSES) or '; there are ' + ', '.join(CLASSES)}"
                )
                yield (*way, "retry", field), reason
    if step.action is None:
        if step.retry.attempts > 1:
            yield (*way, "retry"), "only actions are tried again; give the steps within it a 'retry'"
        if step.at_most_once:
            yield (*way, "at_most_once"), "only actions are done at most once"
        if any(one.auto for one in step.compensate):
            yield (*way, "compensate"), "only actions undo themselves"


def _types(workflow: Workflow, top: list[tuple[str, Step]]) -> Iterator[Problem]:
    """What the type of the workflow asks for."""
    names = [name for name, _ in top]
    if workflow.initial is not None:
        if workflow.workflow_type != "state_machine":
            yield ("initial",), "only a workflow_type 'state_machine' has an initial state"
        elif workflow.initial not in names:
            yield ("initial",), f"there is no state {workflow.initial!r}{nearest(workflow.initial, names)}"
    if workflow.workflow_type != "event_driven" and workflow.lifetime.model_fields_set:
        yield ("lifetime",), "only a workflow_type 'event_driven' has a lifetime"
    if workflow.workflow_type == "event_driven" and not workflow.triggers:
        yield ("triggers",), "an event_driven workflow needs triggers: their events are what its runs receive"
    if workflow.workflow_type == "ml_enhanced" and not any(map(_uses_model, (s for _, _, s in _every(top, ())))):
        yield ("workflow_type",), "an ml_enhanced workflow needs a decision by 'model' or an action 'ml_inference'"
    if workflow.workflow_type == "state_machine":
        for i, (_, step) in enumerate(top):
            for j, move in enumerate(step.transitions or ()):
                if move.to not in names:
                    yield (
                        ("steps", i, "transitions", j, "to"),
                        f"there is no state {move.to!r}{nearest(move.to, names)}",
                    )


def _uses_model(step: Step) -> bool:
    in_action = step.action is not None and step.action.get("type") in _MODELS
    return in_action or (step.decision is not None and step.decision.model is not None)


def _references(
    steps: list[tuple[str, Step]], way: Place, raw: Any, visible: set[str], everything: set[str], *, graph: bool
) -> Iterator[Problem]:
    """Results are used only after they exist: those of earlier steps, in a graph those of what a step depends on."""
    names = [name for name, _ in steps]
    inner_names = {name: {name} | {n for _, n, _ in _every([(name, step)], ())} for name, step in steps}
    seen = set(visible)
    if graph:
        yield from _cycles(steps, way)
    for i, (name, step) in enumerate(steps):
        for dependency in step.depends_on:
            if dependency not in names or dependency == name:
                yield (
                    (*way, i, "depends_on"),
                    f"there is no other step {dependency!r} beside it{nearest(dependency, names)}",
                )
            elif not graph and names.index(dependency) > i:
                yield (*way, i, "depends_on"), f"the step {dependency!r} runs later"
        before = visible | set().union(*(inner_names[n] for n in _ancestors(name, dict(steps)))) if graph else seen
        one = raw[i] if isinstance(raw, list) and i < len(raw) else raw
        yield from _own_texts(one, (*way, i), before | {name}, everything)
        target = step.on_error.goto if step.on_error is not None else None
        if target is not None and (graph or target not in names[i + 1 :]):
            yield (*way, i, "on_error", "goto"), f"{target!r} is no later step of the same list"
        for inner, group in _groups(name, step):
            nested = one
            for part in inner:
                nested = _get(nested, part)
            within = before | {name} if inner[0] == "on_error" else set(before)
            graph_within = inner[0] == "parallel"
            yield from _references(group, (*way, i, *inner), nested, within, everything, graph=graph_within)
        seen |= inner_names[name]


def _get(value: Any, part: str | int) -> Any:
    if not isinstance(value, dict):
        return value
    if part == "else":
        return next((value[name] for name in _WITHIN["decision"][1:] if name in value), None)
    return value.get(str(part), next((v for k, v in value.items() if str(k) == part), None))


def _ancestors(name: str, steps: Mapping[str, Step]) -> set[str]:
    found: set[str] = set()
    todo = [name]
    while todo:
        step = steps.get(todo.pop())
        for earlier in step.depends_on if step is not None else ():
            if earlier in steps and earlier not in found:
                found.add(earlier)
                todo.append(earlier)
    return found


def _cycles(steps: list[tuple[str, Step]], way: Place) -> Iterator[Problem]:
    table = dict(steps)
    for i, (name, _) in enumerate(steps):
        if name in _ancestors(name, table):
            yield (*way, i, "depends_on"), f"the step {name!r} depends on itself in the end"
            return


def _own_texts(raw: Any, place: Place, before: set[str], everything: set[str]) -> Iterator[Problem]:
    """References in a step's own texts, not in those of the steps within it."""
    for at, text in _texts(raw, place, ()):
        for match in _REFERENCE.finditer(text):
            if match[1] not in before and (at[-1] in _CONDITIONS or "{{" in text):
                late = match[1] in everything
                why = "runs later" if late else f"does not exist{nearest(match[1], before)}"
                yield at, f"the step {match[1]!r} {why}"


_LISTS: Final = frozenset({"sequence", "then", "else", "otherwise", "default", "fallback", "cases", "do", "steps"})


def _texts(value: Any, place: Place, way: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield place, value
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if way == () and key in ("compensate", "sequence"):  # an undo runs after every step that it could name
            continue
        if key in ("script", "script_content") and "action" in way:  # no template
            continue
        if len(way) == 1 and way[0] in ("decision", "loop", "parallel", "on_error") and key in _LISTS:
            continue
        yield from _texts(inner, (*place, key), (*way, key))
