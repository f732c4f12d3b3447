"""Recurring times: words → cron, and back. `recurrent` reads the days; the time of day is read here, on the 24-hour
clock unless it says am or pm, since `recurrent` would guess at what 4:30 means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from recurrent.event_parser import RecurringEvent

from automation.errors import CallerError
from automation.language.forms import LISTS, WEEKDAYS
from automation.language.words import Word, quantity

_CODES: Final[Mapping[str, int]] = {"SU": 0, "MO": 1, "TU": 2, "WE": 3, "TH": 4, "FR": 5, "SA": 6}
_WORKING: Final = "1,2,3,4,5"
_FREE: Final = "0,6"
_SECONDS: Final = (
    ("millisecond", 0.001),
    ("ms", 0.001),
    ("w", 604_800.0),
    ("d", 86_400.0),
    ("h", 3600.0),
    ("m", 60.0),
    ("s", 1.0),
)


def clock(text: str) -> tuple[int, int]:
    """Hour and minute of `3am`, `9:30`, `12:15 pm`, `noon`. CallerError when there is no such time."""
    named = {"noon": (12, 0), "midnight": (0, 0)}.get(text.lower())
    if named is not None:
        return named
    match = re.fullmatch(r"(\d{1,2})(?::(\d{2}))?\s*([ap]m)?", text.lower())
    assert match is not None  # the pattern of the word saw to it
    hour, minute, half = int(match[1]), int(match[2] or 0), match[3]
    if minute > 59 or (hour > 23 if half is None else not 1 <= hour <= 12):
        raise CallerError(f"there is no time {text!r}; write for instance 3am, 15:30 or noon")
    return (hour % 12 + (12 if half == "pm" else 0) if half else hour), minute


def cron(days: str, time: str) -> str:
    """The five fields for the days that the words tell and a time of day. CallerError where `recurrent` cannot tell."""
    hour, minute = clock(time)
    text = days.lower().replace("each", "every")
    if text in ("daily", "nightly", "every day", ""):
        return f"{minute} {hour} * * *"
    if re.fullmatch(r"(on |every )?weekends?", text):
        return f"{minute} {hour} * * {_FREE}"
    reader = RecurringEvent()
    reader.parse(text)
    found = reader.get_params()
    if found.get("interval") != 1 or set(found) - {"interval", "freq", "byday", "bymonthday"}:
        raise CallerError(f"{days!r} tells no days; write for instance 'every monday' or 'on the 1st of every month'")
    if found.get("bymonthday") and found["freq"] == "monthly":
        return f"{minute} {hour} {found['bymonthday']} * *"
    if found.get("byday") and found["freq"] == "weekly":
        numbers = sorted({_CODES[code] for code in found["byday"].split(",")})
        return f"{minute} {hour} * * {','.join(map(str, numbers))}"
    raise CallerError(f"{days!r} tells no days; write for instance 'every monday' or 'on the 1st of every month'")


def say_cron(fields: str) -> str:
    """The words for what `cron` gives; ValueError for anything else."""
    minute, hour, day, month, week = fields.split()
    time = f"{int(hour):02d}:{int(minute):02d}"
    if month != "*" or (day != "*" and week != "*"):
        raise ValueError(fields)
    if day != "*":
        return f"on the {LISTS['ordinal'][day][0]} of every month at {time}"
    named = {"*": "every day", _WORKING: "every weekday", _FREE: "every weekend"}.get(week)
    return f"{named or 'every ' + ' and '.join(WEEKDAYS[int(n)] for n in week.split(','))} at {time}"


def seconds(word: Word) -> float:
    """How long a span is."""
    amount, unit = quantity(word.text)
    return amount * next(size for start, size in _SECONDS if unit.startswith(start))


def duration(length: float) -> str:
    """As a definition has it, in the largest unit that is whole: `90s`, `5m`, `2h`, `1d`."""
    for unit, size in (("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        if length >= size and length % size == 0:
            return f"{round(length / size)}{unit}"
    return f"{round(length * 1000)}ms"


_NAMES: Final = {"w": "week", "d": "day", "h": "hour", "m": "minute", "s": "second", "ms": "millisecond"}


def say_duration(text: str) -> str:
    """`5m` → `5 minutes`; ValueError when it is of another form."""
    match = re.fullmatch(r"(\d+)(ms|[wdhms])", text)
    if match is None:
        raise ValueError(text)
    return f"{match[1]} {_NAMES[match[2]]}{'' if match[1] == '1' else 's'}"
