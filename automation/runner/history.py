"""What one run has recorded: looked up by place while it is interpreted, and handed to the ledger in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import trio

from automation.errors import WorldError
from automation.runner.ledger import Kind, Ledger, NewRun, Record, StoredRun


class Unrecorded(WorldError):  # noqa: N818 - it reads as what happened
    """The ledger cannot be written: the run stops where it is."""


class Doubled(Exception):  # noqa: N818
    """The ledger has a run of this identity already."""


class History:
    """Records wait in memory until `flush`, which is awaited before anything relies on them. The run is created with
    the first of them.

    `number` counts ends: the order in which steps completed. What was recorded before a restart is kept for looking
    up; what is recorded now only where `keep` says so, since a run that was never interrupted never looks back.
    """

    __slots__ = (
        "_decisions",
        "_ends",
        "_ledger",
        "_new",
        "_out",
        "_starts",
        "_writing",
        "_written",
        "clock",
        "mail",
        "mailed",
        "number",
        "run",
    )

    def __init__(self, ledger: Ledger, run: NewRun, clock: Callable[[], int], stored: StoredRun | None = None) -> None:
        self.run: Final = run
        self.clock: Final = clock
        self.number = 0
        self.mail: dict[str, deque[tuple[int, Mapping[str, Any]]]] | None = None
        self.mailed: dict[str, int] | None = None  # how many events ever came, by place
        self._ledger: Final = ledger
        self._new = stored is None
        self._out: list[Record] = []
        self._writing = False
        self._written: trio.Event | None = None
        self._ends: dict[str, tuple[int, Mapping[str, Any]]] | None = None
        self._decisions: dict[str, Any] | None = None
        self._starts: dict[str, Record] | None = None
        if stored is not None:
            self._ends, self._decisions, self._starts = {}, {}, {}
            for record in stored.records:
                self._learn(record)

    @property
    def resumed(self) -> bool:
        """Whether there is anything to look back on."""
        return self._ends is not None

    def _learn(self, record: Record) -> None:
        if self._ends is None or self._decisions is None or self._starts is None:
            return
        if record.kind == "ended":
            self.number += 1
            self._ends[record.place] = (self.number, record.data)
        elif record.kind == "decided":
            self._decisions[record.place] = record.data["value"]
            if record.place.endswith("!mail"):
                self._take(record.data["value"])
        elif record.kind in ("started", "timer"):
            self._starts[record.place] = record
        elif record.kind == "mail":
            if self.mail is None:
                self.mail = {}
                self.mailed = {}
            assert self.mailed is not None
            self.mailed[record.place] = record.data["number"] + 1
            self.mail.setdefault(record.place, deque()).append((record.data["number"], record.data["event"]))
        elif record.kind == "compensating":
            self._decisions["!compensating"] = dict(record.data)

    def _take(self, taken: Mapping[str, Any]) -> None:
        """An event of the run's own mailbox went to a wait."""
        box = (self.mail or {}).get(taken["box"], deque())
        for one in [one for one in box if one[0] == taken["number"]]:
            box.remove(one)

    # Looking up

    def end(self, place: str) -> tuple[int, Mapping[str, Any]] | None:
        """How the execution of a step ended: its number in the order of completion, and the data of the record."""
        return None if self._ends is None else self._ends.get(place)

    def latest(self, prefix: str) -> int:
        """The number of the last end below a place; outside of a resumed run that of the last end of all."""
        if self._ends is None:
            return self.number
        return max((n for place, (n, _) in self._ends.items() if place.startswith(prefix)), default=self.number)

    def decision(self, place: str, default: Any = None) -> Any:
        """What was decided at a place."""
        return default if self._decisions is None else self._decisions.get(place, default)

    def decided(self, place: str) -> bool:
        """Whether anything was decided at a place."""
        return self._decisions is not None and place in self._decisions

    def start(self, place: str) -> Record | None:
        """The last that was begun at a place: an attempt, or a sleep."""
        return None if self._starts is None else self._starts.get(place)

    # Recording

    def note(self, kind: Kind, place: str, data: Mapping[str, Any]) -> None:
        """Add a record to the next batch."""
        record = Record(kind, place, self.clock(), data)
        self._out.append(record)
        if self._ends is None:
            self.number += kind == "ended"
        elif kind != "mail":
            self._learn(record)

    def decide(self, place: str, make: Callable[[], Any]) -> Any:
        """What was decided at a place, or is now."""
        if self._decisions is not None and place in self._decisions:
            return self._decisions[place]
        value = make()
        self.note("decided", place, {"value": value})
        return value

    @property
    def pending(self) -> Sequence[Record]:
        """What is not handed over yet."""
        return self._out

    async def flush(self) -> None:
        """Return when all that was noted is as safe as the ledger promises. Unrecorded when it cannot be; Doubled when
        another run has this identity.
        """
        while self._writing:
            if self._written is None:
                self._written = trio.Event()
            await self._written.wait()
        if not self._out and not self._new:
            return
        batch, self._out = self._out, []
        self._writing = True
        try:
            if self._new:
                self._new = False
                if not await self._ledger.create(self.run, batch):
                    raise Doubled
            else:
                await self._ledger.append(self.run.id, batch)
        except WorldError as error:
            raise Unrecorded(f"the run cannot be recorded: {error}") from error
        finally:
            self._writing = False
            if self._written is not None:
                self._written.set()
                self._written = None
