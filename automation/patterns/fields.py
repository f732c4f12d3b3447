"""Names of an event's fields → functions that read them; what an event does not have is null."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from automation.events import SemanticEvent
from automation.expressions import split_path
from automation.facts import cause_of

Getter = Callable[[SemanticEvent], Any]

ALWAYS: Final = ("seq", "ts", "type", "path", "inode", "pid", "uid", "gid", "comm", "tenant")  # every event has them
SOMETIMES: Final = ("dest", "size", "offset", "length", "errno")  # None where they do not apply: an attribute may


def _category(event: SemanticEvent) -> str:
    return event.category.value


COMPUTED: Final[Mapping[str, Getter]] = {  # an attribute of the same name comes first
    "dir": lambda event: split_path(event.path)[0],
    "name": lambda event: split_path(event.path)[1],
    "stem": lambda event: split_path(event.path)[2],
    "suffix": lambda event: split_path(event.path)[3],
    "code": lambda event: event.code,
    "category": _category,
    "cause": cause_of,
}


@lru_cache(maxsize=4096)
def getter(field: tuple[str, ...]) -> Getter:
    """The reader of a dotted field: `("size",)`, `("attrs", "user")`, or an attribute by its bare name, `("user",)`."""
    if field[0] == "attrs" and len(field) > 1:
        return _walk(_attribute(field[1]), field[2:])
    return _walk(_first(field[0]), field[1:])


def _first(name: str) -> Getter:
    if name in ALWAYS or name == "attrs":
        return operator.attrgetter(name)
    if name in SOMETIMES:
        read = operator.attrgetter(name)
        return lambda event: event.attrs.get(name) if (value := read(event)) is None else value
    if name in COMPUTED:
        compute = COMPUTED[name]
        return lambda event: event.attrs[name] if name in event.attrs else compute(event)
    return _attribute(name)


def _attribute(name: str) -> Getter:
    return lambda event: event.attrs.get(name)


def _walk(read: Getter, rest: tuple[str, ...]) -> Getter:
    if not rest:
        return read

    def value(event: SemanticEvent) -> Any:
        at = read(event)
        for name in rest:
            if not isinstance(at, Mapping):
                return None
            at = at.get(name)
        return at

    return value


def event_variables(event: SemanticEvent) -> dict[str, Any]:
    """The event as CEL sees it: every field by name, null where it does not apply, attributes under `attrs`."""
    out = {name: getattr(event, name) for name in (*ALWAYS, *SOMETIMES)}
    out |= {name: compute(event) for name, compute in COMPUTED.items()}
    out["attrs"] = dict(event.attrs)
    return out
