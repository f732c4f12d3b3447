"""A workflow made ready to run: templates and conditions compiled once, when it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from automation.definitions import Input, Lifetime, Output, Workflow
from automation.expressions import Expression, compile_expression
from automation.runner.awaited import Listening
from automation.step_forms import (
    Decision,
    Loop,
    Parallel,
    Retry,
    Step,
    Transition,
    Undo,
    Wait,
    action_template,
    named,
)
from automation.templates import Template

_ONCE: Final = Retry(attempts=1)
AT_ONCE: Final = frozenset({"emit_event", "log", "update_state"})  # done before any time limit could end them
ENDLESS: Final = frozenset({"trigger_workflow", "execute_rule"})  # bounded by what they start


@dataclass(frozen=True, slots=True)
class ActionBody:
    """Renders to the parameters of an action."""

    template: Template


@dataclass(frozen=True, slots=True)
class Branch:
    """One way of a decision; `value` is its case."""

    value: str
    steps: tuple[PlannedStep, ...]


@dataclass(frozen=True, slots=True)
class DecisionBody:
    """`subject` is a condition or the value that is switched on; with `model`, the label in the model's result, None
    where that is found by its name, as the `sureness` then is. `labels` are those of a model that gives only scores.
    """

    subject: Expression | None
    branches: tuple[Branch, ...]
    otherwise: Branch | None
    model: PlannedStep | None = None
    sureness: Expression | None = None
    confidence: float = 0.0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParallelBody:
    """Steps at the same time."""

    steps: tuple[PlannedStep, ...]
    most: int
    collects: bool


@dataclass(frozen=True, slots=True)
class SequenceBody:
    """Steps one after the other."""

    steps: tuple[PlannedStep, ...]


@dataclass(frozen=True, slots=True)
class LoopBody:
    """`items` is a list, the expression of one, or None for a loop by conditions."""

    items: Expression | list[Any] | None
    goes_on: Expression | None
    until: Expression | None
    alias: str | None
    steps: tuple[PlannedStep, ...]
    limit: int
    most: int
    collects: bool


@dataclass(frozen=True, slots=True)
class WaitBody:
    """`seconds` renders to a duration, `until` to a time; `event` is what is waited for, for `timeout` seconds."""

    seconds: Template | None
    until: Template | None
    event: Listening | None
    timeout: float | None
    fails: bool
    from_start: bool
    existing: bool


@dataclass(frozen=True, slots=True)
class SetBody:
    """Renders to variables of the run."""

    template: Template


@dataclass(frozen=True, slots=True)
class UndoNowBody:
    """Undoes completed steps by name, or all."""

    names: frozenset[str] | None


Body = ActionBody | DecisionBody | ParallelBody | SequenceBody | LoopBody | WaitBody | SetBody | UndoNowBody


@dataclass(frozen=True, slots=True)
class PlannedUndo:
    """One action of a compensation; times in seconds."""

    kind: str
    template: Template
    when: Expression | None
    timeout: float
    retry: Retry
    description: str = ""


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """A transition of a state machine."""

    to: str
    on: Listening | None
    when: Expression | None
    after: float | None
    error: bool


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step; `segment` is its name in places. `kind` is shown to people: the action's type, or what else it is."""

    name: str
    segment: str
    kind: str
    body: Body | None
    when: Expression | None = None
    pre: Expression | None = None
    post: Expression | None = None
    timeout: float | None = None
    retry: Retry = _ONCE
    compensate: tuple[PlannedUndo, ...] = ()
    undoes_itself: bool = False
    continues: bool = False
    goto: str | None = None
    handler: tuple[PlannedStep, ...] = ()
    depends_on: tuple[str, ...] = ()
    at_most_once: bool = False
    moves: tuple[PlannedMove, ...] = ()
    final: str | None = None

    @property
    def groups(self) -> Iterator[tuple[PlannedStep, ...]]:
        """The steps within it."""
        body = self.body
        if isinstance(body, DecisionBody):
            yield from (branch.steps for branch in body.branches)
            if body.otherwise is not None:
                yield body.otherwise.steps
        elif isinstance(body, ParallelBody | SequenceBody | LoopBody):
            yield body.steps
        yield self.handler

    def every(self) -> Iterator[PlannedStep]:
        """It and all steps within it."""
        yield self
        for group in self.groups:
            for step in group:
                yield from step.every()


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a workflow, and those that follow a failure. `definition` is the JSON that `parse` makes it of;
    `listens` is what its runs hear from their beginning on.
    """

    name: str
    steps: tuple[PlannedStep, ...] = ()
    listens: tuple[Listening, ...] = ()
    compensation: tuple[PlannedStep, ...] = ()
    type: str = "linear"
    timeout: float | None = None
    vars: dict[str, Any] = field(default_factory=dict)
    let: Template = field(default_factory=lambda: Template({}))
    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, tuple[Template, Output]] = field(default_factory=dict)
    most: int = 16
    collects: bool = False
    initial: str | None = None
    most_moves: int = 1000
    lifetime: Lifetime = field(default_factory=Lifetime)
    until: Expression | None = None
    undone_on_restart: bool = False
    dry_run: bool = False
    priority: str = "normal"
    tenant: str = ""
    definition: str = ""
    digest: str = ""

    @classmethod
    def of(cls, workflow: Workflow) -> Plan:
        """Compile a validated workflow."""
        dumped = workflow.model_dump(mode="json", exclude_unset=True, exclude={"triggers", "patterns", "metadata"})
        definition = json.dumps(dumped, sort_keys=True)
        steps = _planned(workflow.steps, "step")
        return cls(
            name=workflow.name,
            steps=steps,
            listens=tuple(_listens(steps)),
            compensation=_planned(workflow.compensation_steps, "compensation"),
            type=workflow.workflow_type,
            timeout=workflow.timeout,
            vars=workflow.vars,
            let=Template(workflow.let),
            inputs=workflow.inputs,
            outputs={name: (Template(one.value), one) for name, one in workflow.outputs.items()},
            most=workflow.max_concurrency,
            collects=workflow.on_failure == "collect",
            initial=workflow.initial,
            most_moves=workflow.max_transitions,
            lifetime=workflow.lifetime,
            until=_expression(workflow.lifetime.until),
            undone_on_restart=workflow.on_restart == "compensate",
            dry_run=workflow.dry_run,
            priority=workflow.priority,
            tenant=workflow.tenant_id or "",
            definition=definition,
            digest=hashlib.sha256(definition.encode()).hexdigest(),
        )

    @classmethod
    def bare(cls, name: str) -> Plan:
        """The plan of what is no workflow: its firings bring their actions."""
        definition = json.dumps({"name": name})
        return cls(name, definition=definition, digest=hashlib.sha256(definition.encode()).hexdigest())

    @classmethod
    def parse(cls, definition: str) -> Plan:
        """The plan of a `definition` that a ledger kept."""
        raw = json.loads(definition)
        return cls.of(Workflow.model_validate(raw)) if "steps" in raw else cls.bare(raw["name"])

    def on_paper(self) -> Plan:
        """The same plan as a dry run, which it stays if it is taken up again."""
        definition = json.dumps({**json.loads(self.definition), "dry_run": True}, sort_keys=True)
        digest = hashlib.sha256(definition.encode()).hexdigest()
        return replace(self, dry_run=True, definition=definition, digest=digest)

    def doing(self, actions: Iterable[Mapping[str, Any]]) -> Plan:
        """The same plan with these actions for its steps; they are rendered: braces in them are no templates."""
        return replace(self, steps=tuple(_literal(i, action) for i, action in enumerate(actions, 1)))

    def every_step(self) -> Iterator[PlannedStep]:
        """All steps at any depth."""
        for step in self.steps:
            yield from step.every()


def _listens(steps: Iterable[PlannedStep]) -> Iterator[Listening]:
    """What is heard from the beginning of a run on."""
    for step in (inner for outer in steps for inner in outer.every()):
        if isinstance(step.body, WaitBody) and step.body.event is not None and step.body.from_start:
            yield step.body.event
        yield from (move.on for move in step.moves if move.on is not None)


def segment(name: str) -> str:
    """A step's name as part of a place."""
    return name.replace("%", "%25").replace(".", "%2E").replace("[", "%5B").replace("/", "%2F").replace("!", "%21")


