"""What a definition of kind `provenance` says: what is tracked, for how long, and which labels files hand on."""

# ruff: noqa: RUF012 - pydantic copies its models' defaults
from __future__ import annotations

import os
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from automation.errors import DefinitionError
from automation.forms import Form, Globs, Name
from automation.loading import problems
from automation.sources import Source

KIND: Final = "provenance"


class ProvenanceForm(Form):
    """The whole file. `step_names`, `triggers` and `every_pattern` are those of a definition that is no workflow."""

    kind: Literal["provenance"]
    name: Name
    description: str = ""
    enabled: bool = True
    path: Globs | None = None
    labels: dict[Name, Globs] = {}
    most_edges: int = Field(default=1_000_000, ge=1000, le=100_000_000)
    metadata: dict[str, Any] = {}

    @property
    def every_pattern(self) -> dict[str, Any]:
        """None."""
        return {}

    @property
    def step_names(self) -> list[str]:
        """None."""
        return []

    @property
    def triggers(self) -> list[Any]:
        """None."""
        return []


def is_provenance(value: Any) -> bool:
    """Whether the values of a definition file are about provenance."""
    return isinstance(value, dict) and value.get("kind") == KIND


def examine_provenance(source: Source) -> tuple[ProvenanceForm | None, list[DefinitionError]]:
    """The form of a file, or None and everything that is wrong with it, by line."""
    stem = os.path.splitext(os.path.basename(source.path))[0]
    try:
        return ProvenanceForm.model_validate({"name": stem, **source.value}), []
    except ValidationError as error:
        found = [one for item in error.errors() for one in problems(source, item, ProvenanceForm)]
        return None, sorted(found, key=lambda one: one.line or 0)
