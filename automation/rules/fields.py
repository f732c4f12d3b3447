"""Names of an event's fields → functions that read them; the same values as `automation.facts` gives to CEL."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from automation.events import SemanticEvent
from automation.expressions import EVENT_FIELDS, nearest
from automation.facts import FACTS

Getter = Callable[[SemanticEvent], Any]


_GETTERS: Final[Mapping[str, Getter]] = {**FACTS, "attrs": operator.attrgetter("attrs")}  # read here, not kept


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