def _expression(source: str | None) -> Expression | None:
    return None if source is None else compile_expression(source)


def _planned(steps: list[Step], parent: str) -> tuple[PlannedStep, ...]:
    return tuple(_step(name, step) for name, step in named(steps, parent))


def _step(name: str, step: Step) -> PlannedStep:
    body = _body(name, step)
    handler = step.on_error
    kind = str(step.action.get("type", "")) if step.action is not None else step.kind or "state"
    return PlannedStep(
        name=name,
        segment=segment(name),
        kind=kind,
        body=body,
        when=_expression(step.when),
        pre=_expression(step.pre),
        post=_expression(step.post),
        timeout=step.timeout,
        retry=step.retry,
        compensate=tuple(_undo(one) for one in step.compensate if one.action is not None),
        undoes_itself=any(one.auto for one in step.compensate),
        continues=handler is not None,
        goto=handler.goto if handler is not None else None,
        handler=_planned(handler.do, f"{name}_error") if handler is not None and handler.do is not None else (),
        depends_on=tuple(step.depends_on),
        at_most_once=step.at_most_once,
        moves=tuple(map(_move, step.transitions or ())),
        final=step.final,
    )


def _body(name: str, step: Step) -> Body | None:
    if step.action is not None:
        return ActionBody(action_template(step.action))
    if step.decision is not None:
        return _decision(name, step.decision)
    if step.parallel is not None:
        return _parallel(name, step.parallel)
    if step.sequence is not None:
        return SequenceBody(_planned(step.sequence, f"{name}_"))
    if step.loop is not None:
        return _loop(name, step.loop)
    if step.wait is not None:
        return _wait(step.wait)
    if step.set is not None:
        return SetBody(Template(step.set))
    if step.compensation is not None:
        return UndoNowBody(None if "all" in step.compensation else frozenset(step.compensation))
    return None


