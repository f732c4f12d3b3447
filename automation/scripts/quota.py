"""What the workers and commands of one tenant may use: seconds of CPU in an hour, and memory of the workers."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import trio

from automation.allowance import Allowance
from automation.errors import VexError

_HOUR: Final = 3600.0
_LEAST: Final = 0.01  # seconds between two looks
_MOST: Final = 1.0
_PROCESS_CLOCK: Final = 2
_CHILDREN_USER: Final = 13  # cutime in /proc/PID/stat, after the name; cstime is next
_PROCESSORS: Final = os.cpu_count() or 1
_TICKS: Final = os.sysconf("SC_CLK_TCK")

T = TypeVar("T")


class WorkerQuota:
    """`cpu_seconds` in any hour for all processes together, `memory` in bytes for what scripts hold at a time, and
    again for models; None is without bound. One quota may serve a pool, models and commands.
    """

    def __init__(self, cpu_seconds: float | None = None, memory: int | None = None) -> None:
        what = "seconds of CPU for scripts and commands"
        self.cpu: Final = None if cpu_seconds is None else Allowance(what, cpu_seconds, _HOUR)
        self.memory: Final = memory

    def require(self) -> None:
        """QuotaExceeded when no CPU time is left."""
        if self.cpu is not None:
            self.cpu.require()

    def share(self, memory: int) -> int:
        """How many bytes each worker may have, of those that it should."""
        return memory if self.memory is None else min(memory, self.memory)

    def workers(self, most: int, memory: int) -> int:
        """How many workers of `memory` bytes there may be, of at most `most`; one always."""
        return most if self.memory is None else max(1, min(most, self.memory // max(1, memory)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"cpu": None if self.cpu is None else self.cpu.as_dict(), "memory": self.memory}


class Meter:
    """Charges what one process and its descendants compute, as long as they are its descendants."""

    def __init__(self, quota: WorkerQuota, pid: int) -> None:
        self.quota: Final = quota
        self._pid: Final = pid
        self._used = 0.0  # as it was seen last
        self._seen = 0.0  # when

    async def metered(self, exchange: Callable[[], Awaitable[T]]) -> T:
        """What the process answers; QuotaExceeded when the quota is used up before or meanwhile, by whomever."""
        cpu = self.quota.cpu
        if cpu is None:
            return await exchange()
        cpu.require()
        self._seen = trio.current_time()
        answers: list[T] = []
        failure: VexError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, cpu, nursery.cancel_scope)
                try:
                    answers.append(await exchange())
                except VexError as error:  # a nursery would make a group of it
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            self.charge()
        if failure is not None:
            raise failure
        if not answers:
            cpu.refuse()
        return answers[0]

    async def _watch(self, cpu: Allowance, scope: trio.CancelScope) -> None:
        while cpu.left > 0:
            await trio.sleep(min(_MOST, max(_LEAST, cpu.left / _PROCESSORS)))  # it cannot be used up earlier
            self.charge()
        scope.cancel()

    def charge(self) -> None:
        """Note what was used since the last time; if the process is gone, the time that passed. What is no longer to
        be seen, since a parent that ignores SIGCHLD is not told of it, was used all the same.
        """
        cpu = self.quota.cpu
        if cpu is None:
            return
        now, used = trio.current_time(), processor_time(self._pid)
        if used is not None and used < self._used:
            used = processor_time(self._pid)  # one may have ended, and its parent have been looked at before
        amount = now - self._seen if used is None else max(0.0, used - self._used)
        self._seen, self._used = now, self._used + amount if used is None else used
        cpu.use(amount)


def processor_time(pid: int) -> float | None:
    """Seconds of CPU that a process and its descendants have used: what lives, or has ended and is not waited for yet,
    in nanosecond steps, what was waited for in those of the kernel's ticks. None if it is gone.
    """
    try:
        total = time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return None
    total += (int(fields[_CHILDREN_USER]) + int(fields[_CHILDREN_USER + 1])) / _TICKS
    for task in tasks:
        with suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as children:
            total += sum(processor_time(int(child)) or 0.0 for child in children.read().split())
    return total
