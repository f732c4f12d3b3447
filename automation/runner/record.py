"""What is known of a run: while it goes on, and afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from automation.events import Cause
from automation.facts import event_facts
from automation.triggers.firing import Firing

Status = Literal["pending", "running", "succeeded", "failed", "compensated", "cancelled"]
StepStatus = Literal["pending", "running", "succeeded", "failed", "skipped", "compensated"]
FINISHED: Final = frozenset({"succeeded", "failed", "compensated", "cancelled"})
MOST_PATHS: Final = 100


@dataclass(slots=True)
class StepRecord:
    """One step of a run; times in nanoseconds since the epoch, `result` is JSON."""

    name: str
    action: str
    status: StepStatus = "pending"
    attempts: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    result: Any = None
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, without those that are not there yet."""
        out: dict[str, Any] = {"name": self.name, "action": self.action, "status": self.status}
        if self.attempts:
            out |= {"attempts": self.attempts, "started_ns": self.started_ns, "ended_ns": self.ended_ns}
        if self.result is not None:
            out["result"] = self.result
        return out | ({"error": self.error} if self.error else {})


@dataclass(slots=True)
class Run:
    """One run of a workflow. `steps` are those of the plan, then what compensation did; `output` is the last result."""

    id: str
    workflow: str
    firing: Firing
    input: Mapping[str, Any]
    steps: list[StepRecord]
    status: Status = "pending"
    started_ns: int = 0
    ended_ns: int = 0
    error: str = ""
    output: Any = None
    results: dict[str, Any] = field(default_factory=dict)
    vars: dict[str, Any] = field(default_factory=dict)
    match: dict[str, Any] | None = None

    @property
    def trigger(self) -> str:
        """What started it: `event`, `schedule` or `manual`, and the trigger's number."""
        return self.firing.kind if self.firing.trigger < 0 else f"{self.firing.kind}#{self.firing.trigger}"

    @property
    def event(self) -> dict[str, Any]:
        """The event that speaks for the firing, as templates see it."""
        return event_facts(self.firing.event)

    @property
    def finished(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status in FINISHED

    @property
    def cause(self) -> Cause:
        """The mark of everything that this run brings about."""
        return Cause(self.id, self.workflow, self.firing.depth + 1)

    def facts(self) -> dict[str, Any]:
        """What templates see as `run`: `paths` are the distinct targets of the events, the last `MOST_PATHS`."""
        paths = list(dict.fromkeys(e.path if e.dest is None else e.dest for e in self.firing.events))
        return {
            "id": self.id,
            "workflow": self.workflow,
            "started": self.started_ns,
            "trigger": self.firing.kind,
            "key": self.firing.key,
            "count": self.firing.count,
            "paths": paths[-MOST_PATHS:],
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `/.vexfs/runs`."""
        out: dict[str, Any] = {
            "id": self.id,
            "workflow": self.workflow,
            "status": self.status,
            "trigger": self.trigger,
            "started_ns": self.started_ns,
            "ended_ns": self.ended_ns,
            "duration_ms": round((self.ended_ns - self.started_ns) / 1e6, 3) if self.ended_ns else None,
            "event": self.firing.event.as_dict(),
            "count": self.firing.count,
            "key": self.firing.key,
            "steps": [step.as_dict() for step in self.steps],
        }
        for name in ("error", "input", "output"):
            if getattr(self, name):
                out[name] = getattr(self, name)
        return out
