"""Why one event did not do: the first condition that fails, in the order in which they are tried. "" when all hold."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import Any, Final

from automation.events import SemanticEvent, covers
from automation.expressions import EvaluationError, compile_expression
from automation.facts import event_facts, target_of
from automation.globs import compile_globs
from automation.patterns.closures import Names, compile_where
from automation.patterns.interests import stream_types
from automation.patterns.model import Pattern, Step
from automation.patterns.runs import Run
from automation.quantities import compare
from automation.rules.checks import Moment
from automation.rules.rule import Rule
from automation.triggers.on_event import OnEvent

_NO_RUN: Final = Run(None, None, 0, 0, 0)


def trigger_reason(
    trigger: OnEvent, event: SemanticEvent, state: Mapping[str, Any], variables: Mapping[str, Any]
) -> str:
    """For an event trigger; `state` is that of now."""
    form, target = trigger.form, target_of(event)
    if event.cause is not None and event.cause.workflow == trigger.workflow and not form.own:
        return f"own: the run {event.cause.run} of this workflow brought it about"
    if not trigger.matcher.has_type(event.type):
        return f"types: {event.type} is none of {', '.join(form.types)}"
    if event.errno is not None and not form.failed:
        return f"failed: the operation failed with {event.errno}"
    if form.path is not None and not compile_globs(tuple(form.path))(target):
        return f"path: {target!r} does not match {', '.join(form.path)}"
    if form.source is not None and (event.dest is None or not compile_globs(tuple(form.source))(event.path)):
        return f"from: {'it did not move' if event.dest is None else repr(event.path) + ' does not match'}"
    if form.size is not None:
        for operator, limit in form.size:
            if event.size is None or not compare(operator, event.size, limit):
                return f"size: {event.size} is not {operator} {limit}"
    if form.uid is not None and event.uid not in form.uid:
        return f"uid: {event.uid} is none of {', '.join(map(str, form.uid))}"
    if form.comm is not None and not _comm(event.comm, form.comm):
        return f"comm: {event.comm!r} does not match {', '.join(form.comm)}"
    if form.where is not None:
        facts = {"event": event_facts(event), "state": dict(state), "vars": dict(variables)}
        try:
            if compile_expression(form.where)(facts) is not True:
                return f"where: {form.where} is false (with the state of now)"
        except EvaluationError as error:
            return f"where: {error}"
    if not trigger.matcher.matches(event):
        return "written: this close changed nothing" if form.written is not False else "written: this close changed it"
    if event.type == "file.closed" and event.attrs.get("nlink") == 0:
        return "the file was deleted before it was closed"
    return ""


def _comm(comm: str, patterns: list[str]) -> bool:
    wanted = [p for p in patterns if not p.startswith("!")]
    barred = any(fnmatch.fnmatchcase(comm, p[1:]) for p in patterns if p.startswith("!"))
    return not barred and (not wanted or any(fnmatch.fnmatchcase(comm, p) for p in wanted))


def pattern_reason(pattern: Pattern, event: SemanticEvent) -> str:
    """For a pattern: why no step takes the event, or which might and what else that needs."""
    stream = stream_types(pattern)
    if stream and not any(covers(name.removesuffix(".*"), event.type) for name in stream):
        return f"{event.type} is not of this pattern's stream: {', '.join(stream)}"
    steps = list(pattern.walk())
    names = [name for step in steps for name in (step.step, step.alias) if name]
    reasons = {step.step: _step_reason(step, steps, names, event) for step in steps}
    fitting = [name for name, reason in reasons.items() if not reason or reason.startswith("if ")]
    if not fitting:
        return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    said = [f"{name} ({reasons[name]})" if reasons[name] else name for name in fitting]
    return f"fits {' or '.join(said)}, but no match stood there"


def _step_reason(step: Step, steps: list[Step], names: list[str], event: SemanticEvent) -> str:
    if step.event and not any(name == "*" or covers(name.removesuffix(".*"), event.type) for name in step.event):
        return f"{event.type} is none of {', '.join(step.event)}"
    if step.path and not compile_globs(tuple(step.path))(event.path):
        return f"{event.path!r} does not match {', '.join(step.path)}"
    if not step.where:
        return ""
    own = {step.step, step.alias} - {""}
    others = [name for name in names if name not in own]
    if others and re.search(rf"\b({'|'.join(map(re.escape, others))})\b\s*[.\[)]", step.where):
        return f"if {step.where}"
    numbers = {name: at for at, one in enumerate(steps) for name in (one.step, one.alias) if name}
    check = compile_where(step.where, Names(numbers, frozenset(own), tuple(one.step for one in steps)))
    return "" if check(event, _NO_RUN) else f"{step.where} is false"


def rule_reason(rule: Rule, event: SemanticEvent, moment: Moment) -> str:
    """For a rule, with the state and the time of now."""
    path, body = target_of(event), rule.body
    if not any(covers(name, event.type) for name in body.types):
        return f"{event.type} is none of {', '.join(body.types)}"
    if (rule.paths or rule.exclude) and not rule.test(path):
        return f"paths: {path!r} does not match"
    form = body.program.form
    workflow = event.cause.workflow if event.cause is not None else None
    if workflow is not None and not form.own and workflow in (rule.workflow, form.workflow):
        return "own: its own run brought it about"
    if event.errno is not None and not form.failed:
        return f"failed: the operation failed with {event.errno}"
    try:
        if wrong := body.wrong(event, moment):
            return wrong
        for name, silences in body.program.exceptions:
            if silences(event, moment):
                return f"the exception {name} silences it"
    except Exception as error:  # what a rule may raise is told, not met here
        return f"it raises {error!r}"
    return ""
