"""The loop of those who detect: wait for events or a deadline, take a step, let others have their turn."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NoReturn

import trio

from automation.bus import Bus, Subscription

log: Final = logging.getLogger(__name__)


class Turns:
    """Of the reader of a subscription, who also has reasons of its own to `wake`."""

    def __init__(self, bus: Bus, subscription: Subscription) -> None:
        self._bus: Final = bus
        self._subscription: Final = subscription
        self._signal = trio.Event()

    def wake(self) -> None:
        """Something has changed: look at the deadline anew."""
        self._signal.set()

    async def wait(self, deadline: Callable[[], float] = lambda: float("inf")) -> None:
        """Until an event waits, somebody wakes us, or the deadline, in the time of trio's clock."""
        if self._subscription.ready:
            return
        self._signal = trio.Event()
        self._subscription.on_ready(self._signal.set)
        with trio.move_on_at(deadline()):
            await self._signal.wait()

    async def serve(self, step: Callable[[], None], deadline: Callable[[], float]) -> NoReturn:
        """Step by step until cancelled. A step that raises met a bug of ours, which must not end the mount: what was
        not handled yet comes next.
        """
        while True:
            await self.wait(deadline)
            try:
                step()
            except Exception:
                log.exception("%s met a bug", self._subscription.name)
            await self._bus.rest()
