"""What is known of a run: while it goes on, and afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from automation.events import Cause
from automation.facts import event_facts
from automation.triggers.firing import Firing

Status = Literal[
    "pending",
    "running",
    "waiting",
    "compensating",
    "suspended",
    "succeeded",
    "failed",
    "compensated",
    "compensation_failed",
    "cancelled",
]
StepStatus = Literal["pending", "running", "waiting", "succeeded", "failed", "skipped", "compensated"]
FINISHED: Final = frozenset({"succeeded", "failed", "compensated", "compensation_failed", "cancelled"})
MOST_PATHS: Final = 100
MOST_STEPS: Final = 1000  # as many as a definition may have
MOST_SHOWN: Final = 200  # executions of the steps within one step


@dataclass(slots=True)
class StepRecord:
    """One execution of a step; times in nanoseconds since the epoch, `result` is JSON. `steps` are the executions
    within it, of which the first ones go when there are more than 200; `omitted` counts them.
    """

    name: str
    action: str
    status: StepStatus = "pending"
    attempts: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    result: Any = None
    error: str = ""
    place: str = ""
    branch: str = ""
    progress: tuple[int, int] | None = None
    input: Any = None
    steps: list[StepRecord] | None = None
    omitted: int = 0

    def within(self, record: StepRecord) -> None:
        """Add the execution of a step within this one."""
        if self.steps is None:
            self.steps = []
        self.steps.append(record)
        if len(self.steps) > MOST_SHOWN:
            del self.steps[0]
            self.omitted += 1

    def as_dict(self) -> dict[str, Any]:
        """Plain values, without those that are not there yet."""
        out: dict[str, Any] = {"name": self.name, "action": self.action, "status": self.status}
        if self.place and self.place != self.name:
            out["place"] = self.place
        if self.attempts:
            out |= {"attempts": self.attempts}
        if self.started_ns:
            out |= {"started_ns": self.started_ns, "ended_ns": self.ended_ns}
        if self.input is not None:
            out["input"] = self.input
        if self.result is not None:
            out["result"] = self.result
        for name in ("error", "branch", "omitted"):
            if getattr(self, name):
                out[name] = getattr(self, name)
        if self.progress is not None:
            out["progress"] = list(self.progress)
        return out | ({"steps": [step.as_dict() for step in self.steps]} if self.steps else {})


@dataclass(slots=True)
class Run:
    """One run of a workflow. `steps` are those of the plan, then what compensation did; of a state machine or an
    event-driven run what was done, of which the first ones go when there are more than 1,000, and `omitted` counts
    them. `output` is what it gave.

    `missed` counts the events that found its mailbox full. `left` is what could not be undone and is to be done by
    hand: places, actions with parameters, and errors.
    """

    id: str
    workflow: str
    firing: Firing
    input: Mapping[str, Any]
    steps: list[StepRecord]
    status: Status = "pending"
    created_ns: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    error: str = ""
    output: Any = None
    match: dict[str, Any] | None = None
    priority: str = "normal"
    tenant: str = ""
    parent: tuple[str, str] | None = None
    received: int = 0
    left: list[dict[str, Any]] = field(default_factory=list)
    omitted: int = 0
    missed: int = 0

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

    def add(self, record: StepRecord) -> None:
        """Another execution of a step at the first level."""
        self.steps.append(record)
        if len(self.steps) > MOST_STEPS:
            del self.steps[0]
            self.omitted += 1

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
            "received": self.received,
            "paths": paths[-MOST_PATHS:],
            "error": self.error,
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
            "priority": self.priority,
            "steps": [step.as_dict() for step in self.steps],
        }
        if self.firing.again:
            out["again"] = self.firing.again.partition("@")[0]
        if self.parent is not None:
            out["parent"] = {"run": self.parent[0], "place": self.parent[1]}
        for name in ("tenant", "error", "input", "output", "left", "received", "omitted", "missed"):
            if getattr(self, name):
                out[name] = getattr(self, name)
        return out
