"""Times of the week: `22:00-06:00` on certain days in a time zone."""

# ruff: noqa: RUF012 - pydantic copies its models' defaults
from __future__ import annotations

import datetime
import re
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator

from automation.forms import Form, time_zone

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN: Final = re.compile(r"\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*\Z")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _minutes(text: str) -> tuple[int, int]:
    match = _SPAN.match(text)
    if match is not None:
        start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
        if max(int(match[2]), int(match[4])) < 60 and start < 1440 and end <= 1440 and start != end:
            return start, end
    raise ValueError(f"{text!r} is no span of a day; write for instance '09:00-17:30' or '22:00-06:00'")


def _span(text: str) -> str:
    _minutes(text)
    return text


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _short(value: Any) -> Any:
    return [day[:3].lower() if isinstance(day, str) else day for day in _list(value)]


class Window(Form):
    """Holds from the first minute up to, not including, the last; a span over midnight belongs to the day it began."""

    between: Annotated[str, AfterValidator(_span)] = "00:00-24:00"
    days: Annotated[list[Day], BeforeValidator(_short, json_schema_input_type=Day | list[Day])] = [*DAYS]
    timezone: Annotated[str, AfterValidator(time_zone)] | None = None

    def holds(self, wall: float) -> bool:
        """Whether `wall`, seconds since the epoch, lies in it; without a zone, by the machine's local time."""
        zone = ZoneInfo(self.timezone) if self.timezone else None
        moment = datetime.datetime.fromtimestamp(wall, zone)
        start, end = _minutes(self.between)
        minute, day = moment.hour * 60 + moment.minute, moment.weekday()
        if start < end:
            return start <= minute < end and DAYS[day] in self.days
        return (minute >= start and DAYS[day] in self.days) or (minute < end and DAYS[day - 1] in self.days)
