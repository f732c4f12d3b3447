"""A firing, its events and its match as plain JSON and back, so that a run can go on after a restart.

Events that the match and the firing share are written once. Text of any bytes stays what it is: its surrogate escapes
are escapes in JSON too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from automation.events import SemanticEvent
from automation.patterns.outcomes import Match
from automation.patterns.snapshots import read_numbered
from automation.triggers.firing import Firing

_SIMPLE: Final = frozenset({str, int, float, bool, type(None)})


def event_record(event: SemanticEvent) -> dict[str, Any]:
    """An event as plain JSON, with its number; attributes that are no JSON become text."""
    if all(type(value) in _SIMPLE for value in event.attrs.values()):
        return event.as_dict()
    plain: dict[str, Any] = json.loads(event.as_json())
    return plain


def firing_record(firing: Firing) -> dict[str, Any]:
    """A firing as plain JSON, made once and never changed."""
    known: dict[str, Any] = firing.made.get("record") or firing.made.setdefault("record", _record(firing))
    return known


def _record(firing: Firing) -> dict[str, Any]:
    events: list[SemanticEvent] = []
    numbers: dict[int, int] = {}

    def number(event: SemanticEvent) -> int:
        if id(event) not in numbers:
            numbers[id(event)] = len(events)
            events.append(event)
        return numbers[id(event)]

    out: dict[str, Any] = {"workflow": firing.workflow, "trigger": firing.trigger, "kind": firing.kind}
    out |= {"key": firing.key, "of": [number(event) for event in firing.events], "count": firing.count}
    if firing.again:
        out["again"] = firing.again
    if firing.input:
        out["input"] = dict(firing.input)
    if firing.actions:
        out["actions"] = [dict(action) for action in firing.actions]
    if firing.match is not None:
        match = firing.match
        out["match"] = {
            "pattern": match.pattern,
            "id": match.id,
            "steps": {name: [number(event) for event in found] for name, found in match.steps.items()},
            "confidence": match.confidence,
            "on": match.on,
            "ts": match.ts,
            "values": dict(match.values),
        }
    out["events"] = [event_record(event) for event in events]
    return out


def read_firing(value: Mapping[str, Any]) -> Firing:
    """The firing that `firing_record` wrote."""
    events = [read_numbered(event) for event in value["events"]]
    match = None
    if "match" in value:
        found = dict(value["match"])
        steps = {name: [events[i] for i in numbers] for name, numbers in found.pop("steps").items()}
        match = Match(steps=steps, **found)
    return Firing(
        value["workflow"],
        value["trigger"],
        value["kind"],
        value["key"],
        tuple(events[i] for i in value["of"]),
        value["count"],
        value.get("input", {}),
        tuple(value.get("actions", ())),
        match,
        again=value.get("again", ""),
    )
