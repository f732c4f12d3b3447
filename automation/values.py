"""Named values with types: what a run is given, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from automation.expressions import compile_expression

_TYPES: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = MappingProxyType(
    {
        "string": ("text", lambda v: isinstance(v, str)),
        "path": ("a path within the mount", lambda v: isinstance(v, str) and bool(v.strip("/"))),
        "integer": ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
        "number": ("a number", lambda v: isinstance(v, int | float) and not isinstance(v, bool)),
        "boolean": ("true or false", lambda v: isinstance(v, bool)),
        "list": ("a list", lambda v: isinstance(v, list)),
        "object": ("an object", lambda v: isinstance(v, dict)),
        "any": ("anything", lambda v: True),
    }
)
"""Every type by its name: how a person calls it, and its test."""


class Declared(Protocol):
    """An input: what a value must be; `min` and `max` are of numbers, and of the length of texts and lists."""

    @property
    def type(self) -> str:
        """One of the types."""
        ...

    @property
    def enum(self) -> list[Any] | None:
        """The only values that are right."""
        ...

    @property
    def min(self) -> float | None:
        """At least."""
        ...

    @property
    def max(self) -> float | None:
        """At most."""
        ...

    @property
    def pattern(self) -> str | None:
        """A regular expression (RE2) that matches all of a text."""
        ...

    @property
    def default(self) -> Any:
        """Taken where nothing is given."""
        ...

    @property
    def required(self) -> bool:
        """Whether something must be given."""
        ...


def check_pattern(text: str) -> None:
    """ValueError for what is no regular expression."""
    try:
        _matches(text)("")
    except ValueError:
        raise ValueError(f"{text!r} is no regular expression as RE2 has them") from None


def _matches(pattern: str) -> Callable[[str], bool]:
    """RE2, by way of CEL: no input makes it slow."""
    expression = compile_expression("vars.text.matches(vars.pattern)")
    return lambda text: expression({"vars": {"text": text, "pattern": f"^(?:{pattern})$"}}) is True


def check_type(name: str, value: Any, type_name: str) -> None:
    """ValueError when the value is of another type."""
    called, test = _TYPES[type_name]
    if not test(value):
        raise ValueError(f"{name} must be {called}, not {_shown(value)}")


def check_value(name: str, value: Any, bounds: Declared) -> None:
    """ValueError with one sentence when the value is not what the bounds say."""
    check_type(name, value, bounds.type)
    if bounds.enum is not None and value not in bounds.enum:
        raise ValueError(f"{name} must be one of {', '.join(map(_shown, bounds.enum))}, not {_shown(value)}")
    size = len(value) if isinstance(value, str | list) else value
    if isinstance(size, int | float) and not isinstance(size, bool):
        what = f"the length of {name}" if isinstance(value, str | list) else name
        if bounds.min is not None and size < bounds.min:
            raise ValueError(f"{what} must be at least {bounds.min:g}, not {size}")
        if bounds.max is not None and size > bounds.max:
            raise ValueError(f"{what} must be at most {bounds.max:g}, not {size}")
    if bounds.pattern is not None and not (isinstance(value, str) and _matches(bounds.pattern)(value)):
        raise ValueError(f"{name} must match {bounds.pattern!r}, not {_shown(value)}")


def settle_input(declared: Mapping[str, Declared], given: Mapping[str, Any]) -> dict[str, Any]:
    """The input of a run: defaults where nothing is given; ValueError when it is not what is declared.

    Without any declaration everything goes. `path` may always be given: it makes that file the event's.
    """
    if not declared:
        return dict(given)
    unknown = [name for name in given if name not in declared and name != "path"]
    if unknown:
        raise ValueError(f"there is no input {unknown[0]!r}; the inputs are {', '.join(declared)}")
    out = dict(given)
    for name, one in declared.items():
        if name in given:
            check_value(f"the input {name!r}", given[name], one)
        elif one.required:
            raise ValueError(f"the input {name!r} is required")
        else:
            out[name] = one.default
    return out


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
