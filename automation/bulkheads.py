"""Who may have how much of the runs that go on at once: bounds for a workflow type, a priority or a tenant."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from automation.forms import Form

PRIORITIES: Final = ("critical", "high", "normal", "low")
"""Strict: whoever waits in an earlier class goes first."""
IMPORTANT: Final = PRIORITIES[:2]
"""What is never given up."""

EVERY: Final = "*"
Full = Literal["reject", "drop_newest", "drop_oldest"]
"""Who gives way when a queue is full: whoever comes (two names for it), or whoever has waited longest."""


class Bulkhead(Form):
    """At most `limit` runs go on at once and `queue` wait; `full` says who gives way when more come. What waits for a
    time, an event or a sub-workflow does not count.
    """

    limit: int = Field(ge=1, le=100_000)
    queue: int = Field(default=10_000, ge=0, le=1_000_000)
    full: Full = "reject"


_Bulkhead = Annotated[
    Bulkhead,
    BeforeValidator(lambda v: {"limit": v} if isinstance(v, int) else v, json_schema_input_type=int | Bulkhead),
]


class Bulkheads(Form):
    """By workflow type, priority and tenant; the tenant `*` stands for each that has none of its own."""

    types: dict[str, _Bulkhead] = Field(default_factory=dict)
    priorities: dict[Literal["critical", "high", "normal", "low"], _Bulkhead] = Field(default_factory=dict)
    tenants: dict[str, _Bulkhead] = Field(default_factory=dict)
