"""What a definition says of its steps: one model for each thing that a step can be."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from automation import seals
from automation.actions.table import LITERAL, check_action, misplaced_secrets
from automation.expressions import compile_expression
from automation.forms import Condition, Form, Globs, Numbers, Types, also, one_or_more, unwrapped
from automation.quantities import Duration, parse_duration
from automation.templates import Template, TemplateError, write_out

KINDS: Final = ("action", "decision", "parallel", "sequence", "loop", "wait", "set", "compensation")
"""Of these, a step has exactly one."""

MOST_STEPS: Final = 1000


def action_template(action: dict[str, Any]) -> Template:
    """The template of an action's mapping; what holds script text stays as it is."""
    return Template(action, LITERAL.get(str(action.get("type")), ()))


def _check_action(action: dict[str, Any]) -> dict[str, Any]:
    """The action itself; everything that is wrong with it in one error, each problem with its place within."""
    problems: list[tuple[tuple[str | int, ...], str, str]] = []
    try:
        action_template(action)
    except TemplateError as error:
        problems.append((error.place, "template", str(error)))
    try:
        check_action(action)
    except ValidationError as error:
        problems += [(problem["loc"], problem["type"], problem["msg"]) for problem in error.errors()]
    problems += [((field,), "secret", reason) for field, reason in misplaced_secrets(action)]
    if problems:
        raise PydanticCustomError("action", "the action is wrong", {"problems": problems})
    return action


def with_names(value: Any, words: dict[str, str]) -> Any:
    """The values of a definition, its steps named: one without a name by the word of its field, and its number."""
    if not isinstance(value, dict):
        return value
    out = dict(value)
    for field, word in words.items():
        if isinstance(out.get(field), list):
            out[field] = [
                {"name": f"{word}{i}", **step} if isinstance(step, dict) else step
                for i, step in enumerate(out[field], 1)
            ]
    return out


def check_templates(values: dict[str, Any]) -> dict[str, Any]:
    """The values themselves; an error with its place when a template in them is wrong."""
    try:
        Template(values)
    except TemplateError as error:
        raise PydanticCustomError("template", "{reason}", {"reason": str(error), "place": error.place}) from None
    for field, value in values.items():
        name = seals.named(value)
        if name is not None:
            reason = f"the secret '{name}' would be recorded here: name it in the field of the action that takes it"
            raise PydanticCustomError("template", "{reason}", {"reason": reason, "place": (field,)})
    return values


def _expression(text: str) -> str:
    compile_expression(text)
    return text


def _templated(value: object) -> object:
    """A duration, or the template of one."""
    if isinstance(value, str) and "{{" in value:
        Template(value)
        return value
    return parse_duration(value)


def _case_keys(value: object) -> object:
    return {write_out(key): steps for key, steps in value.items()} if isinstance(value, dict) else value


Action = Annotated[dict[str, Any], AfterValidator(_check_action)]
Expression = Annotated[
    str, BeforeValidator(lambda v: unwrapped(v) if isinstance(v, str) else v), AfterValidator(_expression)
]
Steps = Annotated[
    list["Step"],
    BeforeValidator(one_or_more, json_schema_input_type="Step | list[Step]"),
    Field(min_length=1, max_length=MOST_STEPS),
]
LaterDuration = Annotated[float | str, BeforeValidator(_templated, json_schema_input_type=float | str)]
OnFailure = Literal["fail_fast", "collect"]
StepName = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[list[str], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])]
Templates = Annotated[dict[str, Any], AfterValidator(check_templates)]


class Retry(Form):
    """How often a step is tried in all, and the wait between: `backoff`, doubling up to `max_delay`, ± `jitter`.

    `on` and `not_on` are classes of errors; `automation.runner.retry` knows them.
    """

    attempts: int = also("attempts", "max_attempts", default=3, ge=1, le=1000)
    backoff: Duration = 1.0
    factor: float = Field(default=2.0, ge=1, le=100)
    max_delay: Duration = 60.0
    jitter: float = Field(default=0.1, ge=0, le=1)
    on: Names = Field(default_factory=lambda: ["world"])
    not_on: Names = Field(default_factory=list)


def _retries(value: Any) -> Any:
    if isinstance(value, int):
        return {"attempts": value}
    if isinstance(value, dict | Retry):
        return value
    raise ValueError(f"a whole number of attempts or a mapping such as {{attempts: 3, backoff: 1s}}, not {value!r}")


Retries = Annotated[Retry, BeforeValidator(_retries, json_schema_input_type=int | Retry)]


class EventFilter(Form):
    """Which events a run waits for. All that is given must hold; the run's own effects count with `own` only."""

    types: Types = also("types", "on", default_factory=lambda: ["file.closed"])
    path: Globs | None = None
    source: Globs | None = also("from", "source", default=None)
    written: bool | Literal["any"] | None = None
    uid: Numbers | None = None
    comm: Globs | None = None
    where: Condition | None = None
    own: bool = False


