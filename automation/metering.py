"""What tasks compute in the one thread that serves the mount, charged to whom they compute for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Final, Protocol, cast

import trio


class Payer(Protocol):
    """Who is charged."""

    def spend(self, seconds: float) -> None:
        """So much was computed."""

    def charge(self, seconds: float) -> None:
        """So much was computed in another thread, which calls this."""


class Account:
    """Adds up, and charges `whole` too."""

    def __init__(self, whole: Payer | None) -> None:
        self.used = 0.0  # seconds in all
        self._whole: Final = whole

    def spend(self, seconds: float) -> None:
        """So much was computed."""
        self.used += seconds
        if self._whole is not None:
            self._whole.spend(seconds)

    def charge(self, seconds: float) -> None:
        """So much was computed for it in another thread, which calls this; only the whole is charged."""
        if self._whole is not None:
            self._whole.charge(seconds)


CURRENT: Final[ContextVar[Payer | None]] = ContextVar("payer", default=None)
"""Who pays for the computing of a task and of its children."""


class Metering:
    """A trio instrument that charges each task's steps to its payer, by the processor time of the thread: that the
    machine was busy elsewhere is nobody's fault.
    """

    def __init__(self) -> None:
        self._payer: Payer | None = None
        self._began = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task goes on."""
        self._payer = task.context.get(CURRENT)
        if self._payer is not None:
            self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """It waits again, or has ended."""
        if self._payer is not None:
            self._payer.spend(time.thread_time() - self._began)


@contextlib.asynccontextmanager
async def metered(*, on: bool) -> AsyncIterator[None]:
    """Meter within, if `on`."""
    instrument = cast(trio.abc.Instrument, Metering())
    if on:
        trio.lowlevel.add_instrument(instrument)
    try:
        yield
    finally:
        if on:
            trio.lowlevel.remove_instrument(instrument)
