"""Definition files → detectors. A file holds `patterns:` by name, or one `pattern:`, as text or as a mapping.

A mapping may give the compact form as `text` and the remaining fields beside it. Files without either key are not
about patterns and are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from automation.errors import CallerError, DefinitionError
from automation.patterns.correlation import Correlation, CorrelationDetector
from automation.patterns.correlation_text import is_correlation, parse_correlation, render_correlation
from automation.patterns.detector import Detector
from automation.patterns.model import Pattern
from automation.patterns.rendering import render_pattern
from automation.patterns.scanner import PatternSyntaxError
from automation.patterns.text import first_problem, parse_pattern

SUFFIXES: Final = (".yaml", ".yml", ".json")
Definition = Pattern | Correlation


def read_definition(name: str, value: Any) -> Definition:
    """A pattern from its text or mapping; ValueError with one sentence when it is wrong."""
    if isinstance(value, str):
        return parse_correlation(name, value) if is_correlation(value) else parse_pattern(name, value)
    if not isinstance(value, Mapping):
        raise ValueError("a pattern is text, or a mapping with `steps`, `text` or `correlate`")  # noqa: TRY004 (the file is at fault)
    fields = {key: item for key, item in value.items() if key != "text"}
    if "text" in value:
        text = str(value["text"])
        return parse_correlation(name, text, fields) if is_correlation(text) else parse_pattern(name, text, fields)
    try:
        kind = Correlation if "correlate" in fields else Pattern
        return kind.model_validate({"name": name, **fields})
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None


def detect(definition: Definition) -> Detector | CorrelationDetector:
    """The detector of a definition; ValueError for a condition, glob or structure that is wrong."""
    return Detector(definition) if isinstance(definition, Pattern) else CorrelationDetector(definition)


def render(definition: Definition) -> str:
    """The compact form of a definition."""
    return render_pattern(definition) if isinstance(definition, Pattern) else render_correlation(definition)


def load_definitions(path: str) -> list[Definition]:
    """All patterns of a file, or of the files directly in a directory, by file name.

    DefinitionError for the first that is wrong or has the name of another, CallerError if there is nothing to read.
    """
    out: dict[str, Definition] = {}
    for file in _files(path):
        for name, value, line in _entries(file):
            try:
                definition = read_definition(name, value)
                detect(definition)
            except PatternSyntaxError as error:
                raise DefinitionError(file, line, name, str(error)) from None
            except ValueError as error:
                raise DefinitionError(file, line, name, str(error)) from None
            if definition.name in out:
                raise DefinitionError(file, line, name, "another pattern has this name")
            out[definition.name] = definition
    return list(out.values())


def _files(path: str) -> list[str]:
    if os.path.isdir(path):
        return sorted(os.path.join(path, name) for name in os.listdir(path) if _is_definition(name))
    if not os.path.exists(path):
        raise CallerError(f"there is no file or directory {path!r} with definitions")
    return [path]


def _is_definition(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.startswith(".") and not os.path.splitext(name)[0].endswith(".test")


def _entries(file: str) -> Iterator[tuple[str, Any, int | None]]:
    """Name, value and line of each pattern in a file."""
    try:
        text = Path(file).read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"{file} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or "this is no YAML"
        raise DefinitionError(file, mark.line + 1 if mark else None, "", str(reason)) from None
    if not isinstance(content, dict) or not isinstance(root, yaml.MappingNode):
        return
    lines = _lines(root)
    if "patterns" in content:
        if not isinstance(content["patterns"], dict):
            raise DefinitionError(file, lines.get("patterns"), "patterns", "a mapping of names to patterns is expected")
        for name, value in content["patterns"].items():
            yield str(name), value, lines.get(f"patterns.{name}")
    if "pattern" in content:
        stem = os.path.splitext(os.path.basename(file))[0]
        yield str(content.get("name", stem)), content["pattern"], lines.get("pattern")


def _lines(root: yaml.MappingNode) -> dict[str, int]:
    out = {}
    for key, value in root.value:
        out[str(key.value)] = key.start_mark.line + 1
        if isinstance(value, yaml.MappingNode):
            out |= {f"{key.value}.{inner.value}": inner.start_mark.line + 1 for inner, _ in value.value}
    return out
