"""A reader of a mount's event stream, for tests: what is there now, or what comes until a condition holds."""

import json
import os
import select
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.patience import SECONDS

Event = dict[str, Any]


class Listener:
    """`/.vexfs/events` of a mount, or that of some types (dotted, commas between); never waits unless told to."""

    def __init__(self, mountpoint: Path, types: str = "") -> None:
        self._path = mountpoint / ".vexfs" / (f"events.d/{types}" if types else "events")
        self._rest = b""
        self._fd = -1
        self.unread: list[Event] = []

    def __enter__(self) -> "Listener":
        self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def take(self) -> list[Event]:
        """All that has been accepted by now, in order; empty when there is nothing."""
        events, self.unread = self.unread + self._read(), []
        return events

    def until(self, wanted: Callable[[Event], bool], seconds: float = SECONDS) -> list[Event]:
        """Wait (by poll) for an event that is `wanted`; all up to and with it. AssertionError when it does not come."""
        deadline, passed = time.monotonic() + seconds, []
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while True:
            pending = self.take()
            for index, event in enumerate(pending):
                passed.append(event)
                if wanted(event):
                    self.unread = pending[index + 1 :]
                    return passed
            left = deadline - time.monotonic()
            assert left > 0, f"the event did not come within {seconds} s; these did: {passed}"
            poll.poll(left * 1000)

    def _read(self) -> list[Event]:
        while True:
            try:
                data = os.read(self._fd, 1 << 17)
            except BlockingIOError:
                break
            if not data:
                break
            self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in lines]


def typed(name: str, path: str | None = None) -> Callable[[Event], bool]:
    """Whether an event is of this type, and of this path if given."""
    return lambda event: event["type"] == name and path in (None, event["path"])


def brief(events: Iterable[Event]) -> list[tuple[str, str]]:
    """(type, path) of each."""
    return [(event["type"], event["path"]) for event in events]
