"""The values of a definition of kind `analytics` → `Analytics`, or every error with file, line, field and reason."""

from __future__ import annotations

import os
from typing import Any, Final

from pydantic import ValidationError

from automation.analytics.forms import Analytics
from automation.errors import DefinitionError
from automation.loading import problems
from automation.sources import Source

KIND: Final = "analytics"


def is_analytics(value: Any) -> bool:
    """Whether the values of a definition file are streams."""
    return isinstance(value, dict) and value.get("kind") == KIND


def examine_analytics(source: Source) -> tuple[Analytics | None, list[DefinitionError]]:
    """The streams of a file, or None and everything that is wrong with them, by line."""
    stem = os.path.splitext(os.path.basename(source.path))[0]
    try:
        return Analytics.model_validate({"name": stem, **source.value}), []
    except ValidationError as error:
        found = [one for item in error.errors() for one in problems(source, item, Analytics)]
        return None, sorted(found, key=lambda one: one.line or 0)
