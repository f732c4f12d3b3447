"""Patterns inside definitions: validated where they stand, held as models from then on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from automation.patterns.loading import Definition, detect, read_definition

PATTERN: Final = {"type": "object", "title": "Pattern"}
"""What stands for a pattern in JSON Schema until `automation.schemas` fills it in."""

_FORMS: Final = {"anyOf": [{"type": "string"}, PATTERN]}


def checked(name: str, value: Any) -> Definition:
    """The definition of a pattern; ValueError with one sentence when a detector could not be made of it."""
    definition = read_definition(name, value)
    detect(definition)
    return definition


def _check_name(name: str) -> None:
    if not name or set(name) & {"/", "("} or name.startswith(".") or not name.isprintable() or len(name) > 200:
        raise ValueError("the name of a pattern is printable text without '/' and '(' that does not begin with a dot")


def _table(values: Mapping[str, Any]) -> dict[str, Definition]:
    out: dict[str, Definition] = {}
    for name, value in values.items():
        try:
            _check_name(name)
            out[name] = value if isinstance(value, Definition) else checked(name, value)
        except ValueError as error:
            raise PydanticCustomError("template", "{reason}", {"reason": str(error), "place": (name,)}) from None
    return out


def _inline(value: Any) -> Any:
    if is_inline(value):
        checked("inline", value)
    return value


def is_inline(value: str | Mapping[str, Any]) -> bool:
    """Whether it is a pattern, not merely the name of one."""
    return not isinstance(value, str) or "(" in value


PatternTable = Annotated[
    dict[str, Any],
    AfterValidator(_table),
    WithJsonSchema({"type": "object", "additionalProperties": _FORMS}),
]
"""Names → patterns; in a loaded definition each value is a `Definition`."""

Inline = Annotated[str | dict[str, Any], AfterValidator(_inline), WithJsonSchema(_FORMS)]
"""A pattern's name, or a pattern as text or mapping."""
