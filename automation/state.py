"""The state that automations share: one JSON tree, read and set by dotted paths; each change is an event."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from automation.bus import Bus
from automation.errors import CallerError
from automation.events import Cause, SemanticEvent

MOST_BYTES: Final = 1 << 20
DEEPEST: Final = 32
_ASSIGNMENT: Final = re.compile(r"\s*([^=\s][^=]*?)\s*=\s*(.*?)\s*\Z", re.DOTALL)
_ABSENT: Final = object()
Owner = Callable[[str, Any, Cause | None], None]
"""Is asked to set a path that it owns to a value, None to delete it; it decides, and writes by `State.keep`."""


class State:
    """A tree of JSON objects, at most 1 MiB of JSON a value and 32 levels deep.

    A path is names joined by dots; a number reaches into a list. Each change publishes `system.state` with attrs
    `path`, `old` and `new` (None where there was or is nothing). Setting an equal value is no change. `on_change`
    is told of it first: path, value, whether there is one, and whether the change is a quiet one.
    """

    def __init__(self, bus: Bus) -> None:
        self.on_change: Callable[[str, Any, bool, bool], None] = lambda path, value, present, quiet: None
        self._bus: Final = bus
        self._tree: Final[dict[str, Any]] = {}
        self._owners: Final[dict[str, Owner]] = {}

    def claim(self, name: str, owner: Owner) -> None:
        """Let `owner` decide on everything that is set or deleted at the top-level `name` and below it."""
        self._owners[name] = owner

    def get(self, path: str, default: Any = None) -> Any:
        """The value at `path`, a copy; `default` where there is none. The empty path is the whole tree."""
        found = self._find(_names(path)) if path else self._tree
        return default if found is _ABSENT else copy.deepcopy(found)

    def set(self, path: str, value: Any, cause: Cause | None = None) -> None:
        """Put a JSON value at `path`, making the objects above it; CallerError when something else is in the way."""
        owner = self._owners.get(_names(path)[0])
        if owner is not None:
            owner(path, _checked(value), cause)
        else:
            self.keep(path, value, cause)

    def keep(self, path: str, value: Any, cause: Cause | None = None, *, quiet: bool = False, **about: Any) -> None:
        """`set` past any owner; `about` is added to the attrs of the event, and a quiet change makes none."""
        names = _names(path)
        value = _checked(value)
        holder: Any = self._tree
        for i, name in enumerate(names[:-1]):
            inner = _step(holder, name)
            if inner is _ABSENT:
                inner = holder[name] = {} if isinstance(holder, dict) else _refuse(names, i)
            if not isinstance(inner, dict | list):
                _refuse(names, i + 1)
            holder = inner
        old = _step(holder, names[-1])
        if old is not _ABSENT and old == value and type(old) is type(value):
            return
        self._put(holder, names, value)
        self.on_change(path, value, True, quiet)
        if not quiet:
            self._publish(path, None if old is _ABSENT else old, value, cause, about)

    def delete(self, path: str, cause: Cause | None = None) -> bool:
        """Remove what is at `path`; whether there was anything."""
        names = _names(path)
        owner = self._owners.get(names[0])
        if owner is not None:
            owner(path, None, cause)
            return True
        holder = self._find(names[:-1])
        old = _step(holder, names[-1])
        if old is _ABSENT or not isinstance(holder, dict):
            return False
        del holder[names[-1]]
        self.on_change(path, None, False, False)
        self._publish(path, old, None, cause, {})
        return True

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Begin with what an earlier life ended with; nobody is told."""
        for name, value in tree.items():
            if name in self._owners and isinstance(value, dict):
                self._tree[name] = {**value, **self._tree.get(name, {})}
            else:
                self._tree[name] = value

    def repeat(self, path: str, value: Any, present: bool) -> None:
        """Make a change again that was made in an earlier life; nobody is told."""
        names = path.split(".")
        holder: Any = self._tree
        for name in names[:-1]:
            if _step(holder, name) is _ABSENT and isinstance(holder, dict):
                holder[name] = {}
            holder = _step(holder, name)
        if isinstance(holder, dict) and not present:
            holder.pop(names[-1], None)
        elif isinstance(holder, dict) or (isinstance(holder, list) and int(names[-1]) <= len(holder)):
            self._put(holder, names, value)

    def as_dict(self) -> dict[str, Any]:
        """A copy of the whole tree."""
        return copy.deepcopy(self._tree)

    def view(self) -> dict[str, Any]:
        """The tree itself, for reading within one step of the loop; never change it."""
        return self._tree

    @staticmethod
    def parse_assignment(text: str) -> tuple[str, Any]:
        """`a.b = 3` → `("a.b", 3)`; the right side is JSON. CallerError says what is wrong."""
        match = _ASSIGNMENT.match(text)
        if match is None:
            raise CallerError("write `path = value`, for instance `limits.size = 10`")
        _names(match[1])
        try:
            return match[1], _checked(json.loads(match[2], parse_constant=_no_constant))
        except json.JSONDecodeError as error:
            hint = f"; write text in quotes: {json.dumps(match[2])}" if match[2][:1].isalpha() else ""
            raise CallerError(f"{match[2]!r} is no JSON value ({error.msg}){hint}") from None
        except RecursionError:
            raise CallerError("the value is nested too deeply") from None

    def _find(self, names: list[str]) -> Any:
        value: Any = self._tree
        for name in names:
            value = _step(value, name)
        return value

    @staticmethod
    def _put(holder: Any, names: list[str], value: Any) -> None:
        name = names[-1]
        if isinstance(holder, dict):
            holder[name] = value
        elif name.isdecimal() and int(name) < len(holder):
            holder[int(name)] = value
        elif name.isdecimal() and int(name) == len(holder):
            holder.append(value)
        else:
            _refuse(names, len(names) - 1)

    def _publish(self, path: str, old: Any, new: Any, cause: Cause | None, about: Mapping[str, Any]) -> None:
        attrs = {"path": path, "old": copy.deepcopy(old), "new": copy.deepcopy(new), **about}
        self._bus.publish(SemanticEvent("system.state", cause=cause, attrs=attrs))


