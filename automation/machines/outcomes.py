"""What a machine tells its caller."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from automation.events import SemanticEvent


class Moved(NamedTuple):
    """An event, a timer or a condition moved an instance, or it began.

    `before` and `after` are the names of its active states, outermost first (`before` is empty when it began).
    `actions` are to be carried out in this order: mappings as in a definition, rendered. `event` is what happened on
    the mount, `trigger` the name of what moved the machine. `finished` says that the instance has ended, with `result`.
    `faults` are expressions that failed. `number` counts the moves of the instance; `at` is in ns.
    """

    machine: str
    key: Hashable
    trigger: str
    event: SemanticEvent | None
    before: tuple[str, ...]
    after: tuple[str, ...]
    actions: tuple[dict[str, Any], ...]
    logs: tuple[str, ...]
    faults: tuple[str, ...]
    finished: bool
    result: Any
    number: int
    at: int


class Broken(NamedTuple):
    """An instance was given up because of its definition: it would not come to rest, or its states exist no more."""

    machine: str
    key: Hashable
    reason: str
    at: int


class Evicted(NamedTuple):
    """The instance that had been idle the longest was given up, since there were `limit` of them; `total` ever."""

    machine: str
    key: Hashable
    limit: int
    total: int
    at: int


Outcome = Moved | Broken | Evicted
