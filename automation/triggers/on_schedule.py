"""The schedule trigger: cron expressions in a time zone, or a steady pace. In seconds since the epoch."""

from __future__ import annotations

import datetime
import os
from typing import Any, Final
from zoneinfo import ZoneInfo

import croniter

from automation.triggers.forms import ScheduleTrigger


def local_zone() -> datetime.tzinfo:
    """The machine's time zone, with its daylight saving: `TZ`, else `/etc/localtime`, else UTC."""
    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError, KeyError):
        return datetime.UTC


class OnSchedule:
    """`next` is the time of the next firing. Times that passed unseen (a suspended machine) fire once together."""

    def __init__(self, workflow: str, number: int, form: ScheduleTrigger, now: float) -> None:
        self.workflow: Final = workflow
        self.number: Final = number
        self.form: Final = form
        self.fired = 0
        self._zone: Final[datetime.tzinfo] = ZoneInfo(form.timezone) if form.timezone else local_zone()
        self.next = self._after(now)

    def due(self, now: float) -> float | None:
        """The scheduled time that has come, None when none has; moves on to the next."""
        if now < self.next:
            return None
        came, self.next = self.next, self._after(now)
        self.fired += 1
        return came

    def status(self) -> dict[str, Any]:
        """Plain values for a person."""
        when = datetime.datetime.fromtimestamp(self.next, self._zone)
        return {"type": "schedule", "fired": self.fired, "next": when.isoformat(timespec="seconds")}

    def _after(self, now: float) -> float:
        if self.form.cron is None:
            return now + (self.form.every or 0.0)
        start = datetime.datetime.fromtimestamp(now, self._zone)
        return float(croniter.croniter(self.form.cron, start).get_next(float))
