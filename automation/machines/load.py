"""How loaded the system is: samples what `thresholds.MEASURES` names, and hands it to the system state every second."""

from __future__ import annotations

import logging
import os
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Protocol

import trio

from automation.machines.system_state import SystemState

log: Final = logging.getLogger(__name__)

EVERY_SECONDS: Final = 1.0
WINDOW_SECONDS: Final = 60
FEWEST_RUNS: Final = 10
PRESSURE: Final = "/proc/pressure/memory"
_AVERAGE: Final = re.compile(r"^(some|full) avg10=(\d+(?:\.\d+)?)", re.MULTILINE)
_FAILED: Final = ("failed", "compensated")


class Queue(Protocol):
    """A bounded queue, a subscription for instance."""

    @property
    def capacity(self) -> int:
        """The most that it holds."""

    def __len__(self) -> int:
        """How much it holds."""


class Load:
    """Takes samples. `queues` are those of the automations, `waiting` counts firings, `lag` is in seconds, `runs`
    counts finished runs by workflow and status, `demand` is that of `Shedding`, `usage` measures the process,
    `root_fd` lies in the filesystem below (-1: none is measured).
    """

    def __init__(
        self,
        *,
        queues: Callable[[], Iterable[Queue]],
        waiting: Callable[[], int],
        lag: Callable[[], float],
        runs: Callable[[], Mapping[tuple[str, str], int]],
        demand: Callable[[], float] = lambda: 0.0,
        usage: Callable[[], Mapping[str, float]] = dict,
        root_fd: int = -1,
        pressure: str = PRESSURE,
    ) -> None:
        self._queues: Final = queues
        self._waiting: Final = waiting
        self._lag: Final = lag
        self._runs: Final = runs
        self._demand: Final = demand
        self._usage: Final = usage
        self._root_fd: Final = root_fd
        self._pressure: Final = pressure
        self._finished: Final[deque[tuple[float, int, int]]] = deque()

    async def sample(self) -> dict[str, float]:
        """The measurements of now; what cannot be measured is missing."""
        out = {
            "queues": max((len(queue) / queue.capacity for queue in self._queues() if queue.capacity), default=0.0),
            "waiting": float(self._waiting()),
            "lag": self._lag(),
            "demand": self._demand(),
            "errors": self._errors(trio.current_time()),
            **self._usage(),
        }
        # a filesystem below that hangs must not hang the loop
        return out | await trio.to_thread.run_sync(self._outside, abandon_on_cancel=True)

    def _errors(self, now: float) -> float:
        counts = self._runs()
        failed = sum(count for (_, status), count in counts.items() if status in _FAILED)
        done = sum(counts.values())
        self._finished.append((now, done, failed))
        while self._finished[0][0] < now - WINDOW_SECONDS and len(self._finished) > 1:
            self._finished.popleft()
        _, done_before, failed_before = self._finished[0]
        recent = done - done_before
        return (failed - failed_before) / recent if recent >= FEWEST_RUNS else 0.0

    def _outside(self) -> dict[str, float]:
        """In a thread: what the kernel tells."""
        out: dict[str, float] = {}
        if self._root_fd >= 0:
            try:
                totals = os.fstatvfs(self._root_fd)
                if totals.f_blocks:  # what root alone may use counts as used
                    usable = totals.f_blocks - totals.f_bfree + totals.f_bavail
                    out["disk"] = (totals.f_blocks - totals.f_bfree) / usable if usable else 1.0
            except OSError as error:
                log.debug("the disk's use is unknown: %s", error)
        return out | read_pressure(self._pressure)


def read_pressure(path: str = PRESSURE) -> dict[str, float]:
    """`memory` and `memory_stalled` from the kernel's pressure stall information; empty where there is none."""
    try:
        with open(path, encoding="ascii") as file:
            text = file.read(4096)
    except (OSError, UnicodeDecodeError):  # not compiled in, switched off, or a container that hides it
        return {}
    found = {kind: float(value) / 100 for kind, value in _AVERAGE.findall(text)}
    names = {"some": "memory", "full": "memory_stalled"}
    return {names[kind]: value for kind, value in found.items()}


class Sampler:
    """Has the load judged every second; `measure` takes a sample."""

    def __init__(
        self,
        system: SystemState,
        measure: Callable[[], Awaitable[Mapping[str, float]]],
        *,
        every: float = EVERY_SECONDS,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._system: Final = system
        self._measure: Final = measure
        self._every: Final = every
        self._clock: Final = clock

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sample until cancelled."""
        task_status.started()
        while True:
            measurements = await self._measure()
            made = self._system.observe(measurements, self._clock())
            if made is not None:
                log.warning("the system is %s: %s", made.new, made.reason)
            await trio.sleep(self._every)
