"""What a definition of kind `provenance` says: what is tracked, for how long, and which labels files hand on."""

# ruff: noqa: RUF012 - pydantic copies its models' defaults
from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from automation.forms import Form, Globs, Name


class ProvenanceForm(Form):
    """The whole file."""

    kind: Literal["provenance"]
    name: Name
    description: str = ""
    enabled: bool = True
    path: Globs | None = None
    labels: dict[Name, Globs] = {}
    most_edges: int = Field(default=1_000_000, ge=1000, le=100_000_000)
    metadata: dict[str, Any] = {}
