"""Events as JSON values: the form of `/.vexfs/events`, of `vexfs replay` and of recorded logs → events."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from automation.events import Cause, SemanticEvent

MS: Final = 1_000_000
END_OF_TIME: Final = (1 << 63) - 1
_WHOLE: Final = ("inode", "size", "offset", "length", "pid", "uid", "gid")
_TEXTS: Final = ("path", "dest", "comm", "tenant", "errno")
_OTHER: Final = frozenset(("type", "ts", "ts_ms", "ts_ns", "seq", "cause", "attrs", "code", "category"))


class EventLineError(ValueError):
    """A line is neither an event nor a statement about time."""


def read_event(value: Mapping[str, Any], before: int = 0) -> SemanticEvent:
    """The event of one line; `before` (ns) is its time if it states none. EventLineError if it is none.

    What is no field of an event, or does not have a field's type, becomes an attribute.
    """
    kind = value.get("type", "user")
    attrs = value.get("attrs", {})
    if not isinstance(kind, str) or not kind:
        raise EventLineError("the type of an event is text")
    if not isinstance(attrs, Mapping):
        raise EventLineError("attrs is an object")
    fields: dict[str, Any] = {}
    attributes = dict(attrs)
    for name, item in value.items():
        if (name in _WHOLE and is_whole(item)) or (name in _TEXTS and isinstance(item, str)):
            fields[name] = item
        elif name not in _OTHER and not (name in (*_WHOLE, *_TEXTS) and item is None):
            attributes.setdefault(name, item)
    cause = value.get("cause")
    if isinstance(cause, Mapping):
        depth = cause["depth"] if is_whole(cause.get("depth")) else 1
        fields["cause"] = Cause(str(cause.get("run", "")), str(cause.get("workflow", "")), depth)
    return SemanticEvent(kind, attrs=attributes, ts=_event_time(value, before), **fields)


def _event_time(value: Mapping[str, Any], before: int) -> int:
    for name in ("ts", "ts_ns"):
        if name in value:
            return read_time(value[name], "ts_ns")
    return read_time(value["ts_ms"], "ts_ms") if "ts_ms" in value else before


def read_time(value: Any, name: str) -> int:
    """Nanoseconds of a time in milliseconds, or in nanoseconds if its name ends so."""
    if value == "max":
        return END_OF_TIME
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise EventLineError(f"{name} is a number, not {json.dumps(value, default=str)[:50]}")
    scaled = value if name.endswith("_ns") else value * MS
    if not -END_OF_TIME <= scaled <= END_OF_TIME:
        raise EventLineError(f"{name} is out of range")
    return round(scaled)


def is_whole(value: Any) -> bool:
    """Whether a JSON value is an integer."""
    return isinstance(value, int) and not isinstance(value, bool)
