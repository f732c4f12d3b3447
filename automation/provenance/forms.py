"""What a definition of kind `provenance` says: what is tracked, for how long, and which labels files hand on."""

# ruff: noqa: RUF012 - pydantic copies its models' defaults
from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from automation.forms import Form, Globs, Name


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
