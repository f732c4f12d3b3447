"""What is known of a run outside of memory: the `Ledger` protocol, its records, and the ledger of a mount that keeps
nothing.

A run is interpreted anew from its beginning when it is resumed; a place with a recorded end is not performed again but
yields its result, and a recorded decision stands. So the records of a run, in their order, are its whole state:

| kind | place | data (JSON) | means |
|---|---|---|---|
| `started` | of a step | `action`, `attempt` (≥ 1), `key` | an attempt is about to be made |
| `ended` | of a step | `status`, `result`, `error`, `class`, `attempts`, `undo`, `input` | performed: never again |
| `decided` | any | `value` | a condition, the items of a loop, a branch, a generated identity: stands from now on |
| `timer` | any | `wake` (ns), `attempt` of a retry | sleeps until then by the wall clock |
| `mail` | of a wait, or `""` | `number`, `event` | an event for this run; a `decided` names the number taken |
| `compensating` | `""` | `status`, `error` | the run failed or was cancelled: from now on it is undone |
| `finished` | `""` | `status`, `output`, `error`, `left` | the last record; `left` is what must be undone by hand |

`status` of `ended` is `succeeded`, `failed`, `skipped` or, for places that undo, `compensated`. Places that undo begin
with `undo/`. Records that lack a datum lack the key; `input` is what the action was
given, cut short, for people.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

Kind = Literal["started", "ended", "decided", "timer", "mail", "compensating", "finished"]


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a run's history. `at` in nanoseconds since the epoch; `data` is plain JSON, never changed."""

    kind: Kind
    place: str
    at: int
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a run is from its creation on.

    `definition` (JSON text, with the sha256 `digest`) is all of the workflow that the run needs to end on its own
    version; many runs share it. `firing` is `firing_record(…)` of what started it. `parent` is `(run, place)` of the
    step that waits for it. `key` is that of the firing, `at` is when it was created.
    """

    id: str
    workflow: str
    digest: str
    definition: str
    firing: Mapping[str, Any]
    key: str
    at: int
    priority: str = "normal"
    tenant: str = ""
    parent: tuple[str, str] | None = None


@dataclass(slots=True)
class StoredRun:
    """A run as the ledger has it."""

    run: NewRun
    records: list[Record] = field(default_factory=list)

    @property
    def finished(self) -> Record | None:
        """The last record of a run that has ended."""
        return self.records[-1] if self.records and self.records[-1].kind == "finished" else None


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in a line: when it was created and when it ended (ns); `status` is empty until then."""

    workflow: str
    at: int
    status: str = ""
    ended: int = 0

    def ending(self, record: Record) -> Summary:
        """The same run, once it has this last record."""
        return Summary(self.workflow, self.at, str(record.data.get("status")), record.at)


class Ledger(Protocol):
    """Keeps runs. What is handed over is kept in the order of the calls, whoever makes them, and is as safe as this
    ledger promises when a call returns; several calls may share one commit. A call that is cancelled takes effect all
    the same, at its place in that order. WorldError when it cannot be written: the run then stops where it is, to be
    resumed.
    """

    @property
    def durable(self) -> bool:
        """Whether it outlives the process: runs that go on when the mount ends are taken up again."""
        ...

    @property
    def known(self) -> Mapping[str, Summary]:
        """All runs that `load` can give, oldest first."""
        ...

    async def create(self, run: NewRun, records: Sequence[Record] = ()) -> bool:
        """Begin a run with its first records; False, and nothing changes, when there is one of this identity."""
        ...

    async def append(self, run_id: str, records: Sequence[Record]) -> None:
        """Add records to a run, all or none."""
        ...

    async def load(self, run_id: str) -> StoredRun | None:
        """A run with all its records; None when there is none, or it has been given up for its age."""
        ...


class MemoryLedger:
    """Keeps what goes on and the last `history` finished runs, until the process ends."""

    durable: Final = False

    def __init__(self, history: int = 1000) -> None:
        self.runs: Final[dict[str, StoredRun]] = {}
        self._known: Final[dict[str, Summary]] = {}
        self._history: Final = history
        self._finished: Final[deque[str]] = deque()

    @property
    def known(self) -> Mapping[str, Summary]:
        """What `runs` has."""
        return MappingProxyType(self._known)

    async def create(self, run: NewRun, records: Sequence[Record] = ()) -> bool:
        """At once."""
        if run.id in self.runs:
            return False
        self._known[run.id] = Summary(run.workflow, run.at)
        self.runs[run.id] = StoredRun(run)
        self._add(run.id, records)
        return True

    async def append(self, run_id: str, records: Sequence[Record]) -> None:
        """At once."""
        self._add(run_id, records)

    async def load(self, run_id: str) -> StoredRun | None:
        """As it is now."""
        stored = self.runs.get(run_id)
        return None if stored is None else StoredRun(stored.run, list(stored.records))

    def _add(self, run_id: str, records: Sequence[Record]) -> None:
        stored = self.runs[run_id]
        stored.records.extend(records)
        if stored.finished is not None:
            self._known[run_id] = self._known[run_id].ending(stored.finished)
            self._finished.append(run_id)
            if len(self._finished) > self._history:
                oldest = self._finished.popleft()
                del self.runs[oldest], self._known[oldest]
