"""The schedule trigger: cron expressions in a time zone, or a steady pace. In seconds since the epoch."""

from __future__ import annotations

import datetime
import hashlib
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


MOST_MISSED: Final = 1000  # times that `catch_up: all` makes good at once


class OnSchedule:
    """`next` is the time of the next firing, with its jitter. `last` is the time that was handled last, if it is known
    from before; what passed since unseen (the machine was suspended, nothing was mounted) fires as `catch_up` says:
    not at all, once for all, or each. Jitter is drawn from the time itself, so that it is the same after a restart.
    """

    def __init__(
        self, workflow: str, number: int, form: ScheduleTrigger, now: float, last: float | None = None
    ) -> None:
        self.workflow: Final = workflow
        self.number: Final = number
        self.form: Final = form
        self.fired = 0
        self.missed = 0
        self._zone: Final[datetime.tzinfo] = ZoneInfo(form.timezone) if form.timezone else local_zone()
        self.last = now if last is None or form.catch_up == "none" else min(last, now)
        self._planned = self._after(self.last)

    @property
    def next(self) -> float:
        """When it fires next."""
        return self._planned + self._jitter(self._planned)

    def due(self, now: float) -> list[float]:
        """The scheduled times to fire for now, without jitter; moves on to what comes after."""
        came: list[float] = []
        while self.next <= now and len(came) < MOST_MISSED:
            came.append(self._planned)
            self.last, self._planned = self._planned, self._after(self._planned)
        if len(came) > 1 and self.form.catch_up != "all":
            self.missed += len(came) - 1
            came = came[-1:]
        if self.next <= now and self.form.catch_up != "all":  # more than can be counted
            self.last, self._planned = now, self._after(now)
        self.fired += len(came)
        return came

    def status(self) -> dict[str, Any]:
        """Plain values for a person."""
        when = datetime.datetime.fromtimestamp(self.next, self._zone)
        out: dict[str, Any] = {"type": "schedule", "fired": self.fired, "next": when.isoformat(timespec="seconds")}
        return out | ({"missed": self.missed} if self.missed else {})

    def _after(self, moment: float) -> float:
        if self.form.cron is None:
            return moment + (self.form.every or 0.0)
        start = datetime.datetime.fromtimestamp(moment, self._zone)
        return float(croniter.croniter(self.form.cron, start).get_next(float))

    def _jitter(self, planned: float) -> float:
        if not self.form.jitter:
            return 0.0
        drawn = hashlib.sha256(f"{self.workflow}\0{self.number}\0{planned!r}".encode()).digest()
        return self.form.jitter * int.from_bytes(drawn[:8], "big") / 2**64
