"""Named lists and macros: written once, used by name in the rules and guards of every file.

In a condition the bare name stands for what it names: `is_backup && event.comm in shells`. Where a field takes a list
of texts, `@shells` stands for its items. A list may hold `@other`, a macro may use other macros and lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from automation.expressions import nearest
from automation.quantities import parse_duration, parse_size

MOST_CHARACTERS: Final = 64 * 1024
_DEEPEST: Final = 16
_TOKEN: Final = re.compile(
    r"""(?P<text>r?(?:"{3}.*?"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
      | (?P<number>(?<![\w.])\d+(?:\.\d+)?(?P<unit>[A-Za-z]+))
      | (?P<name>(?<![\w.])@?[A-Za-z_]\w*(?!\s*\())""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN_NUMBER: Final = re.compile(r"0x[0-9a-fA-F]+u?|\d+(\.\d+)?(e\d+)?u?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What is known by name. ValueErrors say what is missing, too large or goes in circles."""

    lists: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)
    macros: Mapping[str, str] = field(default_factory=dict)

    def items(self, values: Any) -> list[Any]:
        """`values` with each `@name` replaced by the items of that list."""
        out: list[Any] = []
        for value in values if isinstance(values, list | tuple) else [values]:
            out += self._list(value[1:], ()) if _names_list(value) else [value]
        return out

    def condition(self, source: str) -> str:
        """A condition as CEL: names expanded, `10MB` in bytes and `5s` in nanoseconds (like `event.ts`)."""
        return self._expand(source, ())

    def _list(self, name: str, above: tuple[str, ...]) -> list[str | int]:
        if name not in self.lists:
            raise ValueError(f"there is no list {name!r}{nearest(name, self.lists)}")
        if name in above or len(above) > _DEEPEST:
            raise ValueError(f"the list {name!r} holds itself")
        out: list[str | int] = []
        for item in self.lists[name]:
            out += self._list(item[1:], (*above, name)) if isinstance(item, str) and _names_list(item) else [item]
        return out

    def _expand(self, source: str, above: tuple[str, ...]) -> str:
        def replaced(match: re.Match[str]) -> str:
            if match["number"]:
                return _number(match["number"])
            name = (match["name"] or "").removeprefix("@")
            if name in self.macros:
                if name in above or len(above) > _DEEPEST:
                    raise ValueError(f"the macro {name!r} uses itself")
                return f"({self._expand(self.macros[name], (*above, name))})"
            if name in self.lists:
                return json.dumps(self._list(name, ()), ensure_ascii=False)
            return match[0]

        out = _TOKEN.sub(replaced, source)
        if len(out) > MOST_CHARACTERS:
            raise ValueError(f"the condition has more than {MOST_CHARACTERS} characters with its macros")
        return out


def names_in(value: Any) -> set[str]:
    """Every word in the texts of a definition that could name a list or a macro."""
    if isinstance(value, str):
        return {match["name"].removeprefix("@") for match in _TOKEN.finditer(value) if match["name"]}
    items = (
        [*value, *value.values()] if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    )
    return {name for item in items for name in names_in(item)}


def _names_list(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("@") and value[1:].isidentifier()


def _number(text: str) -> str:
    if _PLAIN_NUMBER.fullmatch(text):
        return text
    for convert in (lambda t: round(parse_duration(t) * 1e9), parse_size):
        try:
            return str(convert(text))
        except ValueError:
            continue
    raise ValueError(f"{text!r} is neither a size (64KiB, 10MB) nor a duration (5s, 10m)")
