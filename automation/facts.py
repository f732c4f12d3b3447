"""What expressions and templates see of an event: plain values, every field present."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

from automation.events import SemanticEvent
from automation.expressions import split_path


def target_of(event: SemanticEvent) -> str:
    """Where the thing is after the event: the new name of a rename or link, otherwise the path."""
    return event.path if event.dest is None else event.dest


def _cause(event: SemanticEvent) -> dict[str, Any] | None:
    cause = event.cause
    return None if cause is None else {"run": cause.run, "workflow": cause.workflow, "depth": cause.depth}


# Text that does not apply is empty, a number that does not apply is null; dir, name, stem and suffix are of the target.
_FACTS: Final[Mapping[str, Callable[[SemanticEvent], Any]]] = MappingProxyType(
    {
        "seq": lambda event: event.seq,
        "ts": lambda event: event.ts,
        "type": lambda event: event.type,
        "path": lambda event: event.path,
        "dest": lambda event: event.dest or "",
        "target": target_of,
        "dir": lambda event: split_path(target_of(event))[0],
        "name": lambda event: split_path(target_of(event))[1],
        "stem": lambda event: split_path(target_of(event))[2],
        "suffix": lambda event: split_path(target_of(event))[3],
        "inode": lambda event: event.inode,
        "size": lambda event: event.size,
        "offset": lambda event: event.offset,
        "length": lambda event: event.length,
        "pid": lambda event: event.pid,
        "uid": lambda event: event.uid,
        "gid": lambda event: event.gid,
        "comm": lambda event: event.comm,
        "tenant": lambda event: event.tenant,
        "cause": _cause,
        "errno": lambda event: event.errno or "",
        "attrs": lambda event: dict(event.attrs),
        "code": lambda event: event.code,
        "category": lambda event: event.category.value,
    }
)


def event_facts(event: SemanticEvent, fields: Collection[str] = _FACTS.keys()) -> dict[str, Any]:
    """The event as a dict of plain values, whole or only some of its fields."""
    return {name: _FACTS[name](event) for name in fields if name in _FACTS}
