"""From an event to one of its values: the fields of events directly, everything else by CEL."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Any, Final

from automation.events import SemanticEvent
from automation.expressions import EvaluationError, compile_expression
from automation.facts import event_facts, target_of

Getter = Callable[[SemanticEvent], Any]
_PLAIN: Final = re.compile(r"event\.(seq|ts|type|path|inode|size|offset|length|pid|uid|gid|comm|tenant)\Z")
_ATTRIBUTE: Final = re.compile(r"event\.attrs\.(\w+)\Z")
_NUMBER: Final = re.compile(r"\d+(\.\d+)?\Z")


def getter(source: str) -> Getter:
    """What gives the value of an expression over `event`; None where it cannot be worked out."""
    plain = _PLAIN.match(source)
    if plain:
        return operator.attrgetter(plain[1])
    attribute = _ATTRIBUTE.match(source)
    if attribute:
        name = attribute[1]
        return lambda event: event.attrs.get(name)
    if source == "event.target":
        return target_of
    if _NUMBER.match(source):
        number = float(source)
        return lambda event: number
    return _evaluated(source)


def number_getter(source: str) -> Callable[[SemanticEvent], float]:
    """The same as a number; NaN where it is none."""
    get = getter(source)

    def number(event: SemanticEvent) -> float:
        value = get(event)
        return float(value) if isinstance(value, int | float) else math.nan

    return number


def _evaluated(source: str) -> Getter:
    expression = compile_expression(source)
    fields = expression.event_fields

    def value(event: SemanticEvent) -> Any:
        try:
            return expression({"event": event_facts(event, fields), "state": {}, "vars": {}})
        except EvaluationError:
            return None

    return value
