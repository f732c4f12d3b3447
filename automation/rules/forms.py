"""What a person writes under `rules:`; see docs/rules.md for each field. Texts of conditions are examined in `book`,
where the lists and macros that they use are known.
"""

# ruff: noqa: RUF012 - pydantic copies its models' defaults
from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from automation.forms import KEYS, Form, Name, Types, also, one_or_more
from automation.quantities import Duration, SizeTest
from automation.rules.windows import Window
from automation.step_forms import Step, with_names

Texts = Annotated[list[str], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])]
Users = Annotated[list[int | str], BeforeValidator(one_or_more, json_schema_input_type=int | str | list[int | str])]
Priority = Literal["low", "normal", "high", "critical"]
COMPARISONS: Final = ("=", "==", "!=", "<", "<=", ">", ">=", "in", "startswith", "endswith", "contains", "glob")
Comparison = Literal["=", "==", "!=", "<", "<=", ">", ">=", "in", "startswith", "endswith", "contains", "glob"]


class StateTest(Form):
    """A comparison with a variable of the shared state; all that are given must hold. A missing variable is null."""

    name: str = also("name", "path", min_length=1)
    equals: Any = also("equals", "is", default=None)
    differs: Any = also("differs", "is_not", "not", default=None)
    among: Annotated[list[Any], BeforeValidator(one_or_more)] | None = also("among", "in", default=None)
    above: float | None = None
    below: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _something(self) -> StateTest:
        if not self.model_fields_set - {"name"}:
            raise ValueError("say what the variable is compared with: equals, differs, among, above, below …")
        return self


class MachineTest(Form):
    """Whether a machine's instance for the event stands in one of some states. Where there is none, it does not."""

    name: str = also("name", "machine", min_length=1)
    states: Annotated[
        list[str], BeforeValidator(one_or_more, json_schema_input_type=str | list[str]), Field(min_length=1)
    ] = also("in", "state", "states")


def as_tree(value: Any) -> Any:
    """A condition's short forms in its long one: text is CEL, a list is a conjunction."""
    return {"cel": value} if isinstance(value, str) else {"all": value} if isinstance(value, list) else value


class Tree(Form):
    """One condition: CEL, a window of time, a test of the state or of a machine, or others joined by `all`, `any`,
    `none`.
    """

    cel: str | None = None
    all: list[Node] | None = None
    any: list[Node] | None = None
    none: list[Node] | None = None
    time: Annotated[
        Window | None,
        BeforeValidator(lambda v: {"between": v} if isinstance(v, str) else v, json_schema_input_type=str | Window),
    ] = None
    state: StateTest | None = None
    machine: MachineTest | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Tree:
        if len(self.model_fields_set) != 1:
            raise ValueError("a condition is text (CEL) or has one of: all, any, none, time, state, machine")
        return self


Node = Annotated[Tree, BeforeValidator(as_tree, json_schema_input_type=str | list[Any] | Tree)]
Tree.model_rebuild()


class RuleException(Form):
    """Tuples of values that silence a rule, as Falco has them: for `fields: [comm, path]` and `comps: [in, startswith]`
    an item of `values` is `[[cp, mv], "inbox/"]`. With one field, the items are its values.
    """

    name: Name
    fields: Annotated[Texts, Field(min_length=1)]
    comps: Annotated[list[Comparison], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])] = []
    values: list[Any]

    @model_validator(mode="after")
    def _alike(self) -> RuleException:
        if self.comps and len(self.comps) != len(self.fields):
            raise ValueError("give one comparison for each field")
        for item in self.values:
            if len(self.fields) > 1 and (not isinstance(item, list) or len(item) != len(self.fields)):
                raise ValueError(f"{item!r} needs {len(self.fields)} values, one for each field")
        return self

    @property
    def comparisons(self) -> list[str]:
        """One for each field: equality, or for a lone field membership, unless said otherwise."""
        return list(self.comps) or (["in"] if len(self.fields) == 1 else ["="] * len(self.fields))


class RuleForm(Form):
    """One rule."""

    name: Name
    description: str = ""
    type: Literal["reactive", "proactive", "conditional", "workflow", "feedback_loop"] = "reactive"
    priority: Priority = "normal"
    on: Types = also("on", "types", "triggers", default_factory=lambda: ["file.closed"])
    every: Annotated[Duration, Field(ge=1)] | None = None
    paths: Texts = also("paths", "path", default=[])
    exclude: Texts = []
    source: Texts = also("from", "source", default=[])
    size: SizeTest | None = None
    uid: Users = []
    gid: Users = []
    comm: Texts = []
    tenant: Texts = []
    conditions: Annotated[Tree | None, BeforeValidator(as_tree, json_schema_input_type=str | list[Any] | Tree)] = also(
        "conditions", "condition", "when", "where", default=None
    )
    exceptions: list[RuleException] = []
    key: str | None = None
    cooldown: Duration | None = None
    max_per_hour: Annotated[int, Field(ge=1, le=100_000)] | None = also(
        "max_per_hour", "max_executions_per_hour", default=None
    )
    max_failures: int = Field(default=5, ge=1, le=1000)
    actions: list[Step] = Field(default=[], max_length=1000)
    otherwise: list[Step] = Field(default=[], max_length=1000)
    workflow: Name | None = None
    own: bool = False
    failed: bool = False
    enabled: bool = True
    metadata: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _named_steps(cls, value: Any) -> Any:
        """Actions without a name are called step1, step2 …"""
        return with_names(value, {"actions": "step", "otherwise": "step"})

    @model_validator(mode="after")
    def _fits_its_type(self) -> RuleForm:
        match self.type:
            case "conditional" | "feedback_loop" if self.conditions is None:
                raise ValueError(f"a {self.type} rule needs 'conditions'")
            case "feedback_loop" if self.cooldown is None and self.max_per_hour is None:
                raise ValueError("a feedback_loop rule needs 'cooldown' or 'max_per_hour' to damp it")
            case "proactive" if self.every is None:
                raise ValueError("a proactive rule needs 'every', how often its conditions are looked at")
            case "workflow" if self.workflow is None:
                raise ValueError("a rule of type workflow needs 'workflow', the name of the one to start")
        if self.every is not None and self.type != "proactive":
            raise ValueError("'every' belongs to proactive rules")
        if self.otherwise and self.type != "feedback_loop":
            raise ValueError("'otherwise' belongs to feedback_loop rules")
        if self.workflow is not None and (self.type != "workflow" or self.actions):
            raise ValueError("'workflow' belongs to rules of type workflow, which have no actions of their own")
        return self

    @property
    def listens(self) -> tuple[str, ...]:
        """The event types that it is filed under; a proactive rule without `on` hears none."""
        return () if self.type == "proactive" and "on" not in self.model_fields_set else tuple(dict.fromkeys(self.on))


RULE_KEYS: Final = {"rule": "''", **KEYS}


class ListForm(Form):
    """A named list. `append` adds to one of another file, `override` takes its place; else it must be the only one."""

    items: Annotated[list[str | int], BeforeValidator(one_or_more, json_schema_input_type=list[str | int])]
    append: bool = False
    override: bool = False


class MacroForm(Form):
    """A named condition; `override` takes the place of one of another file."""

    condition: str = Field(min_length=1)
    override: bool = False
