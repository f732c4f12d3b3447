"""What is given up for its age: finished runs by count and age, audit records by age.

The audit trail signs its own gap off: a record says up to which number, and with which hash, the older ones went.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from typing import Any, Final

import trio

from automation.journal.journal import Journal
from automation.journal.keeping import Keeping
from automation.journal.ledger import SqliteLedger
from automation.journal.verification import PRUNED

log: Final = logging.getLogger(__name__)

EVERY_SECONDS: Final = 600.0
CHUNK: Final = 500  # runs, or audit records times 20, of one transaction: others' records wait 20 ms at most
DAY_NS: Final = 86_400 * 10**9


class Housekeeper:
    """Gives up what is too old, now and every ten minutes, in small transactions."""

    def __init__(self, journal: Journal, ledger: SqliteLedger, keeping: Keeping) -> None:
        self._journal: Final = journal
        self._ledger: Final = ledger
        self._keeping: Final = keeping

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.tidy(time.time_ns())
            await trio.sleep(EVERY_SECONDS)

    async def tidy(self, now: int) -> None:
        """Give up what is too old at `now`."""
        for ids in _chunks(self._outdated(now)):
            await self._ledger.drop(ids)
        await self._tidy_audit(now - int(self._keeping.retention_audit_days * DAY_NS))

    def _outdated(self, now: int) -> list[str]:
        finished = [(run_id, one.ended) for run_id, one in self._ledger.known.items() if one.status]
        before = now - int(self._keeping.retention_days * DAY_NS)
        surplus = len(finished) - self._keeping.retention_runs
        return [run_id for number, (run_id, ended) in enumerate(finished) if number < surplus or ended < before]

    async def _tidy_audit(self, before: int) -> None:
        last = await self._journal.read(lambda connection: _last_before(connection, before))
        if last is None:
            return
        seq, digest = last
        self._journal.auditor.note(PRUNED, data={"through": seq, "hash": digest})
        more = True
        while more:
            more = await self._journal.writer.perform(lambda connection: _drop_audit(connection, seq))


def _chunks(ids: list[str]) -> list[list[str]]:
    return [ids[at : at + CHUNK] for at in range(0, len(ids), CHUNK)]


def _last_before(connection: sqlite3.Connection, before: int) -> Any:
    """The newest of the records that are all older, but for the very last record."""
    sql = "SELECT seq, hash FROM audit WHERE seq < (SELECT coalesce(min(seq), -1) FROM audit WHERE at >= ?)"
    return connection.execute(f"{sql} ORDER BY seq DESC LIMIT 1", (before,)).fetchone()


def _drop_audit(connection: sqlite3.Connection, through: int) -> bool:
    """Whether there may be more."""
    sql = "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE seq <= ? ORDER BY seq LIMIT ?)"
    return connection.execute(sql, (through, CHUNK * 20)).rowcount == CHUNK * 20
