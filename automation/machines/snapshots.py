"""An instance as plain JSON and back: names instead of numbers, so that it outlives a change of the chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automation.events import Cause, SemanticEvent
from automation.machines.chart import Chart
from automation.machines.content import plain
from automation.machines.instance import Instance, Timer

_FIELDS = ("inode", "size", "offset", "length", "pid", "uid", "gid", "comm", "tenant", "errno")


def copied(instance: Instance) -> Instance:
    """An instance that stays as this one is now."""
    copy = Instance(instance.key, instance.began)
    copy.config, copy.entered, copy.origin = instance.config, instance.entered, instance.origin
    copy.since, copy.moves = instance.since, instance.moves
    if instance.vars:
        copy.vars = plain(instance.vars)
    if instance.timers:
        copy.timers = list(instance.timers)
    if instance.history:
        copy.history = dict(instance.history)
    return copy


def snapshot_instance(chart: Chart, instance: Instance) -> dict[str, Any]:
    """`{key, states, began, since, moves, vars, history, timers, entered, origin}`, without what is empty."""
    out: dict[str, Any] = {
        "key": instance.key,
        "states": _names(chart, instance.config),
        "began": instance.began,
        "since": instance.since,
        "moves": instance.moves,
    }
    more = {
        "vars": plain(instance.vars),
        "history": {chart.states[n].name: _names(chart, states) for n, states in instance.history.items()},
        "timers": [[t.due, t.order, t.name, t.data, t.sender] for t in instance.timers],
        "entered": _names(chart, instance.entered),
        "origin": None if instance.origin is None else _event_values(instance.origin),
    }
    return out | {name: value for name, value in more.items() if value}


def restore_instance(chart: Chart, values: Mapping[str, Any]) -> Instance:
    """The instance of a snapshot; LookupError, TypeError or ValueError when it does not fit the chart."""
    config = _states(chart, values["states"])
    if not chart.is_legal(config):
        raise ValueError(f"{', '.join(values['states'])} are no states that can be active together")
    instance = Instance(values["key"], values["began"])
    instance.config = config
    instance.since, instance.moves = values["since"], values["moves"]
    instance.vars = dict(values.get("vars", {}))
    for name, states in values.get("history", {}).items():
        if name in chart.by_name and chart.by_name[name].is_history:
            instance.history[chart.by_name[name].number] = _states(chart, states) & ~1
    instance.timers = [Timer(*timer) for timer in values.get("timers", ())]
    instance.entered = _states(chart, values.get("entered", ()))
    origin = values.get("origin")
    instance.origin = None if origin is None else _event(origin)
    return instance


def _names(chart: Chart, states: int) -> list[str]:
    return [state.name for state in chart.members(states & ~1)]


def _states(chart: Chart, names: Any) -> int:
    found = chart.set_of(list(names))
    if found is None:
        missing = next(n for n in names if n not in chart.by_name or chart.by_name[n].is_history)
        raise LookupError(f"there is no state {missing!r} any more")
    return found | 1


def _event_values(event: SemanticEvent) -> dict[str, Any]:
    return event.as_dict() | {"attrs": plain(dict(event.attrs))}


def _event(values: Mapping[str, Any]) -> SemanticEvent:
    cause = values.get("cause")
    fields = {name: values[name] for name in _FIELDS if name in values}
    event = SemanticEvent(
        values["type"],
        values["path"],
        values.get("dest"),
        ts=values["ts"],
        cause=None if cause is None else Cause(cause["run"], cause["workflow"], cause["depth"]),
        attrs=dict(values.get("attrs", {})),
        **fields,
    )
    event.seq = values["seq"]
    return event
