"""What a small pattern matches, by trying every choice of events: slow, and sharing nothing with the engine."""

from __future__ import annotations

import itertools
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A step: the letters it accepts, how it follows, how often, how its repetitions follow one another."""

    letters: str
    follows: str = "relaxed"
    least: int = 1
    most: int | None = 1
    inner: str = "relaxed"
    optional: bool = False
    absent: bool = False


def matches(parts, word, times, within=None):
    """All matches over the letters of `word` at `times`: tuples, for each step, of positions."""
    counts = [[0] if part.absent else ([0] * part.optional + list(_counts(part, len(word)))) for part in parts]
    out = []
    for chosen in itertools.product(*counts):
        total = sum(chosen)
        if total == 0:
            continue
        for places in itertools.combinations(range(len(word)), total):
            groups = _split(places, chosen)
            if _fits(parts, groups, word) and (within is None or times[places[-1]] - times[places[0]] < within):
                out.append(tuple(groups))
    return out


def _counts(part, length):
    return range(part.least, min(length, part.most if part.most is not None else length) + 1)


def _split(places, chosen):
    groups, at = [], 0
    for count in chosen:
        groups.append(places[at : at + count])
        at += count
    return groups


def _fits(parts, groups, word):
    before, forbidden = None, []
    for part, group in zip(parts, groups, strict=True):
        if part.absent:
            forbidden.append(part)
            continue
        for number, place in enumerate(group):
            if word[place] not in part.letters:
                return False
            link = part.inner if number else part.follows
            if before is not None and not _follows(link, part.letters, before, place, word):
                return False
            if any(not _is_absent(ban, before, place, word) for ban in forbidden):
                return False
            before, forbidden = place, []
    return True


def _follows(link, letters, before, place, word):
    if link == "strict":
        return place == before + 1
    return link == "any" or not any(word[at] in letters for at in range(before + 1, place))


def _is_absent(ban, before, place, word):
    end = before + 2 if ban.follows == "strict" else place + 1
    return not any(word[at] in ban.letters for at in range(before + 1, min(end, place + 1)))
