"""Writes down what matters: firings, runs, steps, denials, definitions, states, and what is written to `/.vexfs`.

Its queue holds 65,536 events; a full one drops the newest, and how many were dropped is itself a record. So the audit
is never the reason why an operation waits. Where automations go on while the disk takes nothing, nothing is audited
meanwhile, and how much that was is a record too.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import trio

from automation.bus import Bus, Overflow
from automation.events import SemanticEvent
from automation.journal.chain import Chain
from automation.journal.schema import Row
from automation.journal.verification import PRUNED
from automation.journal.writer import Writer
from automation.requester import Requester, requester

log: Final = logging.getLogger(__name__)

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
AHEAD: Final = 64  # batches handed over before the disk has the first: one commit for 16,384 records costs half as much


class Auditor:
    """Follows the bus from its making on; `note` is for what is no event."""

    def __init__(self, bus: Bus, chain: Chain, writer: Writer, *, audits: bool = True, gives_up: bool = False) -> None:
        self.lost = 0  # since the disk takes nothing
        self.lost_in_all = 0
        self._audits: Final = audits
        self._gives_up: Final = gives_up
        self._chain: Final = chain
        self._writer: Final = writer
        self._asked: Final[dict[int, Requester]] = {}  # by the number of the event that was published meanwhile
        self._subscription: Final = bus.subscribe(
            "audit",
            TYPES if audits else (),
            accept=self._accept,
            wants=lambda kind, path, maker: False,
            capacity=CAPACITY,
            overflow=Overflow.DROP_NEWEST,
        )

    def note(self, kind: str, *, path: str = "", uid: int = 0, pid: int = 0, data: dict[str, Any]) -> bool:
        """Write something down that was no event; whether it will be. Nothing happens once the journal is closed."""
        if self._writer.closed or not (self._audits or kind.startswith("audit.")):
            return False
        if self._writer.stalled and (self._gives_up or len(self._writer) >= CAPACITY):
            self._lose(1)
            return False
        row = self._chain.link(kind, path=path, uid=uid, pid=pid, data=data)
        self._writer.hand_over([row], urgent=kind == PRUNED)
        return True

    async def run(self) -> None:
        """Write down what comes, until cancelled."""
        while True:
            batch = await self._subscription.receive()
            if self._gives_up and self._writer.stalled:
                self._lose(len(batch))
                self._asked.clear()
            elif len(self._writer) < AHEAD:
                self._writer.hand_over([self._row(event) for event in batch])
                await trio.lowlevel.checkpoint()
            else:
                await self._writer.write([self._row(event) for event in batch])

    def resume(self, reason: str) -> int:
        """The disk takes again: write down how many records there are not; that number."""
        lost, self.lost = self.lost, 0
        if lost and not self._writer.closed:
            data = {"subscription": "audit", "dropped": lost, "reason": reason}
            self._writer.hand_over([self._chain.link("system.gap", data=data)])
        return lost

    def finish(self) -> None:
        """Write down what is still queued."""
        if self.lost:
            log.error("the journal ends while the disk takes nothing: %d audit records were not written", self.lost)
        while batch := self._subscription.receive_nowait():
            self._writer.hand_over([self._row(event) for event in batch])
        self._subscription.close()

    def _lose(self, count: int) -> None:
        self.lost += count
        self.lost_in_all += count

    def _accept(self, event: SemanticEvent) -> bool:
        one = requester()
        if one is not None and len(self._subscription) < CAPACITY:
            self._asked[event.seq] = one
        if self._chain.paths is not None:  # the names are to be known before anything of it is logged
            self._chain.paths.see(event.path)
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
