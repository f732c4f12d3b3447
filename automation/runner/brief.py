"""What a step was given, short enough to be kept with every run."""

from __future__ import annotations

from typing import Any, Final

_TEXT: Final = 200  # characters
_ITEMS: Final = 20
_DEPTH: Final = 4


def brief(value: Any, depth: int = 0) -> Any:
    """A JSON value of which long texts and lists keep their beginning and say how long they were."""
    if isinstance(value, str):
        return value if len(value) <= _TEXT else f"{value[:_TEXT]}… ({len(value)} characters)"
    if isinstance(value, dict | list) and depth == _DEPTH:
        return f"… ({len(value)} items)"
    if isinstance(value, dict):
        found = {name: brief(value[name], depth + 1) for name in list(value)[:_ITEMS]}
        return found if len(value) <= _ITEMS else {**found, "…": f"{len(value)} items"}
    if isinstance(value, list):
        start = [brief(item, depth + 1) for item in value[:_ITEMS]]
        return start if len(value) <= _ITEMS else [*start, f"… ({len(value)} items)"]
    return value
