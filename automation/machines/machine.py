"""A machine's definition, compiled: its chart, and which events concern it."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from automation.events import SemanticEvent
from automation.expressions import EvaluationError, compile_expression, split_path
from automation.facts import event_facts, target_of
from automation.machines.chart import Chart

MOST_INSTANCES: Final = 100_000
RENAMES: Final = ("file.renamed", "dir.renamed")
Key = Callable[[SemanticEvent], Hashable]
"""The key of the instance that an event belongs to; EvaluationError when there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """`key` is what each instance is for, None for one instance in all. Of an event the type has to fit the chart, the
    path `paths`, and `where` must hold. `own` lets events in that the machine itself brought about, `failed` such of
    operations that failed. `vars` are the names of the variables. `source` is equal for equal definitions.
    """

    name: str
    chart: Chart
    key: str | None = "path"
    paths: tuple[str, ...] = ()
    where: str | None = None
    limit: int = 10_000
    own: bool = False
    failed: bool = False
    enabled: bool = True
    description: str = ""
    source: Any = field(default=None, repr=False)

    @property
    def types(self) -> tuple[str, ...]:
        """The types of events that concern it: those that the chart waits for, and renames of the files it follows."""
        return (*self.chart.events, *(RENAMES if self.key == "path" else ()))


def _directory(event: SemanticEvent) -> str:
    return split_path(target_of(event))[0]


KEYS: Final[Mapping[str, Key]] = {
    "path": target_of,
    "directory": _directory,
    "pid": operator.attrgetter("pid"),
    "uid": operator.attrgetter("uid"),
    "tenant": operator.attrgetter("tenant"),
    "comm": operator.attrgetter("comm"),
}


def key_of(name: str | None) -> Key:
    """The key by its short name or a CEL expression over `event`; ValueError says what is wrong with it."""
    if name is None:
        return lambda event: ""
    known = KEYS.get(name)
    if known is not None:
        return known
    expression = compile_expression(name)

    def key(event: SemanticEvent) -> Hashable:
        value = expression({"event": event_facts(event, expression.event_fields)})
        if value is None:
            raise EvaluationError(f"{name!r} is null")
        return value if isinstance(value, str | int | float) else json.dumps(value, sort_keys=True, default=str)

    return key
