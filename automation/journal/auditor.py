"""Writes down what matters: firings, runs, steps, denials, definitions, states, and what is written to `/.vexfs`.

Its queue holds 65,536 events; a full one drops the newest, and how many were dropped is itself a record. So the audit
is never the reason why an operation waits.
"""

from __future__ import annotations

from typing import Any, Final

from automation.bus import Bus, Overflow
from automation.events import SemanticEvent
from automation.journal.chain import Chain
from automation.journal.schema import Row
from automation.journal.writer import Writer
from automation.requester import Requester, requester

TYPES: Final = (
    "rule.fired",
    "rule.denied",
    "machine.changed",
    "pattern.matched",
    "model",
    "workflow",
    "system.definition",
    "system.state",
    "system.overload",
    "system.mounted",
    "system.unmounted",
)
CAPACITY: Final = 65_536


class Auditor:
    """Follows the bus from its making on; `note` is for what is no event."""

    def __init__(self, bus: Bus, chain: Chain, writer: Writer, *, audits: bool = True) -> None:
        self._audits: Final = audits
        self._chain: Final = chain
        self._writer: Final = writer
        self._asked: Final[dict[int, Requester]] = {}  # by the number of the event that was published meanwhile
        self._subscription: Final = bus.subscribe(
            "audit",
            TYPES if audits else (),
            accept=self._accept,
            wants=lambda kind, path: False,
            capacity=CAPACITY,
            overflow=Overflow.DROP_NEWEST,
        )

    def note(self, kind: str, *, path: str = "", uid: int = 0, pid: int = 0, data: dict[str, Any]) -> None:
        """Write something down that was no event; nothing happens once the journal is closed."""
        if not self._writer.closed and (self._audits or kind.startswith("audit.")):
            self._writer.hand_over([self._chain.link(kind, path=path, uid=uid, pid=pid, data=data)])

    async def run(self) -> None:
        """Write down what comes, until cancelled."""
        while True:
            batch = await self._subscription.receive()
            await self._writer.write([self._row(event) for event in batch])

    def finish(self) -> None:
        """Write down what is still queued."""
        while batch := self._subscription.receive_nowait():
            self._writer.hand_over([self._row(event) for event in batch])
        self._subscription.close()

    def _accept(self, event: SemanticEvent) -> bool:
        one = requester()
        if one is not None and len(self._subscription) < CAPACITY:
            self._asked[event.seq] = one
        return True

    def _row(self, event: SemanticEvent) -> Row:
        data = dict(event.attrs)
        one = self._asked.pop(event.seq, None)
        uid, pid, comm = event.uid, event.pid, event.comm
        if one is not None:
            data.setdefault("via", one.via)
            uid, pid, comm = (one.uid, one.pid, one.comm) if not (uid or pid) else (uid, pid, comm)
        if event.dest is not None:
            data["dest"] = event.dest
        run = data.pop("run", "")
        if event.cause is not None:
            run = run or event.cause.run
            data.setdefault("workflow", event.cause.workflow)
        if event.cause is not None and event.cause.depth > 1:
            data["depth"] = event.cause.depth
        if comm:
            data["comm"] = comm
        return self._chain.link(event.type, path=event.path, uid=uid, pid=pid, run=str(run), at=event.ts, data=data)
