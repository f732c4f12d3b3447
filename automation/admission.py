"""Which firings of one workflow run now, which wait, and which never do."""

from __future__ import annotations

from collections import Counter, deque
from enum import StrEnum
from typing import Final

from automation.definitions import Concurrency
from automation.triggers.firing import Firing


class Decision(StrEnum):
    """What became of a firing."""

    START = "start"
    WAIT = "wait"
    RESTART = "restart"  # waits until the present run of its key has been cancelled
    DROP = "drop"  # the policy says so
    FULL = "full"  # dropped because too many wait


class Admission:
    """One key runs once at a time, except with `parallel`; all keys together at most `limit` times.

    At most `queue` firings wait. A full queue drops the newest or the oldest firing, counts it in `dropped` by reason,
    and the launcher announces `system.overload`.
    """

    def __init__(self, form: Concurrency) -> None:
        self.form = form
        self.running = 0
        self.gave_way: Firing | None = None  # the last that a newer one pushed out
        self.dropped: Final[Counter[str]] = Counter()
        self._occupied: Final[Counter[str]] = Counter()  # keys that run or are ready to
        self._ready: deque[Firing] = deque()  # only the limit stands in their way
        self._behind: Final[dict[str, deque[Firing]]] = {}  # a run of their key stands in their way
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many firings wait."""
        return self._waiting

    def offer(self, firing: Firing) -> Decision:
        """Decide; START has counted the run as running."""
        key, policy = firing.key, self.form.policy
        if policy != "parallel" and self._occupied[key]:
            if policy == "single":
                return self._drop("single")
            if policy == "restart":
                return self._replace(firing)
            return self._wait_behind(firing)
        if self.running < self.form.limit:
            self.running += 1
            self._occupied[key] += 1
            return Decision.START
        if self._waiting >= self.form.queue and not self._give_way():
            return self._drop("full", Decision.FULL)
        self._occupied[key] += 1
        self._ready.append(firing)
        self._waiting += 1
        return Decision.WAIT

    def resumed(self, key: str) -> None:
        """Count a run that goes on from before, whatever the limit says."""
        self.running += 1
        self._occupied[key] += 1

    def finished(self, key: str) -> list[Firing]:
        """A run of `key` ended: the firings to start now, already counted as running."""
        self.running -= 1
        self._leave(key)
        behind = self._behind.get(key)
        if behind:
            self._occupied[key] += 1
            self._ready.append(behind.popleft())
            if not behind:
                del self._behind[key]
        started = []
        while self._ready and self.running < self.form.limit:
            started.append(self._ready.popleft())
            self._waiting -= 1
            self.running += 1
        return started

    def clear(self) -> int:
        """Forget what waits; how much it was."""
        gone, self._waiting = self._waiting, 0
        for firing in self._ready:
            self._leave(firing.key)
        self._ready.clear()
        self._behind.clear()
        return gone

    def _leave(self, key: str) -> None:
        self._occupied[key] -= 1
        if self._occupied[key] <= 0:
            del self._occupied[key]

    def _give_way(self) -> bool:
        """Drop the oldest that waits, if that is the policy and there is one."""
        if self.form.full != "drop_oldest" or not self._waiting:
            return False
        if self._ready:
            self.gave_way = self._ready.popleft()
            self._leave(self.gave_way.key)
        else:
            key = next(iter(self._behind))
            self.gave_way = self._behind[key].popleft()
            if not self._behind[key]:
                del self._behind[key]
        self._waiting -= 1
        self.dropped["oldest"] += 1
        return True

    def _drop(self, reason: str, decision: Decision = Decision.DROP) -> Decision:
        self.dropped[reason] += 1
        return decision

    def _wait_behind(self, firing: Firing) -> Decision:
        if self._waiting >= self.form.queue and not self._give_way():
            return self._drop("full", Decision.FULL)
        self._behind.setdefault(firing.key, deque()).append(firing)
        self._waiting += 1
        return Decision.WAIT

    def _replace(self, firing: Firing) -> Decision:
        """The newest firing of a key takes the place of those that have not begun."""
        for i, other in enumerate(self._ready):
            if other.key == firing.key:
                self._ready[i] = firing
                self.dropped["restart"] += 1
                return Decision.WAIT
        behind = self._behind.setdefault(firing.key, deque())
        if behind:
            self.dropped["restart"] += len(behind)
            self._waiting -= len(behind)
            behind.clear()
        behind.append(firing)
        self._waiting += 1
        return Decision.RESTART
