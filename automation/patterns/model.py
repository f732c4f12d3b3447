"""The form of a pattern in YAML and JSON: what a user writes, validated, before it is compiled.

Durations are text such as `90s` (or seconds) on the way in, whole nanoseconds in the model, text again on the way out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator, model_validator

from automation.patterns.elements import Contiguity
from automation.patterns.skipping import Strategy
from automation.quantities import parse_duration, parse_size

MOST_ANY_ORDER: Final = 8
MOST_REPEATS: Final = 10_000
MOST_STEPS: Final = 100
RESERVED: Final = frozenset(("event", "steps", "attrs", "true", "false", "null", "and", "or", "not", "in"))
_TYPE: Final = re.compile(r"\*|[\w-]+(\.[\w-]+)*(\.\*)?")
_UNITS: Final = (("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000))


def format_duration(ns: int) -> str:
    """The shortest exact text of a duration, `10m`, `1500ms`; `parse_duration` reads it back."""
    for unit, size in _UNITS:
        if ns and ns % size == 0:
            return f"{ns // size}{unit}"
    whole, rest = divmod(ns, 1_000_000)
    return f"{whole}ms" if not rest else f"{whole}.{rest:06d}".rstrip("0") + "ms"


def _nanoseconds(value: object) -> int:
    ns = round(parse_duration(value) * 1_000_000_000)
    if ns <= 0:
        raise ValueError("a window is longer than nothing")
    return ns


def _lateness(value: object) -> int:
    return round(parse_duration(value) * 1_000_000_000)


def _names(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Text = PlainSerializer(format_duration, return_type=str, when_used="unless-none")
Window = Annotated[int, BeforeValidator(_nanoseconds, json_schema_input_type=float | str), _Text]
Lateness = Annotated[int, BeforeValidator(_lateness, json_schema_input_type=float | str), _Text]
Names = Annotated[list[str], BeforeValidator(_names, json_schema_input_type=str | list[str])]


class Repeat(BaseModel):
    """How often a step occurs: `+`, `*`, `?`, `3`, `{2,5}`, `{2,}` or `{min: 2, max: 5}` (no max: without end)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: int = Field(1, ge=0, le=MOST_REPEATS)
    max: int | None = Field(None, ge=1, le=MOST_REPEATS)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | str):
            return value
        text = str(value).strip()
        short = {"+": (1, None), "*": (0, None), "?": (0, 1)}
        if text in short:
            return {"min": short[text][0], "max": short[text][1]}
        match = re.fullmatch(r"\{?\s*(\d+)\s*(?:(,)\s*(\d*)\s*)?\}?", text)
        if match is None:
            raise ValueError(f"{value!r} is no count; write '+', '*', '?', 3, '{{2,5}}' or '{{2,}}'")
        return {"min": int(match[1]), "max": (int(match[3]) if match[3] else None) if match[2] else int(match[1])}

    @model_validator(mode="after")
    def _ordered(self) -> Repeat:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"at least {self.min} and at most {self.max} times cannot be")
        return self


