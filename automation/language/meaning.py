"""A sentence → the definition that it means, as plain values. CallerError says what was not understood."""

from __future__ import annotations

import re
from typing import Any, Final

from automation.errors import CallerError
from automation.language.advice import ambiguous, not_understood, nothing_done
from automation.language.effects import effect
from automation.language.forms import ACTIONS, KINDS
from automation.language.limits import limit
from automation.language.reading import Reading, Slots, own, place, readings, word
from automation.language.times import cron, duration, seconds
from automation.language.words import Word, cut, literal, pieces, quantity, shown

_STARTS: Final = frozenset(
    ("when", "whenever", "if", "once", "every", "each", "daily", "nightly", "hourly", "on", "as", "at")
)
VERBS: Final = frozenset(shown.split()[0] for form in ACTIONS for shown in form.shown)
_TRAILING: Final = frozenset(("when", "whenever", "every", "each"))
_LONGEST: Final = 4  # pieces of a trigger, which may have "and" in it


def definition(sentence: str) -> dict[str, Any]:
    """What the sentence means: triggers, steps and limits of a workflow, named after what it does."""
    words = _trigger_first(cut(sentence))
    if not words:
        raise CallerError("a sentence is missing; write for instance: when a csv arrives in inbox, copy it to archive")
    trigger, rest = _trigger(words)
    out: dict[str, Any] = {"triggers": [_TRIGGERS[trigger.form](trigger.slots, words[: len(words) - len(rest)])]}
    steps: list[dict[str, Any]] = []
    it = _it(trigger)
    for piece in pieces(rest):
        read, kind = _clause(piece)
        if kind == "limit":
            limit(out, read, piece)
        else:
            step, it = effect(read, it, len(steps) + 1, piece)
            steps.append(step)
    if not steps:
        raise CallerError(nothing_done(rest))
    each = out.pop("_each", {})
    steps = [step | each for step in steps]
    name = out.pop("name", None) or _named(words)
    return {"name": name, **out, "steps": steps}


def _it(trigger: Reading) -> str | None:
    """The template for the file, empty when it is gone; None when nothing is said of a file."""
    if trigger.form != "file":
        return None
    return "" if trigger.slots["happening"] == "file.deleted" else "{{ event.target }}"


def _trigger_first(words: list[Word]) -> list[Word]:
    """`copy it to archive when …` is `when …, copy it to archive`."""
    if not words or words[0].plain in _STARTS:
        return words
    at = next((i for i, word in enumerate(words) if word.kind == "word" and word.plain in _TRAILING), None)
    return words if at is None else [*words[at:], Word("stop", ","), *words[:at]]


def _trigger(words: list[Word]) -> tuple[Reading, list[Word]]:
    """The clause that says when, and what comes after it."""
    ends = [i for i, word in enumerate(words) if word.kind == "stop" or word.plain == "and"][:_LONGEST]
    for end in (*reversed([*ends, len(words)]),):
        clause = [word for word in words[:end] if word.kind != "stop"]
        found = readings("trigger", clause)
        if len(found) > 1:
            raise CallerError(ambiguous(clause, found))
        if found:
            return found[0], words[end:]
    for end in range(len(words) - 1, 2, -1):
        if words[end].plain in VERBS and readings("trigger", words[:end]):
            raise CallerError(f"write a comma after {shown(words[:end])!r}, before what is to be done")
    first = words[: next((i for i, word in enumerate(words) if word.kind == "stop"), len(words))]
    raise CallerError(not_understood(first, ("trigger",)))


def _clause(piece: list[Word]) -> tuple[Reading, str]:
    """What a piece says to do, or how often at most."""
    found = [(read, kind) for kind in ("action", "limit") for read in readings(kind, piece)]
    if not found:
        raise CallerError(not_understood(piece, ("action", "limit")))
    if len(found) > 1:
        raise CallerError(ambiguous(piece, [read for read, _ in found]))
    return found[0]


# What starts it


def _on_file(slots: Slots, words: list[Word]) -> dict[str, Any]:
    types = str(slots["happening"]).split()
    paths = [_glob(slots)]
    if "except" in slots:
        paths.append(f"!{place(slots['except'])}/**")
    if "target" in slots:  # renamed into another place: the new name counts, the old one was in the place
        trigger: dict[str, Any] = {"types": types, "from": _one(paths), "path": f"{place(slots['target'])}/**"}
    else:
        trigger = {"types": types, "path": _one(paths)}
    if trigger["path"] == "**":
        del trigger["path"]
    if "size" in slots:
        low = f">= {_size(slots['low'])}, <= " if "low" in slots else f"{slots['compare']} "
        trigger["size"] = f"{low}{_size(slots['size'])}"
    if "program" in slots:
        trigger["comm"] = own(slots["program"])
    if "span" in slots:
        trigger["settle"] = duration(seconds(word(slots["span"])))
    return trigger