def as_filter(value: object) -> object:
    """An event filter's short form: the types alone."""
    return {"types": value} if isinstance(value, str | list) else value


Filter = Annotated[EventFilter, BeforeValidator(as_filter, json_schema_input_type=str | list[str] | EventFilter)]


class Decision(Form):
    """One of several ways: by a condition, by a value, or by what a model says when it is sure enough."""

    condition: Condition | None = also("if", "condition", default=None)
    then: Steps | None = None
    otherwise: Steps | None = also("else", "otherwise", "default", "fallback", default=None)
    switch: Expression | None = None
    model: Action | None = None
    label: Expression | None = None
    sureness: Expression | None = None
    labels: list[str] | None = None
    confidence: float = also("confidence", "confidence_threshold", default=0.5, ge=0, le=1)
    cases: Annotated[dict[str, Steps], BeforeValidator(_case_keys)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Decision:
        given = [name for name in ("condition", "switch", "model") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("a decision has one of 'if', 'switch' and 'model'")
        if given == ["condition"] and (self.then is None or self.cases is not None):
            raise ValueError("'if' goes with 'then' and perhaps 'else'")
        if given != ["condition"] and (self.cases is None or self.then is not None):
            raise ValueError(f"'{given[0]}' goes with 'cases' and perhaps 'else'")
        return self

    @property
    def branches(self) -> list[tuple[str, list[Step]]]:
        """The ways by the names that places use."""
        found = [("then", self.then), *((self.cases or {}).items()), ("else", self.otherwise)]
        return [(name, steps) for name, steps in found if steps is not None]


class Parallel(Form):
    """Steps at the same time, as far as their `depends_on` allows."""

    steps: Steps
    max_concurrency: int = Field(default=16, ge=1, le=1000)
    on_failure: OnFailure = "fail_fast"


def _items(value: object) -> object:
    """A list, or the expression of one."""
    if isinstance(value, str):
        return _expression(unwrapped(value))
    if isinstance(value, list):
        return value
    raise ValueError("a list, or the expression of one")


class Loop(Form):
    """Steps again and again: for each item of a list, or while a condition holds; never more than `limit` times."""

    for_each: Annotated[Any, BeforeValidator(_items, json_schema_input_type=str | list[Any])] = None
    while_: Condition | None = also("while", "while_", default=None)
    until: Condition | None = None
    as_: str | None = also("as", "as_", default=None, pattern="^[A-Za-z_][A-Za-z0-9_]*$")
    do: Steps
    limit: int = Field(default=10_000, ge=1, le=1_000_000)
    max_concurrency: int = Field(default=1, ge=1, le=1000)
    on_failure: OnFailure = "fail_fast"

    @model_validator(mode="after")
    def _one_kind(self) -> Loop:
        if (self.for_each is None) == (self.while_ is None and self.until is None):
            raise ValueError("a loop has either 'for_each', or 'while' or 'until'")
        if self.for_each is None and (self.max_concurrency > 1 or self.as_ is not None):
            raise ValueError("'max_concurrency' and 'as' go with 'for_each'")
        return self


class Wait(Form):
    """A pause: for a time, until a time, or until an event. With `existing` a file that is there already counts, when
    the wait begins and when it goes on after a restart.
    """

    for_: LaterDuration | None = also("for", "for_", default=None)
    until: Any = None
    event: Filter | None = None
    timeout: Duration | None = None
    on_timeout: Literal["fail", "continue"] = "fail"
    since: Literal["now", "start"] = "now"
    existing: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Wait:
        if sum(value is not None for value in (self.for_, self.until, self.event)) != 1:
            raise ValueError("a wait has one of 'for', 'until' and 'event'")
        if self.event is None and self.model_fields_set & {"timeout", "on_timeout", "since", "existing"}:
            raise ValueError("'timeout', 'on_timeout', 'since' and 'existing' go with 'event'")
        if self.existing and (self.event is None or not self.event.path):
            raise ValueError("'existing' needs a 'path' in 'event': which files are meant")
        if self.until is not None:
            check_templates({"until": self.until})
        return self


class Transition(Form):
    """A way out of a state: at once, on an event, after a time, or when the state's step failed."""

    to: StepName
    on: Filter | None = None
    when: Condition | None = also("when", "condition", default=None)
    after: Duration | None = None
    error: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Transition:
        if (self.on is not None) + (self.after is not None) + self.error > 1:
            raise ValueError("a transition has at most one of 'on', 'after' and 'error'")
        return self


class Undo(Form):
    """One action that undoes what a step did; `auto` stands for what the step's action recorded for that."""

    description: str = ""
    action: Action | None = None
    auto: bool = False
    when: Condition | None = also("when", "condition", default=None)
    timeout: Duration = 30.0
    retry: Retries = also("retry", "retry_policy", default=Retry(attempts=1))


def _undo(value: object) -> object:
    """An action alone, in its long form, is an undo; `auto` is what the step's action itself recorded."""
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"'auto' or an action is what undoes a step, not {value!r}")
        return {"auto": True}
    return {"action": value} if isinstance(value, dict) and "type" in value and "action" not in value else value


Undos = Annotated[
    list[Annotated[Undo, BeforeValidator(_undo, json_schema_input_type=str | dict[str, Any] | Undo)]],
    BeforeValidator(one_or_more, json_schema_input_type=str | dict[str, Any] | list[str | dict[str, Any]]),
]


class Handler(Form):
    """What is done instead of failing: nothing, other steps, or going on at a later one."""

    goto: StepName | None = None
    do: Steps | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Handler:
        if self.goto is not None and self.do is not None:
            raise ValueError("an error is handled by either 'goto' or 'do'")
        return self


def _handler(value: object) -> object:
    """`fail` is nothing that handles an error, `continue` does nothing about it."""
    if value is None or isinstance(value, dict | Handler):
        return value
    if value not in ("fail", "continue"):
        raise ValueError("'fail', 'continue', or a mapping with 'do' or 'goto'")
    return None if value == "fail" else {}


class Step(Form):
    """One effect, decision, wait or group of steps. `compensate` undoes it when a later step fails."""

    name: StepName | None = None
    description: str = ""
    step_type: Literal["action", "decision", "parallel", "sequence", "loop", "wait", "set", "compensation"] | None = (
        None
    )
    action: Action | None = None
    decision: Decision | None = None
    parallel: (
        Annotated[
            Parallel,
            BeforeValidator(
                lambda v: {"steps": v} if isinstance(v, list) else v, json_schema_input_type="list[Step] | Parallel"
            ),
        ]
        | None
    ) = None
    sequence: Steps | None = None
    loop: Loop | None = None
    wait: (
        Annotated[
            Wait,
            BeforeValidator(
                lambda v: v if isinstance(v, dict | Wait) else {"for": v}, json_schema_input_type=float | str | Wait
            ),
        ]
        | None
    ) = None
    set: Templates | None = None
    compensation: Names | None = None
    when: Condition | None = also("when", "condition", "guard", default=None)
    pre: Condition | None = also("pre", "precondition", default=None)
    post: Condition | None = also("post", "postcondition", default=None)
    timeout: Duration | None = None
    retry: Retries = also("retry", "retry_policy", default=Retry(attempts=1))
    compensate: Undos = Field(default_factory=list)
    on_error: Annotated[Handler | None, BeforeValidator(_handler, json_schema_input_type=str | Handler)] = None
    depends_on: Names = Field(default_factory=list)
    at_most_once: bool = False
    transitions: list[Transition] | None = None
    final: Literal["succeeded", "failed"] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Step:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"a step is one thing: give either '{given[0]}' or '{given[1]}'")
        if self.step_type is not None and given != [self.step_type]:
            raise ValueError(f"the step_type is '{self.step_type}', so the step needs '{self.step_type}'")
        if not given and self.transitions is None and self.final is None:
            reason = "a step needs an action, for instance 'copy: {source: a, target: b}'"
            raise PydanticCustomError("template", "{reason}", {"reason": reason, "place": ("action",)})
        return self

    @property
    def kind(self) -> str:
        """Which of `KINDS` it is; empty for a state that only waits or ends."""
        return next((name for name in KINDS if getattr(self, name) is not None), "")

    @property
    def groups(self) -> list[tuple[tuple[str | int, ...], list[Step]]]:
        """The lists of steps within it, each with the way to it."""
        found: list[tuple[tuple[str | int, ...], list[Step] | None]] = [(("sequence",), self.sequence)]
        if self.decision is not None:
            found += [(("decision", name), steps) for name, steps in self.decision.branches]
        if self.parallel is not None:
            found.append((("parallel", "steps"), self.parallel.steps))
        if self.loop is not None:
            found.append((("loop", "do"), self.loop.do))
        if self.on_error is not None:
            found.append((("on_error", "do"), self.on_error.do))
        return [(way, steps) for way, steps in found if steps is not None]


def named(steps: list[Step], parent: str) -> list[tuple[str, Step]]:
    """Steps with their names; what has none is called after what it is in."""
    return [(step.name or f"{parent}{i}", step) for i, step in enumerate(steps, 1)]


for _form in (Decision, Parallel, Loop, Handler, Step):
    _form.model_rebuild()