class Step(BaseModel):
    """One part of a pattern: an event (`event`, `path`, `where`), or `group`, `any_of`, `all_of` of other parts."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    step: str = Field("", description="its name in the match")
    alias: str = Field("", alias="as", description="a short name for conditions")
    event: Names = Field(default=[], description="event types, each standing for all below it; none: any type")
    path: Names = Field(default=[], description="path globs")
    where: str = Field("", description="a condition on the event and on earlier ones of the same match")
    follows: Contiguity = Field(Contiguity.RELAXED, description="what may lie between the step before and this one")
    gap: Window | None = Field(None, description="the longest wait for each event of this step since the one before")
    absent: bool = Field(False, description="no such event may come here")
    optional: bool = Field(False, description="the match goes on without it, too")
    repeat: Repeat | None = Field(None, description="how often it occurs")
    inner: Contiguity = Field(Contiguity.RELAXED, description="what may lie between repetitions")
    every: Window | None = Field(None, description="the longest wait for a repetition, with the reach of Flink's")
    greedy: bool = Field(False, description="repeat as long as possible before the next step begins")
    until: str = Field("", description="a condition that ends the repetition")
    group: list[Step] = Field(default=[], description="steps that occur one after the other, as one part")
    any_of: list[list[Step]] = Field(default=[], description="one of these steps or sequences")
    all_of: list[Step] = Field(default=[], description="all of these steps, in any order")

    @field_validator("any_of", mode="before")
    @classmethod
    def _sequences(cls, value: Any) -> Any:
        return [item if isinstance(item, list) else [item] for item in value] if isinstance(value, list) else value

    @field_validator("where", "until")
    @classmethod
    def _stripped(cls, value: str) -> str:
        return value.strip()

    @field_validator("event")
    @classmethod
    def check_types(cls, value: list[str]) -> list[str]:
        """Raises ValueError for a name that no event type can have."""
        for name in value:
            if not _TYPE.fullmatch(name):
                raise ValueError(f"{name!r} is no event type; write for instance 'file.closed' or 'user.upload'")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Step:
        self._settle_repeat()
        parts = [name for name in ("group", "any_of", "all_of") if getattr(self, name)]
        if len(parts) > 1:
            raise ValueError(f"{' and '.join(parts)} exclude each other")
        if parts:
            self._check_composite(parts[0])
        elif not self.step:
            raise ValueError("a step needs a name (`step`)")
        if self.absent and (self.repeat or self.optional or parts):
            raise ValueError(f"{self.step!r}: what must be absent is one event, neither repeated nor optional")
        if self.absent and self.follows is Contiguity.ANY:
            raise ValueError(f"{self.step!r}: an absence follows `strict` (the next event) or `relaxed`")
        if not self.repeat:
            for name in ("every", "greedy", "until"):
                if getattr(self, name):
                    raise ValueError(f"{self.step or parts[0]!r}: {name} needs a repeated step (`repeat`)")
            if self.inner is not Contiguity.RELAXED and not self.all_of:
                raise ValueError(f"{self.step or parts[0]!r}: inner needs a repeated step (`repeat`)")
        return self

    def _settle_repeat(self) -> None:
        """Zero times means optional; exactly once means no repetition."""
        if self.repeat and self.repeat.min == 0:
            self.optional, self.repeat = True, Repeat(min=1, max=self.repeat.max)
        if self.repeat and self.repeat.min == self.repeat.max == 1 and not (self.until or self.every or self.greedy):
            self.repeat = None

    def _check_composite(self, part: str) -> None:
        for name in ("step", "alias", "event", "path", "where"):
            if getattr(self, name):
                raise ValueError(f"{part} has no {name} of its own; give it to the steps inside")
        if self.greedy:
            raise ValueError(f"{part} cannot be greedy")
        sequences = [self.group] if self.group else self.any_of
        for sequence in sequences:
            check_sequence(sequence, f"the first step of {part}")
        if self.any_of and len(self.any_of) < 2:
            raise ValueError("any_of needs at least two alternatives")
        if self.all_of:
            self._check_all_of()

    def _check_all_of(self) -> None:
        if not 2 <= len(self.all_of) <= MOST_ANY_ORDER:
            raise ValueError(f"all_of takes 2 to {MOST_ANY_ORDER} steps")
        for step in self.all_of:
            if step.parts or step.absent or step.optional or step.repeat or step.gap or not step.heads:
                raise ValueError("all_of takes plain steps: no groups, absences, repetitions or gaps inside")

    @property
    def parts(self) -> list[Step]:
        """The steps directly inside, if it is a group or a choice."""
        return [*self.group, *(step for sequence in self.any_of for step in sequence), *self.all_of]

    @property
    def heads(self) -> bool:
        """Whether it says nothing about what came before, as the first step of a sequence must."""
        return self.follows is Contiguity.RELAXED  # a gap is harmless there, and bounds the repetitions

    def walk(self) -> Iterator[Step]:
        """The steps that are events (or absences), outermost first, left to right."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.walk()


