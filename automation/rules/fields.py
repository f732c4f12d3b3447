"""Names of an event's fields → functions that read them; the same values as `automation.facts` gives to CEL."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from automation.events import SemanticEvent
from automation.expressions import EVENT_FIELDS, nearest, split_path

Getter = Callable[[SemanticEvent], Any]


def _target(event: SemanticEvent) -> str:
    return event.path if event.dest is None else event.dest


def _name(event: SemanticEvent) -> str:
    target = event.path if event.dest is None else event.dest
    return target[target.rfind("/") + 1 :]


def _cause(event: SemanticEvent) -> Any:
    cause = event.cause
    return None if cause is None else {"run": cause.run, "workflow": cause.workflow, "depth": cause.depth}


_GETTERS: Final[Mapping[str, Getter]] = {
    **{name: operator.attrgetter(name) for name in ("seq", "ts", "type", "path", "inode", "size", "offset", "length")},
    **{name: operator.attrgetter(name) for name in ("pid", "uid", "gid", "comm", "tenant", "attrs", "code")},
    "dest": lambda event: event.dest or "",
    "errno": lambda event: event.errno or "",
    "target": _target,
    "dir": lambda event: split_path(_target(event))[0],
    "name": _name,
    "stem": lambda event: split_path(_target(event))[2],
    "suffix": lambda event: split_path(_target(event))[3],
    "category": lambda event: event.category.value,
    "cause": _cause,
}


@lru_cache(maxsize=4096)
def getter(field: tuple[str, ...]) -> Getter:
    """The reader of `("size",)` or `("attrs", "mode")`; None where the event has no such thing. ValueError for a name
    that no event has.
    """
    read = _GETTERS.get(field[0])
    if read is None:
        raise ValueError(f"an event has no field {field[0]!r}{nearest(field[0], EVENT_FIELDS)}")
    if len(field) == 1:
        return read
    if field[0] == "attrs" and len(field) == 2:
        name = field[1]
        return lambda event: event.attrs.get(name)
    rest = field[1:]
    return lambda event: within(read(event), rest)


def within(value: Any, names: tuple[str, ...]) -> Any:
    """What lies at `names` in nested mappings and lists; None where there is nothing."""
    for name in names:
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value
