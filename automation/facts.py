"""What expressions and templates see of an event: plain values, every field present."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

from automation.events import SemanticEvent
from automation.expressions import split_path


def target_of(event: SemanticEvent) -> str:
    """Where the thing is after the event: the new name of a rename or link, otherwise the path."""
    return event.path if event.dest is None else event.dest


def cause_of(event: SemanticEvent) -> dict[str, Any] | None:
    """What brought the event about, None for nothing of ours."""
    cause = event.cause
    return None if cause is None else {"run": cause.run, "workflow": cause.workflow, "depth": cause.depth}


def _name(event: SemanticEvent) -> str:
    target = target_of(event)
    return target[target.rfind("/") + 1 :]


_PLAIN: Final = (
    *("seq", "ts", "type", "code", "path", "inode", "size", "offset", "length", "pid", "uid", "gid", "comm", "tenant"),
)

# Text that does not apply is empty, a number that does not apply is null; dir, name, stem and suffix are of the target.
FACTS: Final[Mapping[str, Callable[[SemanticEvent], Any]]] = MappingProxyType(
    {
        **{name: operator.attrgetter(name) for name in _PLAIN},
        "dest": lambda event: event.dest or "",
        "target": target_of,
        "dir": lambda event: split_path(target_of(event))[0],
        "name": _name,
        "stem": lambda event: split_path(target_of(event))[2],
        "suffix": lambda event: split_path(target_of(event))[3],
        "cause": cause_of,
        "errno": lambda event: event.errno or "",
        "attrs": lambda event: dict(event.attrs),
        "category": lambda event: event.category.value,
    }
)


def event_facts(event: SemanticEvent, fields: Collection[str] = FACTS.keys()) -> dict[str, Any]:
    """The event as a dict of plain values, whole or only some of its fields."""
    return {name: FACTS[name](event) for name in fields if name in FACTS}
