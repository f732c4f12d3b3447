"""Of a clause that was not understood: which words were not, and which forms are nearest."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import cache
from typing import Final

from automation.language.forms import LISTS, RULES
from automation.language.reading import CLAUSES, Reading, forms
from automation.language.words import Word, shown

_MOST_FORMS: Final = 3


def not_understood(piece: list[Word], kinds: tuple[str, ...]) -> str:
    """One sentence: the words that no form has, with their nearest, then the nearest forms."""
    near = nearest_forms(piece, kinds)
    known = _vocabulary(kinds, near[0])
    strange = [word for word in _unplaced(piece, near[0]) if word.kind != "word" or word.plain not in known]
    told = [f"{word.text!r} is not understood{_like(word.plain, known)}" for word in strange]
    if not told:
        told = [f"{shown(piece)!r} is not understood: its words are known, but not in this order"]
    else:
        told[0] = f"in {shown(piece)!r} " + told[0]
    return f"{', '.join(told)}; the nearest forms are: {' | '.join(near)}"


def ambiguous(piece: list[Word], found: Iterable[Reading]) -> str:
    """One sentence about a clause with several meanings."""
    return (
        f"{shown(piece)!r} can be read in two ways ({', '.join(sorted({one.form for one in found}))}); say it otherwise"
    )


def nothing_done(rest: list[Word]) -> str:
    """One sentence about a rule without an action."""
    after = " after what happens, write a comma and what is to be done" if not rest else " nothing is to be done"
    return f"the sentence does nothing:{after}, for instance: copy it to archive"


def nearest_forms(piece: list[Word], kinds: tuple[str, ...]) -> list[str]:
    """The forms that resemble a clause most, as they are shown."""
    said = [word.plain for word in piece]
    every = [form for kind in kinds for form in forms(kind)]
    return sorted(every, key=lambda form: -_likeness(said, form))[:_MOST_FORMS]


def _likeness(said: list[str], form: str) -> float:
    words = form.lower().split()
    alike = difflib.SequenceMatcher(None, said, words).ratio()
    first = difflib.SequenceMatcher(None, said[0] if said else "", words[0]).ratio()
    return alike + 0.5 * first


def _unplaced(piece: list[Word], form: str) -> list[Word]:
    """The words that the form does not have, and for which it has no place of the author's."""
    other = form.split()
    matcher = difflib.SequenceMatcher(None, [word.plain for word in piece], [word.lower() for word in other])
    out: list[Word] = []
    for what, i1, i2, j1, j2 in matcher.get_opcodes():
        if what in ("replace", "delete"):
            places = [_SLOTS[word.strip('"')] for word in other[j1:j2] if word.strip('"') in _SLOTS]
            for word in piece[i1:i2]:
                if places and word.kind in places[0]:
                    places.pop(0)
                else:
                    out.append(word)
    return out


_OWN: Final = ("word", "name", "text")
_SLOTS: Final = {
    **dict.fromkeys(("PLACE", "PLACE.tar.gz", "NAME", "KIND", "PROGRAM", "user.NAME"), _OWN),
    **dict.fromkeys(("TEXT", "COMMAND"), ("text",)),
    "URL": ("url",),
    "SIZE": ("size",),
    "SPAN": ("span",),
    "TIME": ("clock",),
    "PERCENT": ("percent",),
    "NUMBER": ("number",),
    "VALUE": (*_OWN, "number", "percent"),
}
"""What the words in capitals stand for, by the kinds of words."""


def _like(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


@cache
def _vocabulary(kinds: tuple[str, ...], shown_form: str) -> frozenset[str]:
    """Every word of the language that a clause of such a form may have."""
    form = next(form for kind in kinds for form in CLAUSES[kind] if shown_form in form.shown)
    texts, rest = [], list(form.templates)
    while rest:
        text = rest.pop()
        texts.append(text)
        rest += [RULES[name] for name in re.findall(r"<(\w+)>", text)]
        for name in re.findall(r"\{(\w+)", text):
            texts += [word for words in LISTS.get(name, {}).values() for word in words]
    return frozenset(word for text in texts for word in re.findall(r"(?<![{<\w])[a-z]+\d*(?![\w}>:])", text))
