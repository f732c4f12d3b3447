"""Tells of a limit that was reached, without becoming a flood of its own."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import trio

from automation.bus import Bus
from automation.events import Cause, SemanticEvent

PAUSE_SECONDS: Final = 10.0
MOST_TOPICS: Final = 10_000


class Announcements:
    """Publishes `system.overload` at most every 10 s a topic, or once; remembers the last 10,000 topics."""

    def __init__(self, bus: Bus) -> None:
        self._bus: Final = bus
        self._last: Final[OrderedDict[str, float]] = OrderedDict()

    def overload(self, topic: str, path: str, attrs: dict[str, Any], *, once: bool = False) -> None:
        """Say it, unless it was said lately."""
        now = trio.current_time()
        last = self._last.get(topic)
        if last is not None and (once or now - last < PAUSE_SECONDS):
            return
        self._last[topic] = now
        if len(self._last) > MOST_TOPICS:
            self._last.popitem(last=False)
        self._bus.publish(SemanticEvent("system.overload", path, attrs=attrs))

    def depth(self, event: SemanticEvent, cause: Cause, limit: int) -> None:
        """Say, once for a run, that what it brought about is too long a chain of automations to go on with."""
        attrs = {"reason": "depth", "limit": limit, "run": cause.run, "workflow": cause.workflow}
        self.overload(f"depth {cause.run}", event.path, attrs, once=True)
