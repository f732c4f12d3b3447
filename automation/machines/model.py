"""What a person writes for a machine: pydantic models of the YAML and JSON notation (docs/machines.md)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from automation.actions.table import ACTIONS, ALIASES
from automation.events import EVENT_TYPES, known
from automation.expressions import nearest
from automation.forms import Condition, Form, Globs, Name, also
from automation.machines.expressions import compile_template, compile_when
from automation.machines.machine import MOST_INSTANCES, key_of
from automation.quantities import Duration, parse_duration
from automation.step_forms import Action

_GROUPS = frozenset(name.partition(".")[0] for name in EVENT_TYPES) - {"user"}


def _listed(value: object) -> object:
    if value is None:
        return []
    return value if isinstance(value, list | tuple) else [value]


def _when(source: str) -> str:
    bare = source.strip()
    if bare.startswith("{{") and bare.endswith("}}"):
        bare = bare[2:-2].strip()
    compile_when(bare)
    return bare


def _event_names(text: str) -> str:
    """Descriptors apart by spaces. A name of VexFS's own groups must be one that exists; others are the machine's."""
    if not text.split():
        raise ValueError("the name of an event is missing; '*' stands for all")
    for name in text.split():
        bare = name.removesuffix(".*") or "*"
        if bare == "*":
            continue
        if bare.partition(".")[0] in _GROUPS and not known(bare):
            raise ValueError(f"there is no event type {bare!r}{nearest(bare, EVENT_TYPES)}")
        if not bare.isprintable() or "*" in bare or not all(bare.split(".")):
            raise ValueError(
                f"{name!r} is no name of an event; write for instance 'file.closed', 'file.*' or 'approve'"
            )
    return text


def _own_event(name: str) -> str:
    if not name.isprintable() or not name or any(char in name for char in " */") or not all(name.split(".")):
        raise ValueError(f"{name!r} is no name of an event; write for instance 'retry' or 'upload.failed'")
    return name


def _state_name(name: str) -> str:
    if not name or not name.isprintable() or any(char.isspace() or char in "#'\"" for char in name):
        raise ValueError(f"{name!r} is no name of a state; write a word such as 'waiting'")
    return name


def _delay(text: str) -> str:
    parse_duration(text)
    return text


def _templates(values: dict[str, Any]) -> dict[str, Any]:
    problems = []
    for name, value in values.items():
        try:
            compile_template(value)
        except ValueError as error:
            problems.append(((name,), "template", str(error)))
    if problems:
        raise PydanticCustomError("action", "an expression is wrong", {"problems": problems})
    return values


def _key(text: str | None) -> str | None:
    if text in (None, "none", "machine"):
        return None
    key_of(text)
    return text


When = Annotated[str, AfterValidator(_when)]
OwnEvent = Annotated[str, AfterValidator(_own_event)]
StateName = Annotated[str, AfterValidator(_state_name)]
Templates = Annotated[dict[str, Any], AfterValidator(_templates)]
Targets = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])]


class Send(Form):
    """An event that the machine sends to itself, after a while; `cancel` with its `id` takes it back."""

    event: OwnEvent
    after: Duration = also("after", "delay", default=0.0)
    data: Templates = Field(default_factory=dict)
    id: str = ""


class Doing(Form):
    """One thing to do; exactly one of the fields, `then` and `else` beside `if`."""

    action: Action | None = None
    assign: Templates | None = None
    raise_: Send | None = also("raise", default=None)
    send: Send | None = None
    cancel: str | None = None
    if_: When | None = also("if", default=None)
    then: Doings = Field(default_factory=list)
    else_: Doings = also("else", default=[])

    @model_validator(mode="before")
    @classmethod
    def _long(cls, value: Any) -> Any:
        """`copy: {…}` → `action: {type: copy, …}`, `raise: retry` → `raise: {event: retry}`."""
        if not isinstance(value, dict):
            raise ValueError("a mapping such as 'copy: {…}', 'assign: {…}' or 'raise: NAME' is expected")  # noqa: TRY004
        out = dict(value)
        if "type" in out:
            return {"action": out}
        for name in ("raise", "send"):
            if isinstance(out.get(name), str):
                out[name] = {"event": out[name]}
        short = action_name(out)
        if short is not None:
            given = out.pop(short)
            if short == "log" and isinstance(given, str):
                given = {"message": given}
            if not isinstance(given, dict):
                raise ValueError(f"'{short}' needs its parameters as a mapping")
            out["action"] = {"type": short, **given}
        return out

    @model_validator(mode="after")
    def _one(self) -> Doing:
        given = [self.action, self.assign, self.raise_, self.send, self.cancel, self.if_]
        if sum(one is not None for one in given) != 1:
            raise ValueError("give exactly one of an action, assign, raise, send, cancel and if")
        if self.if_ is None and (self.then or self.else_):
            raise ValueError("'then' and 'else' go with 'if'")
        if self.raise_ is not None and (self.raise_.after or self.raise_.id):
            raise ValueError("a raised event comes at once; use 'send' for a later one")
        return self


def action_name(value: dict[str, Any]) -> str | None:
    """The key of a mapping that is an action in its short form."""
    found = [key for key in value if key in ACTIONS or key in ALIASES]
    return found[0] if len(found) == 1 else None


Doings = Annotated[list[Doing], BeforeValidator(_listed, json_schema_input_type=Doing | list[Doing])]


class Transition(Form):
    """Where to go, on which condition, and what to do on the way; without `target` the states stay."""

    target: Targets = also("target", "to", default=[])
    when: When | None = also("when", "condition", "guard", "cond", default=None)
    do: Doings = also("do", "actions", default=[])
    internal: bool = False
    description: str = ""


def _transitions(value: object) -> object:
    return [{"target": one} if isinstance(one, str) else one for one in _listed(value)]  # type: ignore[attr-defined]


Transitions = Annotated[
    list[Transition], BeforeValidator(_transitions, json_schema_input_type=str | Transition | list[str | Transition])
]


class State(Form):
    """One state. Its type follows from what it has, but for parallel and final ones."""

    description: str = ""
    initial: Targets = Field(default_factory=list)
    states: dict[StateName, State] = Field(default_factory=dict)
    on: dict[Annotated[str, AfterValidator(_event_names)], Transitions] = Field(default_factory=dict)
    always: Transitions = Field(default_factory=list)
    entry: Doings = Field(default_factory=list)
    exit: Doings = Field(default_factory=list)
    type: Literal["atomic", "compound", "parallel", "final", "history"] | None = None
    history: Literal["shallow", "deep"] | None = None
    target: Targets = Field(default_factory=list)
    after: dict[Annotated[str, AfterValidator(_delay)], Transitions] = Field(default_factory=dict)
    done: Transitions = also("done", "on_done", default=[])
    data: Templates | None = None

    @model_validator(mode="before")
    @classmethod
    def _nothing(cls, value: Any) -> Any:
        """`waiting:` alone is a state without anything."""
        return {} if value is None else value

    @model_validator(mode="after")
    def _fits(self) -> State:
        if self.type == "history" or self.history is not None:
            if self.type not in (None, "history") or self.model_fields_set - {
                "type",
                "history",
                "target",
                "description",
            }:
                raise ValueError("a history state has only 'history' (shallow or deep) and 'target', its default")
        elif self.target:
            raise ValueError("'target' is for history states; a transition stands under 'on', 'after' or 'always'")
        if self.type == "final" and self.model_fields_set - {"type", "entry", "exit", "data", "description"}:
            raise ValueError("a final state has only 'entry', 'exit' and 'data'")
        if self.type != "final" and self.data is not None:
            raise ValueError("'data' is for final states")
        if self.type == "atomic" and self.states:
            raise ValueError("an atomic state has no states of its own")
        if self.type in ("compound", "parallel") and not self.states:
            raise ValueError(f"a {self.type} state needs 'states'")
        if self.initial and (self.type == "parallel" or not self.states):
            raise ValueError("'initial' is for states that have others, one of them active at a time")
        return self


class MachineForm(Form):
    """A whole definition of kind `machine`: `states`, or an SCXML document as `scxml`."""

    kind: Literal["machine"] = "machine"
    name: Name
    description: str = ""
    initial: Targets = Field(default_factory=list)
    states: dict[StateName, State] = Field(default_factory=dict)
    on: dict[Annotated[str, AfterValidator(_event_names)], Transitions] = Field(default_factory=dict)
    always: Transitions = Field(default_factory=list)
    entry: Doings = Field(default_factory=list)
    exit: Doings = Field(default_factory=list)
    key: Annotated[str | None, AfterValidator(_key)] = "path"
    path: Globs | None = None
    where: Condition | None = None
    limit: int = Field(default=10_000, ge=1, le=MOST_INSTANCES)
    own: bool = False
    failed: bool = False
    enabled: bool = True
    vars: dict[str, Any] = Field(default_factory=dict)
    scxml: str | None = None
    type: Literal["compound", "parallel"] = "compound"
    tenant_id: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> MachineForm:
        if (self.scxml is None) == (not self.states):
            raise ValueError("give 'states', or a document as 'scxml'")
        if self.type == "parallel" and self.initial:
            raise ValueError("of a parallel machine every state is active; it has no 'initial'")
        return self
