"""The one form that a clause has, and what stands in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import hassil

from automation.errors import CallerError
from automation.language.forms import ACTIONS, LIMITS, LISTS, LITERAL, OWN, RULES, TRIGGERS, Form
from automation.language.words import Word

CLAUSES: Final[Mapping[str, tuple[Form, ...]]] = {"trigger": TRIGGERS, "action": ACTIONS, "limit": LIMITS}
"""The kinds of clauses and their forms."""

Slots = dict[str, str | Word]
"""What stands in a form: a word of the author's, or what a word of the language stands for."""


class Reading(NamedTuple):
    """A clause that was understood."""

    form: str
    slots: Slots


def readings(kind: str, words: list[Word]) -> list[Reading]:
    """Every way in which a clause can be read; understood is what can be read in exactly one."""
    marked = [one.plain if one.kind == "word" else f"{one.kind}zq{i}" for i, one in enumerate(words)]
    known = {mark: one for mark, one in zip(marked, words, strict=True) if one.kind != "word"}
    lists: dict[str, hassil.SlotList] = {
        name: hassil.TextSlotList.from_strings([mark for mark, one in known.items() if one.kind in kinds] or ["\0"])
        for name, kinds in LITERAL.items()
    }
    found: list[Reading] = []
    for result in hassil.recognize_all(" ".join(marked), _intents(kind), slot_lists=lists):
        slots = _slots(result, known, words)
        if slots is not None and Reading(result.intent.name, slots) not in found:
            found.append(Reading(result.intent.name, slots))
    return found


def _slots(result: hassil.RecognizeResult, known: Mapping[str, Word], words: list[Word]) -> Slots | None:
    """None where what should be one word of the author's is several, or of a kind that cannot be there."""
    out: Slots = {}
    for name, entity in result.entities.items():
        mark = str(entity.value).strip()
        if name in OWN:
            own = known.get(mark) or next(
                (one for one in words if one.kind == "word" and one.plain == mark.lower()), None
            )
            if own is None or own.kind not in OWN[name]:
                return None
            out[name] = own
        else:
            out[name] = known.get(mark, mark)
    return out


@cache
def _intents(kind: str) -> hassil.Intents:
    lists: dict[str, Any] = {name: {"wildcard": True} for name in OWN}
    for name, values in LISTS.items():
        lists[name] = {"values": [{"in": text, "out": out} for out, texts in values.items() for text in texts]}
    return hassil.Intents.from_dict(
        {
            "language": "en",
            "intents": {form.name: {"data": [{"sentences": list(form.templates)}]} for form in CLAUSES[kind]},
            "lists": lists,
            "expansion_rules": dict(RULES),
        }
    )


def word(slot: str | Word) -> Word:
    """What is the author's own."""
    assert isinstance(slot, Word)
    return slot


def own(slot: str | Word) -> str:
    """The author's own word without quotes."""
    return word(slot).value


def place(slot: str | Word) -> str:
    """A path in the mount, without slashes around it. CallerError when it leads out of it."""
    path = own(slot).strip("/")
    if not path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise CallerError(f"{own(slot)!r} is no place in the mount")
    return path


def forms(kind: str) -> Iterator[str]:
    """How the forms of a kind of clause are shown."""
    for form in CLAUSES[kind]:
        yield from form.shown
