"""What a script can ask for, the same in every language."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

POSITIONAL: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "copy": ("source", "target"),
        "move": ("source", "target"),
        "link": ("target", "path"),
        "archive": ("sources", "target"),
        "extract": ("source", "target"),
        "snapshot": ("path",),
        "delete": ("path",),
        "write": ("path", "content"),
        "read": ("path",),
        "mkdir": ("path",),
        "list": ("path",),
        "stat": ("path",),
        "set_mode": ("path", "mode"),
        "set_owner": ("path", "uid", "gid"),
        "set_xattr": ("path", "name", "value"),
        "checksum": ("path", "algorithm"),
        "http": ("url",),
        "ml_inference": ("model", "input"),
        "emit_event": ("event", "data"),
        "update_state": ("path", "value"),
    }
)
"""Which fields of an action the arguments of a call stand for, where they are not given by name."""

FILE: Final = (
    "copy",
    "move",
    "link",
    "delete",
    "write",
    "read",
    "mkdir",
    "list",
    "stat",
    "set_mode",
    "set_owner",
    "set_xattr",
    "checksum",
    "archive",
    "extract",
    "snapshot",
)
"""The actions that are also methods of `file`: `file.list` is not Python's `list`, nor `file.delete` an operator."""

SHORT: Final[Mapping[str, str]] = MappingProxyType({"emit": "emit_event", "set_state": "update_state"})
"""Other names for actions."""

Effects = Mapping[str, tuple[str, ...]]
"""The actions that a script may ask for under their own names, each with its positional fields."""


def fields_of(name: str, positional: tuple[str, ...], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """The action of a call: one mapping of fields, or the usual ones in order, and more by name.

    TypeError when there are more arguments than fields have a place.
    """
    if len(arguments) == 1 and isinstance(arguments[0], dict):
        return {**arguments[0], **named, "type": name}
    if name == "command" and len(arguments) == 1 and isinstance(arguments[0], list):
        return {"argv": arguments[0], **named, "type": name}
    if len(arguments) > len(positional):
        raise TypeError(f"{name} takes its fields by name")
    return {**dict(zip(positional, arguments, strict=False)), **named, "type": name}
