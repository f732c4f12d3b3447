"""What a step was given, short enough to be kept with every run."""

from __future__ import annotations

from typing import Any, Final

_TEXT: Final = 200  # characters that each text may keep, however many there are
_ITEMS: Final = 20
_DEPTH: Final = 32  # levels of lists and objects


def brief(value: Any, most: int) -> Any:
    """A JSON value whole if its texts and items come to at most `most` characters; of a longer one long texts and lists
    keep their beginning and say how long they were.
    """
    return _Room(most).cut(value, 0)


class _Room:
    """The characters that are left."""

    def __init__(self, most: int) -> None:
        self._left = most

    def cut(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict | list) and depth == _DEPTH:
            return f"… ({len(value)} items)"
        self._left -= 1
        if isinstance(value, dict):
            found = {name: self.cut(item, depth + 1) for name, item in value.items() if self._fits(name, len(value))}
            return found if len(found) == len(value) else {**found, "…": f"{len(value)} items"}
        if isinstance(value, list):
            start = [self.cut(item, depth + 1) for item in value if self._fits("", len(value))]
            return start if len(start) == len(value) else [*start, f"… ({len(value)} items)"]
        return value

    def _fits(self, name: str, items: int) -> bool:
        """Whether one more item has room; the few of a short list always have."""
        self._left -= len(name)
        return self._left > 0 or items <= _ITEMS

    def _text(self, text: str) -> str:
        if len(text) > max(_TEXT, self._left):
            kept = max(_TEXT, self._left)
            self._left -= kept
            return f"{text[:kept]}… ({len(text)} characters)"
        self._left -= len(text)
        return text