def _names(path: str) -> list[str]:
    names = path.split(".")
    if not all(name and name.isprintable() and name == name.strip() for name in names) or len(names) > DEEPEST:
        raise CallerError(f"{path!r} is no state path; write names joined by dots, for instance `limits.size`")
    return names


def _step(holder: Any, name: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(name, _ABSENT)
    if isinstance(holder, list) and name.isdecimal() and int(name) < len(holder):
        return holder[int(name)]
    return _ABSENT


def _refuse(names: list[str], at: int) -> Any:
    raise CallerError(f"{'.'.join(names[:at])!r} holds a value that has nothing named {names[at]!r}; delete it first")


def _no_constant(name: str) -> Any:
    raise CallerError(f"{name} is no JSON value")


def _checked(value: Any) -> Any:
    """A plain copy of a JSON value; CallerError when it is none or too large."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CallerError(f"the value is no JSON: {error}") from None
    if len(text) > MOST_BYTES:
        raise CallerError(f"the value is larger than {MOST_BYTES >> 20} MiB")
    if _depth(value) > DEEPEST:
        raise CallerError(f"the value is nested deeper than {DEEPEST} levels")
    return json.loads(text)


def _depth(value: Any) -> int:
    deepest, todo = 0, [(value, 1)]
    while todo:
        item, depth = todo.pop()
        deepest = max(deepest, depth)
        if isinstance(item, Mapping):
            todo += [(inner, depth + 1) for inner in item.values()]
        elif isinstance(item, list | tuple):
            todo += [(inner, depth + 1) for inner in item]
    return deepest
