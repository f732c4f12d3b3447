"""What the models of all definitions are made of: their root, and the types of fields that many share."""

from __future__ import annotations

from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from automation.events import EVENT_TYPES, known
from automation.expressions import compile_condition, compile_expression, nearest
from automation.globs import compile_globs

KEYS: Final = {
    "path": "event.target",
    "directory": "event.dir",
    "workflow": "''",
    "uid": "event.uid",
    "pid": "event.pid",
}


def also(name: str, *others: str, **more: Any) -> Any:
    """A field that has other names in a definition too."""
    return Field(validation_alias=AliasChoices(name, *others), **more)


def one_or_more(value: object) -> object:
    """Where a list is expected, one item is a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def _event_type(name: str) -> str:
    name = name.removesuffix(".*") or "*"
    if name != "*" and not known(name):
        raise ValueError(f"there is no event type {name!r}{nearest(name, EVENT_TYPES)}")
    return name


def _globs(patterns: list[str]) -> list[str]:
    compile_globs(tuple(patterns))
    return patterns


def unwrapped(text: str) -> str:
    """A condition may be written as a template, `{{ … }}`; it is one anyway."""
    bare = text.strip()
    return bare[2:-2].strip() if bare.startswith("{{") and bare.endswith("}}") else bare


def _condition(text: str) -> str:
    compile_condition(text)
    return text


def checked_key(text: str) -> str:
    """The expression of a key, given by its short name or as CEL; ValueError when it is wrong."""
    source = KEYS.get(text, text)
    compile_expression(source)
    return source


def _checked_name(name: str) -> str:
    if "/" in name or name.startswith(".") or not name.isprintable() or name != name.strip():
        raise ValueError("a name is printable text without '/' that does not begin with a dot or a space")
    return name


def time_zone(name: str) -> str:
    """A name that the machine knows; ValueError says what to write."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}; write for instance 'Europe/Berlin' or 'UTC'") from None
    return name


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_checked_name)]
Condition = Annotated[
    str, BeforeValidator(lambda v: unwrapped(v) if isinstance(v, str) else v), AfterValidator(_condition)
]
Globs = Annotated[
    list[str], BeforeValidator(one_or_more, json_schema_input_type=str | list[str]), AfterValidator(_globs)
]
Types = Annotated[
    list[Annotated[str, AfterValidator(_event_type)]],
    BeforeValidator(one_or_more, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]
Numbers = Annotated[list[int], BeforeValidator(one_or_more, json_schema_input_type=int | list[int])]


class Form(BaseModel):
    """Root of the models: unknown fields are errors, values never change."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)
