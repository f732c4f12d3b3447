"""The compact form of a pattern: model → text. `text.py` is the way back; both ends mean the same."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from automation.patterns.elements import Contiguity
from automation.patterns.model import Pattern, SkipAfter, Step, format_duration
from automation.patterns.skipping import Strategy

_PLAIN: Final = re.compile(r"[A-Za-z_]\w*")
_LINKS: Final = {Contiguity.RELAXED: "->", Contiguity.STRICT: "=>", Contiguity.ANY: "->>"}
_DEFAULTS: Final = {"max_partials": 10_000, "max_bytes": 64_000_000}


def render_pattern(pattern: Pattern) -> str:
    """The text of a pattern; its name is not part of it."""
    return " ".join([_sequence(pattern.steps), *_clauses(pattern)])


def _sequence(steps: Sequence[Step]) -> str:
    out = ""
    for index, step in enumerate(steps):
        if index:
            gap = f"[{format_duration(step.gap)}]" if step.gap else ""
            out += f" {_LINKS[step.follows]}{gap} "
        out += _part(step, head=index == 0)
    return out


def _part(step: Step, *, head: bool = False) -> str:
    if step.group:
        body = f"({_sequence(step.group)})"
    elif step.any_of:
        body = f"({' | '.join(_sequence(choice) for choice in step.any_of)})"
    elif step.all_of:
        body = f"({' & '.join(_part(member) for member in step.all_of)})"
    else:
        body = f"{'!' * step.absent}{render_name(step.step)}({_content(step)})"
    gap = f" gap {format_duration(step.gap)}" if head and step.gap else ""
    return body + _quantifier(step) + gap


def _content(step: Step) -> str:
    alias = f"{render_name(step.alias)}: " if step.alias else ""
    return (alias + render_filter(step.event, step.path, step.where)).rstrip()


def render_filter(event: Sequence[str], path: Sequence[str], where: str) -> str:
    """Types, globs and condition of one kind of event."""
    out = "|".join(event)
    for glob in path:
        out += (", " if out else "") + json.dumps(glob, ensure_ascii=False)
    if where:
        out += (" " if out else "") + f"where {where}"
    return out


def _quantifier(step: Step) -> str:
    out = ""
    if step.repeat is None:
        out = "?" * step.optional
    elif step.repeat.max is None and step.repeat.min == 1:
        out = "*" if step.optional else "+"
    else:
        low, high = step.repeat.min, step.repeat.max
        out = f"{{{low}}}" if low == high else f"{{{low},{'' if high is None else high}}}"
        out += "?" * step.optional
    if step.every:
        out += f"[{format_duration(step.every)}]"
    if step.inner is not Contiguity.RELAXED:
        out += f" {step.inner.value}"
    out += " greedy" * step.greedy
    return out + (f" until ({step.until})" if step.until else "")


def _clauses(pattern: Pattern) -> list[str]:
    out = []
    if pattern.within:
        out.append(f"within {format_duration(pattern.within)}")
    if pattern.by:
        out.append("by " + ", ".join(pattern.by))
    if pattern.over:
        out.append("over " + "|".join(pattern.over))
    if pattern.skip.strategy is not Strategy.NONE:
        out.append(_skip(pattern.skip))
    if pattern.timeouts:
        out.append("timeouts")
    if pattern.time == "event":
        late = "" if pattern.lateness is None else f" late {format_duration(pattern.lateness)}"
        out.append("event time" + late)
    if pattern.min_confidence:
        out.append(f"confidence {pattern.min_confidence!r}")
    if (pattern.max_partials, pattern.max_bytes) != tuple(_DEFAULTS.values()):
        size = "" if pattern.max_bytes == _DEFAULTS["max_bytes"] else f" {pattern.max_bytes}"
        out.append(f"limit {pattern.max_partials}{size}")
    return out


def _skip(skip: SkipAfter) -> str:
    match skip.strategy:
        case Strategy.NEXT:
            return "skip to next"
        case Strategy.PAST_LAST:
            return "skip past last"
    where = skip.strategy.value.removeprefix("to_")
    return f"skip to {where} {render_name(skip.to)}" + " or fail" * skip.strict


def render_name(name: str) -> str:
    """An identifier as it is, any other name in double quotes."""
    return name if _PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False)
