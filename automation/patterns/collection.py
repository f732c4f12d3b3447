"""A definition file that holds patterns and nothing that acts: `patterns:` by name, or one `pattern:`."""

# ruff: noqa: RUF012 - pydantic copies its models' defaults
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from automation.definitions import Workflow
from automation.errors import DefinitionError
from automation.expressions import nearest
from automation.forms import Form, Name
from automation.loading import examine_form
from automation.patterns.loading import Definition
from automation.patterns.table import PatternTable
from automation.sources import Source
from automation.triggers.forms import PatternTrigger

KEYS: Final = frozenset({"pattern", "patterns"})


class Collection(Form):
    """The whole file."""

    name: Name
    description: str = ""
    enabled: bool = True
    patterns: PatternTable
    metadata: dict[str, Any] = {}

    @property
    def every_pattern(self) -> dict[str, Definition]:
        """By name."""
        return self.patterns


def patterns_of(definition: object) -> Mapping[str, Definition]:
    """The patterns that a definition of any kind holds."""
    found: Mapping[str, Definition] = getattr(definition, "every_pattern", {})
    return found


def check_names(definitions: Mapping[str, object], paths: Iterable[str]) -> list[DefinitionError]:
    """What is wrong between files (by path): a pattern that two of a directory hold, or, where a whole directory
    is among `paths`, that none of it holds though a trigger names it.
    """
    errors = []
    holders: dict[tuple[str, str], str] = {}
    for file, definition in definitions.items():
        for name in patterns_of(definition):
            other = holders.setdefault((os.path.dirname(file), name), file)
            if other != file:
                reason = f"{other} holds a pattern called {name!r} already"
                errors.append(DefinitionError(file, None, f"patterns.{name}", reason))
    whole = {os.path.normpath(path) for path in paths}
    for file, definition in definitions.items():
        folder = os.path.dirname(file)
        if not isinstance(definition, Workflow) or os.path.normpath(folder) not in whole:
            continue
        known = [name for place, name in holders if place == folder]
        for i, trigger in enumerate(definition.triggers):
            name = trigger.pattern_name(definition.name, i) if isinstance(trigger, PatternTrigger) else ""
            if name and name not in known:
                reason = f"there is no pattern called {name!r}{nearest(name, known)}"
                errors.append(DefinitionError(file, None, f"triggers.{i}.pattern", reason))
    return errors


def is_collection(source: Source) -> bool:
    """Whether the values of a file are patterns alone."""
    value = source.value
    return isinstance(value, dict) and bool(value.keys() & KEYS) and not value.keys() & {"steps", "triggers"}


def examine_collection(source: Source) -> tuple[Collection | None, list[DefinitionError]]:
    """The patterns of a file, or everything that is wrong with it, by line."""
    value = dict(source.value)
    lines = dict(source.lines)
    if "pattern" in value:
        name = str(value.get("name", source.stem))
        if isinstance(value.get("patterns", {}), dict):
            value["patterns"] = {name: value.pop("pattern"), **value.get("patterns", {})}
        for place in [p for p in lines if p[:1] == ("pattern",)]:
            lines["patterns", name, *place[1:]] = lines[place]
    return examine_form(Source(source.path, value, lines), Collection)
