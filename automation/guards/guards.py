"""All guards: a request that has not happened yet → what becomes of it.

A request is a `SemanticEvent` whose type is the operation (`open-write`, `rename` …). A denial wins over everything,
the longest delay over shorter ones, marks add up. Every denial is an event and a line in the log, in audit mode too,
where the operation is done all the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from automation.bus import Bus
from automation.events import SemanticEvent
from automation.guards.guard import Guard
from automation.index import Index
from automation.provenance.lineage import LINEAGE, Lineage
from automation.rules.checks import Moment, Standing, nowhere

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`errno` is the name of the error to answer, empty when the request is allowed after `wait` seconds; `mark` goes
    into the attrs of the events that the operation makes.
    """

    errno: str = ""
    wait: float = 0.0
    mark: str = ""


ALLOWED: Final = Verdict()


class Guards:
    """`active` is false while none is live: then nobody need ask. `clock` is seconds of a steady clock, `wall` since
    the epoch, `tick` nanoseconds of computing for deadlines: that another
    process had the processor says nothing about a guard.
    """

    def __init__(
        self,
        bus: Bus,
        state: Callable[[], Mapping[str, Any]],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        tick: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self.active = False
        self.standing: Standing = nowhere  # where machines stand, once there are any
        self.lineage: Lineage | None = None  # what conditions ask about files and processes
        self._bus: Final = bus
        self._state: Final = state
        self._clock: Final = clock
        self._wall: Final = wall
        self._tick: Final = tick
        self._guards: Final[dict[str, Guard]] = {}
        self._index: Final[Index[Guard]] = Index()
        self._told: Final[list[Callable[[bool], None]]] = []

    @property
    def guards(self) -> Mapping[str, Guard]:
        """By name, disabled ones too."""
        return MappingProxyType(self._guards)

    def switch(self, gone: Iterable[Guard], came: Iterable[Guard]) -> None:
        """Let some take effect in the place of others, in one step."""
        for guard in gone:
            guard.live = False
            if self._guards.pop(guard.name, None) is not None:
                self._index.remove(guard, guard.form.operations, guard.anchors)
        for guard in came:
            guard.live = guard.enabled
            self._guards[guard.name] = guard
            self._index.add(guard, guard.form.operations, guard.anchors)
        self._refresh()

    def enable(self, guard: Guard, enabled: bool) -> None:
        """Let a guard judge (again), or no more."""
        guard.enabled = guard.live = enabled
        self._refresh()

    def on_switch(self, told: Callable[[bool], None]) -> None:
        """Call `told` with `active` now and whenever it may have changed."""
        self._told.append(told)
        told(self.active)

    def _refresh(self) -> None:
        self.active = any(guard.live for guard in self._guards.values())
        for told in self._told:
            told(self.active)

    def concerns(self, operation: str, path: str) -> bool:
        """Whether a guard may have to judge such an operation here, by whomever: decides how a file is opened."""
        return self.active and any(
            guard.live and guard.test(path) and not (operation == "write" and guard.shut)
            for guard in self._index.at(operation, path)
        )

    def judge(self, request: SemanticEvent, *, inside: bool = False) -> Verdict:
        """What becomes of a request; `inside` also asks those who guard something below it (a directory that moves)."""
        found = self._index.find(request.type, request.path, request)
        if request.dest is not None:
            found = list(dict.fromkeys([*found, *self._index.find(request.type, request.dest, request)]))
        below = self._index.below(request.type, request.path) if inside else []
        if not found and not below:
            return ALLOWED
        LINEAGE.set(self.lineage)
        moment = Moment(self._state(), self._wall(), self.standing)
        wait, marks = 0.0, []
        for guard in dict.fromkeys([*found, *below]):
            concerned = guard.live and (guard in below or _touches(guard, request))
            verdict = self._act(guard, request) if concerned and self._holds(guard, request, moment) else ALLOWED
            if verdict.errno:
                return verdict
            wait = max(wait, verdict.wait)
            if verdict.mark:
                marks.append(verdict.mark)
        return Verdict(wait=wait, mark=",".join(marks)) if wait or marks else ALLOWED

    def _holds(self, guard: Guard, request: SemanticEvent, moment: Moment) -> bool:
        """Whether its conditions hold; what it cannot tell in time, or at all, it says by its failure mode."""
        try:
            if not guard.fits(request):
                return False
            if guard.check is None:
                return True
            began = self._tick()
            holds = guard.check(request, moment)
            late = (self._tick() - began) // 1000
            if late <= guard.form.deadline_us:
                return holds
            guard.last_error = f"it took {late} µs of {guard.form.deadline_us}"
        except Exception as error:
            guard.last_error = str(error)
        guard.counts["failed"] += 1
        log.warning("guard %s failed %s: %s", guard.name, guard.form.failure, guard.last_error)
        return guard.form.failure == "closed"

    def _act(self, guard: Guard, request: SemanticEvent) -> Verdict:
        form = guard.form
        if form.action == "mark":
            guard.counts["marked"] += 1
            return Verdict(mark=form.mark or "") if form.mode == "enforce" else ALLOWED
        if guard.buckets is not None:
            wait, within = guard.buckets.take(guard.key(request), self._clock())
            if within or form.beyond == "allow":
                guard.counts["delayed"] += wait > 0
                return Verdict(wait=wait) if form.mode == "enforce" else ALLOWED
        guard.counts["denied" if form.mode == "enforce" else "audited"] += 1
        self._announce(guard, request)
        return Verdict(form.errno) if form.mode == "enforce" else ALLOWED

    def _announce(self, guard: Guard, request: SemanticEvent) -> None:
        form = guard.form
        verb = "denied" if form.mode == "enforce" else "would have denied"
        log.warning(
            *("guard %s %s uid %d, %s[%d]: %s", guard.name, verb, request.uid, request.comm, request.pid),
            f"{request.type} {request.path!r}" + (f" to {request.dest!r}" if request.dest is not None else ""),
        )
        attrs = {"rule": guard.name, "operation": request.type, "answer": form.errno, "mode": form.mode}
        self._bus.publish(
            SemanticEvent(
                "rule.denied",
                request.path,
                request.dest,
                inode=request.inode,
                pid=request.pid,
                uid=request.uid,
                gid=request.gid,
                comm=request.comm,
                tenant=request.tenant,
                cause=request.cause,
                attrs=attrs,
            )
        )


def _touches(guard: Guard, request: SemanticEvent) -> bool:
    return guard.test(request.path) or (request.dest is not None and guard.test(request.dest))
