"""A run as it is shown, from its records alone: for runs that are no longer, or were never, in memory.

A place such as `each[3].copy` says where a step stands: within `each`. Steps that only hold others have no records of
their own; they are made for those within them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from automation.runner.ledger import Record, StoredRun
from automation.runner.record import Run, StepRecord, StepStatus
from automation.triggers.firing_records import read_firing
from automation.triggers.on_pattern import match_facts

_TURN: Final = re.compile(r"\[\d+\]\Z")
_STEPS: Final[Mapping[str, StepStatus]] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "skipped": "skipped",
    "compensated": "compensated",
}
Kinds = Mapping[str, tuple[str, str]]  # segment of a place → name and kind of the step


def recalled(stored: StoredRun, kinds: Kinds) -> Run:
    """The run; `kinds` are those of its plan."""
    new = stored.run
    firing = read_firing(new.firing)
    run = Run(new.id, new.workflow, firing, dict(firing.input), [], "running", new.at)
    run.started_ns = stored.records[0].at if stored.records else new.at
    run.match = None if firing.match is None else match_facts(firing.match)
    run.priority, run.tenant, run.parent = new.priority, new.tenant, new.parent
    steps = _Steps(run, kinds)
    for record in stored.records:
        _TAKE.get(record.kind, _ignore)(run, steps, record)
    return run


class _Steps:
    """The tree of executions, by place."""

    def __init__(self, run: Run, kinds: Kinds) -> None:
        self._run: Final = run
        self._kinds: Final = kinds
        self._by_place: Final[dict[str, StepRecord]] = {}

    def at(self, place: str) -> StepRecord:
        """The execution at a place, and those that it is within."""
        known = self._by_place.get(place)
        if known is not None:
            return known
        name, kind = self._kinds.get(_segment(place), (_segment(place), ""))
        if place.startswith("undo/"):
            name = f"undo {place.removeprefix('undo/')}"
        record = self._by_place[place] = StepRecord(name, kind, "running", place=place)
        holder = next((p for p in _above(place) if _segment(p) in self._kinds), None)
        if holder is None or place.startswith("undo/"):
            self._run.steps.append(record)
        else:
            self.at(holder).within(record)
        return record

    def begin(self, record: StepRecord, at: int) -> None:
        """Note when it, and what it is within, began."""
        for place in (record.place, *_above(record.place)):
            one = self._by_place.get(place)
            if one is not None and not one.started_ns:
                one.started_ns = at

    def end(self, status: str, at: int) -> None:
        """What has no end of its own ended with the run."""
        for record in self._by_place.values():
            if record.status == "running":
                record.status = "succeeded" if status == "succeeded" or record.steps else "failed"
                record.ended_ns = record.ended_ns or at


def _above(place: str) -> Iterator[str]:
    """The places that hold a place, innermost first: `a.then.b[2].c` → `a.then.b`, `a.then`, `a`."""
    while "." in place:
        place = _TURN.sub("", place.rpartition(".")[0]).partition("!error")[0]
        yield place


def _segment(place: str) -> str:
    return place.rpartition(".")[2]


def _started(run: Run, steps: _Steps, record: Record) -> None:
    step = steps.at(record.place)
    step.action = str(record.data.get("action", step.action))
    step.attempts = int(record.data.get("attempt", 1))
    steps.begin(step, record.at)


def _ended(run: Run, steps: _Steps, record: Record) -> None:
    step = steps.at(record.place)
    steps.begin(step, record.at)
    step.status = _STEPS.get(str(record.data.get("status")), "succeeded")
    step.ended_ns, step.attempts = record.at, int(record.data.get("attempts", step.attempts))
    step.input = record.data.get("input")
    step.result, step.error = record.data.get("result"), str(record.data.get("error", ""))


def _decided(run: Run, steps: _Steps, record: Record) -> None:
    place, _, about = record.place.partition("!")
    if about == "when" and record.data.get("value") is False:
        step = steps.at(place)
        step.status, step.started_ns, step.ended_ns = "skipped", record.at, record.at
    elif about == "value":
        step, value = steps.at(place), record.data.get("value")
        step.branch = {True: "then", False: "else"}.get(value, str(value)) if isinstance(value, bool) else str(value)
        steps.begin(step, record.at)
    elif about == "items":
        steps.begin(steps.at(place), record.at)


def _timer(run: Run, steps: _Steps, record: Record) -> None:
    step = steps.at(record.place)
    steps.begin(step, record.at)
    step.error = str(record.data.get("error", ""))


def _compensating(run: Run, steps: _Steps, record: Record) -> None:
    run.status, run.error = "compensating", str(record.data.get("error", ""))


def _finished(run: Run, steps: _Steps, record: Record) -> None:
    data = record.data
    run.status, run.ended_ns = data.get("status", "failed"), record.at
    run.output, run.error = data.get("output"), str(data.get("error") or "")
    run.left = list(data.get("left") or ())
    steps.end(run.status, record.at)


def _mail(run: Run, steps: _Steps, record: Record) -> None:
    run.received += 1


def _ignore(run: Run, steps: _Steps, record: Record) -> None:
    """A kind that a later version knows."""


_TAKE: Final[Mapping[str, Callable[[Run, _Steps, Record], None]]] = {
    "started": _started,
    "ended": _ended,
    "decided": _decided,
    "timer": _timer,
    "mail": _mail,
    "compensating": _compensating,
    "finished": _finished,
}


def history(stored: StoredRun) -> list[dict[str, Any]]:
    """Every record as plain values, oldest first: attempts, decisions, timers and all."""
    return [{"at": r.at, "kind": r.kind, "place": r.place, "data": dict(r.data)} for r in stored.records]
