"""What the mount uses and achieves, beside what it is meant to: memory, processor, events a second, latency."""

from __future__ import annotations

import os
import resource
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from automation.runner.record import Run
from automation.targets import Automation

WINDOW: Final = 60  # samples of a second each
LATENCIES: Final = 10_000
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """Is sampled once a second; `published` counts events. `latencies` are the last 10,000, in seconds from the event
    to the start of the run's first step, of firings that had nothing to wait for.
    """

    def __init__(
        self, targets: Automation, published: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.targets: Final = targets
        self.latencies: Final[deque[float]] = deque(maxlen=LATENCIES)
        self.events_per_second = 0.0
        self.most_per_second = 0.0
        self.memory_mb = 0.0
        self.cpu_percent = 0.0
        self._published: Final = published
        self._clock: Final = clock
        self._samples: Final[deque[tuple[float, int, float]]] = deque(maxlen=WINDOW)

    def sample(self) -> dict[str, float]:
        """Take a sample: `resident` and `processor`, each as a share of what is allowed."""
        now, seq, cpu = self._clock(), self._published(), _processor_seconds()
        if self._samples:
            then, before, spent = self._samples[-1]
            seconds = max(now - then, 1e-3)
            self.events_per_second = (seq - before) / seconds
            self.most_per_second = max(self.most_per_second, self.events_per_second)
            self.cpu_percent = 100 * (cpu - spent) / seconds
        self._samples.append((now, seq, cpu))
        self.memory_mb = _resident_mb()
        return {
            "resident": self.memory_mb / self.targets.max_memory_usage_mb,
            "processor": self.cpu_percent / self.targets.max_cpu_usage_percent,
        }

    def note_begun(self, run: Run) -> None:
        """A run is about to perform its first action."""
        firing = run.firing
        if not firing.waited and firing.kind != "manual" and firing.event.seq:
            self.latencies.append((time.time_ns() - firing.event.ts) / 1e9)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, the seed's ReactiveAutomationMetrics among them."""
        slow = self.latency(0.99)
        return {
            "automation_latency_ms": None if slow is None else round(slow * 1000, 3),
            "throughput_events_per_sec": round(self.events_per_second, 1),
            "most_events_per_sec": round(self.most_per_second, 1),
            "memory_usage_mb": round(self.memory_mb, 1),
            "cpu_usage_percent": round(self.cpu_percent, 1),
        }

    def latency(self, share: float) -> float | None:
        """The latency in seconds that `share` of the last runs stayed below; None before the first."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _resident_mb() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * _PAGE / 1e6
