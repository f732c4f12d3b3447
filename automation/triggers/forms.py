"""What a definition says of its triggers: one model a kind.

Those on what comes from outside, from analytics and from models are event triggers in other words: `as_event` says in
which.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal

import croniter
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from automation.forms import KEYS, Condition, Form, Globs, Numbers, Types, also, checked_key, one_or_more, time_zone
from automation.patterns.table import Inline, is_inline
from automation.quantities import Duration, SizeTest
from automation.triggers.comparisons import Operator, check_operands, parse_operator

Key = Annotated[str, AfterValidator(checked_key)]
Texts = Annotated[list[str], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])]
Anomaly = Literal[
    "volume_spike", "volume_drop", "latency_spike", "error_rate", "unusual_pattern", "resource_exhaustion"
]
SEVERITIES: Final = ("low", "medium", "high", "critical")


def _cron(text: str) -> str:
    try:
        croniter.croniter(text, 0.0).get_next(float)
    except (croniter.CroniterError, ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no cron expression ({error}); write for instance '0 3 * * *'") from None
    return text


class EventTrigger(Form):
    """Fires on events. All that is given must hold; see docs/definitions.md for each field."""

    type: Literal["event"] = "event"
    types: Types = also("types", "on", default_factory=lambda: ["file.closed"])
    path: Globs | None = None
    source: Globs | None = also("from", "source", default=None)
    size: SizeTest | None = None
    written: bool | Literal["any"] | None = None
    uid: Numbers | None = None
    comm: Globs | None = None
    where: Condition | None = None
    settle: Duration | None = None
    debounce: Duration | None = None
    cooldown: Duration | None = None
    key: Key = KEYS["path"]
    backfill: Literal["existing"] | None = None
    own: bool = False
    failed: bool = False


class ScheduleTrigger(Form):
    """Fires at the times of a cron expression or at a steady pace."""

    type: Literal["schedule"] = "schedule"
    cron: Annotated[str, AfterValidator(_cron)] | None = also("cron", "cron_expression", default=None)
    every: Annotated[Duration, Field(ge=1)] | None = None
    timezone: Annotated[str, AfterValidator(time_zone)] | None = None
    jitter: Duration = 0.0
    catch_up: Literal["none", "once", "all"] = "none"

    @model_validator(mode="after")
    def _one_pace(self) -> ScheduleTrigger:
        if (self.cron is None) == (self.every is None):
            raise ValueError("give either 'cron' or 'every'")
        return self


class PatternTrigger(Form):
    """Fires on the matches of a pattern, given by name or in full, that are at least so sure."""

    type: Literal["pattern"] = "pattern"
    pattern: Inline = also("pattern", "pattern_id")
    confidence_threshold: float = Field(default=0.0, ge=0, le=1)
    cooldown: Duration | None = None
    key: Key = KEYS["path"]
    own: bool = False

    def pattern_name(self, workflow: str, number: int) -> str:
        """The pattern's name; what is given in full is called after the workflow and the trigger's number."""
        return f"{workflow}#{number}" if is_inline(self.pattern) else str(self.pattern)


class StateTrigger(Form):
    """Fires when a value of the shared state begins to compare so, and has done so for `held`; without an operator at
    each change. `tolerance` is how far a number must go back before it can fire again, or how far equal ones may lie
    apart.
    """

    type: Literal["state_change"] = "state_change"
    state_path: Annotated[str, Field(min_length=1, max_length=1000)] = also("state_path", "path")
    operator: Annotated[
        Operator | None, BeforeValidator(lambda v: None if v is None else parse_operator(v), json_schema_input_type=str)
    ] = None
    value: Any = None
    tolerance: float = Field(default=0.0, ge=0)
    held: Duration = also("held", "for", default=0.0)
    cooldown: Duration | None = None
    own: bool = False

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        """The seed keeps operator, value and tolerance in `condition`."""
        if not isinstance(value, dict) or not isinstance(value.get("condition"), dict):
            return value
        rest = {name: item for name, item in value.items() if name != "condition"}
        return {**rest, **{name: item for name, item in value["condition"].items() if item is not None}}

    @model_validator(mode="after")
    def _comparable(self) -> StateTrigger:
        if self.operator is not None:
            check_operands(self.operator, self.value, self.tolerance)
        elif self.model_fields_set & {"value", "tolerance"}:
            raise ValueError("a value needs an 'operator', for instance '>'")
        return self


class ExternalTrigger(Form):
    """Fires on events from outside: CloudEvents written to `/.vexfs/inbox` or posted to the endpoint."""

    type: Literal["external_event"] = "external_event"
    source: Texts = also("source", "event_source", default_factory=list)
    event_type: Texts = Field(default_factory=list)
    filter: dict[str, Any] = also("filter", "event_filter", default_factory=dict)
    where: Condition | None = None
    debounce: Duration | None = None
    cooldown: Duration | None = None
    key: Key = "event.attrs.source"

    def as_event(self) -> EventTrigger:
        """The event trigger that says the same."""
        tests = [_globbed("source", self.source), _globbed("type", self.event_type)]
        tests += [f"{_field(path)} == {_literal(value)}" for path, value in self.filter.items()]
        return _event_trigger("external.received", [*tests, self.where], self)


class AnomalyTrigger(Form):
    """Fires on anomalies of these kinds that are at least so severe: a name, or a score from 0 to 1."""

    type: Literal["anomaly"] = "anomaly"
    anomaly_type: Annotated[
        list[Anomaly],
        BeforeValidator(one_or_more, json_schema_input_type=str | list[str]),
    ] = Field(default_factory=list)
    severity_threshold: Literal["low", "medium", "high", "critical"] | Annotated[float, Field(ge=0, le=1)] = "low"
    stream: Texts = Field(default_factory=list)
    where: Condition | None = None
    debounce: Duration | None = None
    cooldown: Duration | None = None
    key: Key = "event.attrs.?stream.orValue('')"

    def as_event(self) -> EventTrigger:
        """The event trigger that says the same."""
        tests = [f"{_field('anomaly_type')} in {_literal(self.anomaly_type)}" if self.anomaly_type else None]
        if isinstance(self.severity_threshold, str):
            enough = SEVERITIES[SEVERITIES.index(self.severity_threshold) :]
            tests.append(f"{_field('severity')} in {_literal(list(enough))}")
        else:
            tests.append(f"{_field('score', '0.0')} >= {float(self.severity_threshold)!r}")
        return _event_trigger("anomaly.detected", [*tests, _globbed("stream", self.stream), self.where], self)


class PredictionTrigger(Form):
    """Fires on the predictions of a model that are at least so sure."""

    type: Literal["ml_prediction"] = "ml_prediction"
    model: Texts = also("model", "model_id", default_factory=list)
    prediction_type: Texts = Field(default_factory=list)
    confidence_threshold: float = Field(default=0.0, ge=0, le=1)
    where: Condition | None = None
    debounce: Duration | None = None
    cooldown: Duration | None = None
    key: Key = "event.attrs.?model.orValue('')"

    def as_event(self) -> EventTrigger:
        """The event trigger that says the same."""
        tests = [
            _globbed("model", self.model),
            f"{_field('prediction_type')} in {_literal(self.prediction_type)}" if self.prediction_type else None,
            f"{_field('confidence', '0.0')} >= {self.confidence_threshold!r}" if self.confidence_threshold else None,
        ]
        return _event_trigger("prediction.made", [*tests, self.where], self)


def _event_trigger(
    type_name: str, tests: list[str | None], form: ExternalTrigger | AnomalyTrigger | PredictionTrigger
) -> EventTrigger:
    where = " && ".join(f"({test})" for test in tests if test) or None
    return EventTrigger(types=[type_name], where=where, debounce=form.debounce, cooldown=form.cooldown, key=form.key)


def _globbed(field: str, patterns: list[str]) -> str | None:
    """CEL: whether the text of a field matches one of the shell patterns (in which `*` matches slashes too)."""
    if not patterns:
        return None
    expression = "|".join(_expression(pattern) for pattern in patterns)
    return f"string({_field(field)}).matches({_literal(f'^(?s:{expression})$')})"


def _expression(pattern: str) -> str:
    """A shell pattern as a regular expression that RE2 takes."""
    parts = re.split(r"([*?])", pattern)
    return "".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in parts)


def _field(path: str, default: str = "dyn(null)") -> str:
    """CEL: an attribute of an event by its dotted path."""
    steps = "".join(f"[?{_literal(name)}]" for name in path.split("."))
    return f"event.attrs{steps}.orValue({default})"


def _literal(value: Any) -> str:
    return json.dumps(value)  # JSON is CEL


class ManualTrigger(Form):
    """Fires only by `run NAME`; `input` are the defaults that the command's JSON overrides."""

    type: Literal["manual"] = "manual"
    input: dict[str, Any] = Field(default_factory=dict)


