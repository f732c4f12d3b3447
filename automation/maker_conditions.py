"""Whether a condition may hold for what somebody will do, of whom nothing else is known yet.

It is judged in Kleene's three-valued logic: what it says of anything but the maker is unknown, and only what is surely
false keeps a listener from wanting to see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from automation.makers import Maker, Makers
from automation.patterns.conditions import (
    COMPARE,
    MIRRORED,
    TEXT,
    ConditionSyntaxError,
    Literal,
    Node,
    Operation,
    Reference,
    parse,
)

_FIELDS: Final = ("uid", "gid", "comm")
_TESTS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    **COMPARE,
    **TEXT,
    "in": lambda value, many: value in many,
}


def makers_of(source: str, steps: frozenset[str] = frozenset(), own: frozenset[str] = frozenset()) -> Makers | None:
    """Who may make what fulfils a condition, be it CEL or of the small language of patterns (`steps` and `own` as in
    its `parse`); None when it says nothing of that.
    """
    try:
        tree = parse(source, steps, own)
    except (ConditionSyntaxError, ValueError):
        return None
    return (lambda maker: judged(tree, maker) is not False) if mentions(tree) else None


def judged(node: Node, maker: Maker) -> bool | None:
    """Whether a condition holds for all that this maker makes; None when that depends."""
    match node:
        case Literal(bool() as value):
            return value
        case Operation("not", (inner,)):
            found = judged(inner, maker)
            return None if found is None else not found
        case Operation("and", operands):
            return every(judged(one, maker) for one in operands)
        case Operation("or", operands):
            return some(judged(one, maker) for one in operands)
        case Operation(name, (Reference() as left, Literal(value))):
            return _compared(name, left, value, maker)
        case Operation(name, (Literal(value), Reference() as right)) if name in MIRRORED:
            return _compared(MIRRORED[name], right, value, maker)
    return None


def every(found: Iterable[bool | None]) -> bool | None:
    """Kleene's conjunction."""
    known = list(found)
    return False if False in known else None if None in known else True


def some(found: Iterable[bool | None]) -> bool | None:
    """Kleene's disjunction."""
    known = list(found)
    return True if True in known else None if None in known else False


def _compared(name: str, field: Reference, value: Any, maker: Maker) -> bool | None:
    if field.step is not None or len(field.field) != 1 or field.field[0] not in _FIELDS or name not in _TESTS:
        return None
    known = getattr(maker, field.field[0])
    try:
        return None if known is None else _TESTS[name](known, value)
    except TypeError:
        return None  # a name compared with a number, say: left to who evaluates it


def mentions(node: Node) -> bool:
    """Whether it says anything of the maker."""
    match node:
        case Reference(None, (name,)):
            return name in _FIELDS
        case Operation(_, operands):
            return any(mentions(one) for one in operands)
    return False