def _on_folder(slots: Slots, words: list[Word]) -> dict[str, Any]:
    trigger: dict[str, Any] = {"types": [slots["folding"]], "path": _one([_glob(slots)])}
    if "except" in slots:
        trigger["path"] = [trigger["path"], f"!{place(slots['except'])}/**"]
    if trigger["path"] == "**":
        del trigger["path"]
    return trigger | ({"comm": own(slots["program"])} if "program" in slots else {})


def _on_clock(slots: Slots, words: list[Word]) -> dict[str, Any]:
    clause = [word for word in words if word.kind != "stop"]
    at = next(i for i, word in enumerate(clause) if word.kind == "clock")
    days = [*clause[: at - 1], *clause[at + 1 :]]
    return {"type": "schedule", "cron": cron(shown(days), clause[at].text)}


def _on_pace(slots: Slots, words: list[Word]) -> dict[str, Any]:
    if "span" in slots:
        length = seconds(word(slots["span"]))
        if length < 1:
            raise CallerError(f"a pace is a second at least, not {word(slots['span']).text}")
        return {"type": "schedule", "every": duration(length)}
    return {"type": "schedule", "every": f"1{str(slots.get('beat') or slots['hourly'])[0]}"}


def _on_state(slots: Slots, words: list[Word]) -> dict[str, Any]:
    trigger = {"type": "state_change", "state_path": slots["measure"]}
    return _compared(trigger, slots, str(slots.get("compare", ">=")))


def _on_value(slots: Slots, words: list[Word]) -> dict[str, Any]:
    trigger: dict[str, Any] = {"type": "state_change", "state_path": own(slots["place"])}
    if "amount" in slots:
        return _compared(trigger, slots, str(slots["compare"]))
    if "value" in slots:
        trigger |= {"operator": "==", "value": literal(word(slots["value"]))}
        return trigger | _held(slots)
    return trigger


def _on_anomaly(slots: Slots, words: list[Word]) -> dict[str, Any]:
    trigger: dict[str, Any] = {"type": "anomaly"}
    if "anomaly" in slots:
        trigger["anomaly_type"] = [slots["anomaly"]]
    return trigger | ({"severity_threshold": slots["severity"]} if "severity" in slots else {})


def _on_outside(slots: Slots, words: list[Word]) -> dict[str, Any]:
    return {"type": "external_event", "event_type": [own(slots["place"])]}


def _compared(trigger: dict[str, Any], slots: Slots, operator: str) -> dict[str, Any]:
    return trigger | {"operator": operator, "value": literal(word(slots["amount"]))} | _held(slots)


def _held(slots: Slots) -> dict[str, Any]:
    return {"held": duration(seconds(word(slots["span"])))} if "span" in slots else {}


_TRIGGERS: Final = {
    "file": _on_file,
    "folder": _on_folder,
    "clock": _on_clock,
    "pace": _on_pace,
    "state": _on_state,
    "value": _on_value,
    "anomaly": _on_anomaly,
    "outside": _on_outside,
}


# Words of the author's


def _glob(slots: Slots) -> str:
    """What the path must match."""
    name = own(slots["name"]) if "name" in slots else f"*.{KINDS[str(slots['kind'])]}" if "kind" in slots else ""
    if "name" in slots and "kind" in slots:
        raise CallerError("name a file or say its kind, not both")
    if "place" not in slots:
        return f"**/{name}" if name else "**"
    where = place(slots["place"])
    if "directly" in slots:
        return f"{where}/{name or '*'}"
    return f"{where}/**/{name}" if name else f"{where}/**"


def _one(values: list[str]) -> Any:
    return values[0] if len(values) == 1 else values


def _size(slot: str | Word) -> str:
    """As a definition has it: `10MB`."""
    amount, unit = quantity(word(slot).text)
    short = re.sub(r"^(k|m|g|t)(?:ilo|ega|iga|era)bytes?$", r"\1b", unit)
    short = "" if short.startswith("byte") else short.upper().replace("IB", "iB")
    return f"{amount:g}{short}"


def _named(words: list[Word]) -> str:
    """A name out of the words that matter, the same for the same sentence."""
    kept = [word for word in words if word.kind in ("word", "name", "clock", "span") and word.plain not in _DULL]
    text = "-".join(re.sub(r"[^a-z0-9]+", "-", word.plain).strip("-") for word in kept[:8])
    return re.sub(r"-+", "-", text).strip("-")[:60] or "rule"


_DULL: Final = frozenset(
    (
        *("a", "an", "the", "is", "are", "it", "and", "then", "to", "in", "into", "of", "for", "from", "by"),
        *("when", "whenever", "if", "every", "each", "at", "on", "most", "but", "as"),
    )
)