_ALIASES: Final = {"event_pattern": "pattern", "prediction": "ml_prediction", "state": "state_change"}
_TELLING: Final = (  # a field that only one kind has → the kind
    ("pattern", "pattern"),
    ("pattern_id", "pattern"),
    ("state_path", "state_change"),
    ("cron", "schedule"),
    ("cron_expression", "schedule"),
    ("every", "schedule"),
    ("event_source", "external_event"),
    ("anomaly_type", "anomaly"),
    ("model_id", "ml_prediction"),
)


def _with_type(value: object) -> object:
    """A trigger that does not say its type is of the kind that one of its fields tells, otherwise on events."""
    if not isinstance(value, dict):
        return value
    if "type" not in value:
        return {"type": next((kind for field, kind in _TELLING if field in value), "event"), **value}
    return {**value, "type": _ALIASES.get(str(value["type"]), value["type"])}


DerivedTrigger = ExternalTrigger | AnomalyTrigger | PredictionTrigger
Trigger = Annotated[
    Annotated[
        EventTrigger | PatternTrigger | ScheduleTrigger | StateTrigger | DerivedTrigger | ManualTrigger,
        Field(discriminator="type"),
    ],
    BeforeValidator(_with_type),
]


class Join(Form):
    """How many different triggers must fire for one run; `within` bounds how far apart, `by` says which go together."""

    require: Literal["all"] | Annotated[int, Field(ge=1, le=100)] = "all"
    within: Duration | None = None
    by: Key | None = None