def check_sequence(steps: list[Step], first: str) -> None:
    """What a sequence must not do, as ValueError."""
    if not steps:
        raise ValueError(f"{first} is missing")
    if steps[0].absent:
        raise ValueError(f"{first} cannot be an absence")
    if not steps[0].heads:
        raise ValueError(f"{first} follows nothing: leave out follows")
    for before, step in pairwise(steps):
        if step.absent and before.optional:
            raise ValueError(f"{step.step!r}: an absence after an optional step is ambiguous; write two patterns")


class SkipAfter(BaseModel):
    """What a match rules out; `to` names the step for `to_first` and `to_last`, `strict` makes its absence an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: Strategy = Strategy.NONE
    to: str = ""
    strict: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"strategy": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _target(self) -> SkipAfter:
        if (self.strategy in (Strategy.TO_FIRST, Strategy.TO_LAST)) != bool(self.to):
            raise ValueError("`to` names the step of the strategies to_first and to_last, and of no other")
        if self.strict and not self.to:
            raise ValueError("`strict` belongs to the strategies to_first and to_last")
        return self


class Pattern(BaseModel):
    """A named pattern over the stream of events."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    steps: list[Step] = Field(min_length=1)
    within: Window | None = Field(None, description="the whole match is shorter than this")
    by: Names = Field(default=[], description="fields or expressions: each combination of values is matched on its own")
    skip: SkipAfter = SkipAfter()
    timeouts: bool = Field(False, description="report partial matches that run out of time")
    over: Names = Field(default=[], description="types that make up the stream; none: those that the steps name")
    time: Literal["arrival", "event"] = Field("arrival", description="events in order of arrival, or of their `ts`")
    lateness: Lateness | None = Field(None, description="with time: event, how much later than others one may come")
    min_confidence: float = Field(0.0, ge=0.0, le=1.0, description="matches below it are not reported")
    max_partials: int = Field(10_000, ge=1, le=10_000_000, description="partial matches kept; the oldest go first")
    max_bytes: Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str)] = Field(
        64_000_000, ge=10_000
    )

    @model_validator(mode="after")
    def _consistent(self) -> Pattern:
        check_sequence(self.steps, "the first step of a pattern")
        if sum(1 for _ in self.walk()) > MOST_STEPS:
            raise ValueError(f"a pattern has at most {MOST_STEPS} steps")
        seen: set[str] = set()
        for step in self.walk():
            for name in {step.step, step.alias} - {""}:
                if name in seen or name in RESERVED:
                    raise ValueError(f"the name {name!r} is {'taken twice' if name in seen else 'reserved'}")
                seen.add(name)
        if self.skip.to and self.skip.to not in {step.step for step in self.walk() if not step.absent}:
            raise ValueError(f"skip: there is no step {self.skip.to!r} to skip to")
        if self.lateness is not None and self.time != "event":
            raise ValueError("lateness needs `time: event`")
        if self.within:
            for step in self._everything(self.steps):
                if max(step.gap or 0, step.every or 0) > self.within:
                    raise ValueError(f"{step.step or 'a group'!r}: a gap longer than the whole window means nothing")
        return self

    @field_validator("by")
    @classmethod
    def _stripped(cls, value: list[str]) -> list[str]:
        if not all(one.strip() for one in value):
            raise ValueError("by: a field or an expression is missing")
        return [one.strip() for one in value]

    @field_validator("over")
    @classmethod
    def _types(cls, value: list[str]) -> list[str]:
        return Step.check_types(value)

    def walk(self) -> Iterator[Step]:
        """All steps that are events (or absences), left to right."""
        for step in self.steps:
            yield from step.walk()

    def _everything(self, steps: list[Step]) -> Iterator[Step]:
        for step in steps:
            yield step
            yield from self._everything(step.parts)

    def as_dict(self) -> dict[str, Any]:
        """The pattern as YAML would hold it: only what differs from the defaults."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