def _decision(name: str, form: Decision) -> DecisionBody:
    branches = {way: Branch(way, _planned(steps, f"{name}_{way}_")) for way, steps in form.branches}
    otherwise = branches.pop("else", None) if form.otherwise is not None else None
    if form.model is None:
        subject = compile_expression(form.condition or form.switch or "")
        return DecisionBody(subject, tuple(branches.values()), otherwise)
    kind = str(form.model.get("type", ""))
    model = PlannedStep(f"{name}_model", "model", kind, ActionBody(action_template(form.model)))
    return DecisionBody(
        _expression(form.label),
        tuple(branches.values()),
        otherwise,
        model,
        _expression(form.sureness),
        form.confidence,
        tuple(form.labels or ()),
    )


def _parallel(name: str, form: Parallel) -> ParallelBody:
    return ParallelBody(_planned(form.steps, f"{name}_"), form.max_concurrency, form.on_failure == "collect")


def _loop(name: str, form: Loop) -> LoopBody:
    items = compile_expression(form.for_each) if isinstance(form.for_each, str) else form.for_each
    return LoopBody(
        items,
        _expression(form.while_),
        _expression(form.until),
        form.as_,
        _planned(form.do, f"{name}_"),
        form.limit,
        form.max_concurrency,
        form.on_failure == "collect",
    )


def _wait(form: Wait) -> WaitBody:
    return WaitBody(
        seconds=None if form.for_ is None else Template(form.for_),
        until=None if form.until is None else Template(form.until),
        event=None if form.event is None else Listening.of(form.event),
        timeout=form.timeout,
        fails=form.on_timeout == "fail",
        from_start=form.since == "start",
        existing=form.existing,
    )


def _undo(form: Undo) -> PlannedUndo:
    assert form.action is not None
    kind = str(form.action.get("type", ""))
    template, when = action_template(form.action), _expression(form.when)
    return PlannedUndo(kind, template, when, form.timeout, form.retry, form.description)


def _move(form: Transition) -> PlannedMove:
    on = None if form.on is None else Listening.of(form.on)
    return PlannedMove(form.to, on, _expression(form.when), form.after, form.error)


def _literal(number: int, action: Mapping[str, Any]) -> PlannedStep:
    kind = str(action.get("type", ""))
    body = ActionBody(Template(dict(action), tuple(action)))
    return PlannedStep(f"{kind}{number}", f"{segment(kind)}{number}", kind, body)
