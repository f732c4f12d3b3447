"""A pattern as a definition gives it → its model, its detector, its compact form.

It is text or a mapping; a mapping may give the compact form as `text` and the remaining fields beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from automation.patterns.correlation import Correlation, CorrelationDetector
from automation.patterns.correlation_text import is_correlation, parse_correlation, render_correlation
from automation.patterns.detector import Detector
from automation.patterns.model import Pattern
from automation.patterns.rendering import render_pattern
from automation.patterns.text import first_problem, parse_pattern

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
