"""How often at most, how many at a time, and what else a clause says of the whole rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from automation.errors import CallerError
from automation.language.reading import Reading, Slots, word
from automation.language.times import duration, seconds
from automation.language.words import Word, number, shown

MOST_RETRIES: Final = 100


def limit(out: dict[str, Any], read: Reading, piece: list[Word]) -> None:
    """Put what the clause says into the definition. CallerError when it was said before, or cannot be."""
    found = LIMITS[read.form](read.slots)
    for name, value in found.items():
        if name == "cooldown":
            if out["triggers"][0].get("type") == "schedule":
                raise CallerError(f"{shown(piece)!r} is for what happens, not for times")
            _once(out["triggers"][0], name, value, piece)
        elif name == "_each":
            for field, inner in value.items():
                _once(out.setdefault("_each", {}), field, inner, piece)
        else:
            _once(out, name, value, piece)


def _once(into: dict[str, Any], name: str, value: Any, piece: list[Word]) -> None:
    if name in into:
        raise CallerError(f"{shown(piece)!r} says something that was said before")
    into[name] = value


def _count(slots: Slots) -> int:
    value = float(str(slots["once"])) if "once" in slots else number(word(slots["number"]).text)
    if not value.is_integer() or not 1 <= value <= 1_000_000:
        raise CallerError(f"{value:g} times cannot be counted")
    return int(value)


def _span(slots: Slots) -> str:
    return f"1{str(slots['each'])[0]}" if "each" in slots else duration(seconds(word(slots["span"])))


def _rate(slots: Slots) -> dict[str, Any]:
    count = _count(slots)
    return {"rate": {"rate": f"{count}/{_span(slots)}", "burst": count, "per": "workflow", "exceeded": "drop"}}


def _together(slots: Slots) -> dict[str, Any]:
    limit = _count(slots) if "number" in slots else 1
    return {"concurrency": {"policy": "queued", "limit": limit}}


def _retry(slots: Slots) -> dict[str, Any]:
    count = _count(slots)
    if count > MOST_RETRIES:
        raise CallerError(f"{MOST_RETRIES} retries at most, not {count}")
    return {"_each": {"retry": {"attempts": count + 1}}}


LIMITS: Final[dict[str, Callable[[Slots], dict[str, Any]]]] = {
    "rate": _rate,
    "cooldown": lambda slots: {"cooldown": _span(slots)},
    "together": _together,
    "retry": _retry,
    "timeout": lambda slots: {"timeout": duration(seconds(word(slots["span"])))},
    "priority": lambda slots: {"priority": str(slots["priority"])},
    "dry_run": lambda slots: {"dry_run": True},
    "name": lambda slots: {"name": word(slots["place"]).value},
}
"""Every form of a limit."""
