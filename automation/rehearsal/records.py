"""What detection found, as records of the output; `docs/patterns.md` describes each kind, and they are stable."""

from __future__ import annotations

from typing import Any

from automation.event_lines import MS
from automation.facts import target_of
from automation.machines.outcomes import Moved
from automation.machines.outcomes import Outcome as MachineOutcome
from automation.patterns.outcomes import Expired, Failed, Late, Match, Outcome, Overflow, as_plain
from automation.rules.rule_set import Fired
from automation.triggers.firing import Firing

Record = dict[str, Any]


def found(outcome: Outcome, at: int) -> Record:
    """What a pattern told; `at` is the number of the input item, from 0."""
    common = {"pattern": outcome.pattern, "at": at}
    match outcome:
        case Match():
            out = {"kind": "match", **common, "on": outcome.on, "id": outcome.id, "ts": outcome.ts}
            out |= {"confidence": round(outcome.confidence, 6), "steps": as_plain(outcome.steps)}
            return {**out, "values": dict(outcome.values)} if outcome.values else out
        case Expired():
            out = {"kind": "timeout", **common, "id": outcome.id, "deadline": outcome.deadline}
            return {**out, "deadline_ms": outcome.deadline / MS, "steps": as_plain(outcome.steps)}
        case Late():
            return {"kind": "late", **common, "event": outcome.event.as_dict(), "total": outcome.total}
        case Overflow():
            counts = {"what": outcome.what, "dropped": outcome.dropped, "total": outcome.total}
            return {"kind": "overflow", **common, **counts}
        case Failed():
            return {"kind": "failed", **common, "reason": outcome.reason}


def would_run(firing: Firing, ts: int, at: int) -> Record:
    """A run that there would be; its events by number, the last 1,000."""
    out = {"kind": "run", "workflow": firing.workflow, "at": at, "ts": ts, "trigger": f"{firing.kind}#{firing.trigger}"}
    out |= {"key": firing.key, "event": firing.event.seq, "path": target_of(firing.event)}
    out |= {"events": [event.seq for event in firing.events], "count": firing.count}
    return out | ({"match": firing.match.id} if firing.match is not None else {})


def fired(one: Fired, ts: int, at: int) -> Record:
    """A rule's firing."""
    form = one.rule.body.program.form
    out = {"kind": "firing", "rule": one.rule.name, "at": at, "ts": ts, "key": one.key}
    out |= {"event": one.event.seq, "type": one.event.type, "path": target_of(one.event)}
    out |= {"otherwise": True} if one.otherwise else {}
    return out | ({"workflow": form.workflow} if form.workflow is not None else {})


def moved(outcome: MachineOutcome, at: int) -> Record:
    """What a machine told: a move with the actions that it would carry out, or that an instance was given up."""
    out: Record = {"kind": "move", "machine": outcome.machine, "at": at, "ts": outcome.at, "key": outcome.key}
    if not isinstance(outcome, Moved):
        return out | {"kind": "given_up", "reason": getattr(outcome, "reason", "there were too many instances")}
    out |= {"trigger": outcome.trigger, "before": list(outcome.before), "after": list(outcome.after)}
    out |= {"event": outcome.event.seq} if outcome.event is not None else {}
    out |= {"actions": list(outcome.actions)} if outcome.actions else {}
    out |= {"faults": list(outcome.faults)} if outcome.faults else {}
    return out | ({"finished": True, "result": outcome.result} if outcome.finished else {})
