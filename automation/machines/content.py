"""What a chart does when it enters, leaves and moves: small functions that the engine calls with its scope."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from automation.machines.outline import Block, Condition, Content, Value
from automation.machines.scope import ExecutionError, Scope

MOST_ROUNDS: Final = 10_000
MOST_TEXT: Final = 64 * 1024


def assign(location: Sequence[str], value: Value) -> Content:
    """Put a value into a variable, or into a part of one; ExecutionError where that does not exist."""
    head, *inner = location

    def content(scope: Scope) -> None:
        new = plain(value(scope))
        if not inner:
            if head not in scope.vars:
                raise ExecutionError(f"there is no variable {head!r}")
            scope.vars[head] = new
            return
        holder: Any = scope.vars.get(head)
        for name in inner[:-1]:
            holder = holder.get(name) if isinstance(holder, dict) else None
        if not isinstance(holder, dict):
            raise ExecutionError(f"there is no {'.'.join(location[:-1])!r} to put {inner[-1]!r} into")
        holder[inner[-1]] = new

    return content


def declare(name: str, value: Value | None) -> Content:
    """Give a variable its first value; null when it has none or its expression fails."""

    def content(scope: Scope) -> None:
        scope.vars[name] = None
        if value is not None:
            try:
                scope.vars[name] = plain(value(scope))
            except ExecutionError as error:
                scope.fault(f"the value of {name!r}: {error}")

    return content


def act(action: Value) -> Content:
    """Have an action carried out: `action` renders its mapping."""

    def content(scope: Scope) -> None:
        scope.act(action(scope))

    return content


def raise_(name: str, data: Value | None = None) -> Content:
    """Put an event into the internal queue."""

    def content(scope: Scope) -> None:
        scope.raise_(name, None if data is None else plain(data(scope)))

    return content


def send(
    name: Value,
    *,
    data: Value | None = None,
    delay: Callable[[Scope], int] | None = None,
    sender: str = "",
    remember: Callable[[Scope, str], None] | None = None,
    target: Callable[[Scope], bool] | None = None,
) -> Content:
    """Send an event to oneself, after `delay` (ns). `target` says whether it goes to the internal queue; `remember`
    stores the sender's name, which is made up when there is none.
    """

    def content(scope: Scope) -> None:
        called = sender
        if remember is not None:
            called = called or scope.unique()
            remember(scope, called)
        try:
            deliver(scope, called)
        except ExecutionError as error:
            error.sender = called
            raise

    def deliver(scope: Scope, called: str) -> None:
        event = name(scope)
        if not isinstance(event, str) or not event:
            raise ExecutionError(f"{event!r} is no name of an event")
        given = None if data is None else plain(data(scope))
        after = 0 if delay is None else delay(scope)
        if target is not None and target(scope):
            scope.raise_(event, given, called)
        else:
            scope.send(event, given, after, called)

    return content


def cancel(sender: Value) -> Content:
    """Forget the events that were sent for later under this name."""

    def content(scope: Scope) -> None:
        scope.cancel(str(sender(scope)))

    return content


def log(label: str, value: Value | None) -> Content:
    """Note a line for people."""

    def content(scope: Scope) -> None:
        text = "" if value is None else text_of(value(scope))
        scope.log(": ".join(part for part in (label, text) if part)[:MOST_TEXT])

    return content


def choose(branches: Sequence[tuple[Condition | None, Block]]) -> Content:
    """The block of the first condition that holds (None always does)."""

    def content(scope: Scope) -> None:
        for condition, block in branches:
            if condition is None or _holds(condition, scope):
                for one in block:
                    one(scope)
                return

    return content


def _holds(condition: Condition, scope: Scope) -> bool:
    try:
        return condition(scope)
    except ExecutionError as error:
        scope.fault(str(error))
        return False


def repeat(values: Value, item: str, index: str, block: Block) -> Content:
    """Run `block` for each of a list, with the variables `item` and `index` set."""

    def content(scope: Scope) -> None:
        found = values(scope)
        if not isinstance(found, list):
            raise ExecutionError(f"{found!r} is no list to go through")
        if len(found) > MOST_ROUNDS:
            raise ExecutionError(f"a list of {len(found)} is too long to go through")
        for i, one in enumerate(list(found)):
            scope.vars[item] = one
            if index:
                scope.vars[index] = i
            for inner in block:
                inner(scope)
        if not found:
            scope.vars.setdefault(item, None)
            if index:
                scope.vars.setdefault(index, None)

    return content


def failing(reason: str) -> Value:
    """An expression that cannot be evaluated: what SCXML makes of one that it cannot read."""

    def value(scope: Scope) -> Any:
        raise ExecutionError(reason)

    return value


def plain(value: Any) -> Any:
    """A value that no one else holds; what is assigned is copied, as plain JSON."""
    if value is None or isinstance(value, str | int | float | bool):
        if isinstance(value, str) and len(value) > MOST_TEXT:
            raise ExecutionError("the text is longer than 64 KiB")
        return value
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        raise ExecutionError(f"{value!r} is no plain value") from None
    if len(text) > MOST_TEXT:
        raise ExecutionError("the value is larger than 64 KiB")
    return json.loads(text)


def text_of(value: Any) -> str:
    """A value for people."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
