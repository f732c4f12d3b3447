"""What is given up for its age or for room: finished runs by count and age, audit records by age, both by bytes.

The audit trail signs its own gap off: a record says up to which number, and with which hash, the older ones went.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from functools import partial
from typing import Any, Final

import trio

from automation.journal.database import used_bytes
from automation.journal.journal import Journal
from automation.journal.keeping import Keeping
from automation.journal.ledger import SqliteLedger
from automation.journal.verification import PRUNED

log: Final = logging.getLogger(__name__)

EVERY_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 0.5  # between two rounds of a journal that is too large
LEAST: Final = 16  # audit records that stay, however large the journal is
CHUNK: Final = 500  # runs, or audit records times 20, of one transaction: others' records wait 20 ms at most
_BYTES: Final = "length(record) + 2 * length(path) + 180"  # of an audit record with its share of the indexes
DAY_NS: Final = 86_400 * 10**9


class Housekeeper:
    """Gives up what is too old, now and every ten minutes, and what is too much once it is, in small transactions."""

    def __init__(self, journal: Journal, ledger: SqliteLedger, keeping: Keeping) -> None:
        self._journal: Final = journal
        self._ledger: Final = ledger
        self._keeping: Final = keeping

    async def run(self) -> None:
        """Until cancelled."""
        await self._ledger.conceal()
        while True:
            await self.tidy(time.time_ns())
            await trio.sleep(PAUSE_SECONDS)
            with trio.move_on_after(EVERY_SECONDS):
                await self._journal.grown()

    async def tidy(self, now: int) -> None:
        """Give up what is too old at `now`."""
        for ids in _chunks(self._outdated(now)):
            await self._ledger.drop(ids)
        before = now - int(self._keeping.retention_audit_days * DAY_NS)
        await self._give_up(await self._journal.read(lambda connection: _last_before(connection, before)), "age")
        if self._keeping.when_large == "prune":
            await self._shrink()

    def _outdated(self, now: int) -> list[str]:
        finished = [(run_id, one.ended) for run_id, one in self._ledger.known.items() if one.status]
        before = now - int(self._keeping.retention_days * DAY_NS)
        surplus = len(finished) - self._keeping.retention_runs
        return [run_id for number, (run_id, ended) in enumerate(finished) if number < surplus or ended < before]

    async def _shrink(self) -> None:
        """Down to nine tenths of what it may have: first the oldest audit records, then the oldest finished runs."""
        most = self._keeping.max_bytes
        while most is not None and (used := await self._journal.read(used_bytes)) > most:
            excess = used - most + most // 10
            last = await self._journal.read(partial(_oldest, size=excess))
            if last is not None:
                if not await self._give_up(last, "max-bytes"):
                    return
                continue
            finished = [run_id for run_id, one in self._ledger.known.items() if one.status]
            if not finished:
                log.warning("the journal has %d bytes, more than max-bytes (%d), and nothing to give up", used, most)
                return
            await self._ledger.drop(finished[:CHUNK])

    async def _give_up(self, last: tuple[int, str] | None, reason: str) -> bool:
        if last is None:
            return False
        seq, digest = last
        if not self._journal.auditor.note(PRUNED, data={"through": seq, "hash": digest, "reason": reason}):
            return False  # nothing goes that is not signed off
        more = True
        while more:
            more = await self._journal.writer.perform(lambda connection: _drop_audit(connection, seq))
        return True


def _chunks(ids: list[str]) -> list[list[str]]:
    return [ids[at : at + CHUNK] for at in range(0, len(ids), CHUNK)]


def _last_before(connection: sqlite3.Connection, before: int) -> Any:
    """The newest of the records that are all older, but for the very last record."""
    first = "SELECT coalesce(min(seq), (SELECT max(seq) FROM audit)) FROM audit WHERE at >= ?"
    sql = f"SELECT seq, hash FROM audit WHERE seq < ({first}) ORDER BY seq DESC LIMIT 1"
    return connection.execute(sql, (before,)).fetchone()


def _oldest(connection: sqlite3.Connection, size: int) -> tuple[int, str] | None:
    """The newest of the oldest records that take `size` bytes together; None when they are too few to matter."""
    sql = f"SELECT seq, hash, {_BYTES} FROM audit WHERE seq <= (SELECT max(seq) FROM audit) - ? ORDER BY seq"
    last, count = None, 0
    for seq, digest, one in connection.execute(sql, (LEAST,)):
        last, size, count = (seq, digest), size - one, count + 1
        if size <= 0:
            break
    return last if count > 1 else None


def _drop_audit(connection: sqlite3.Connection, through: int) -> bool:
    """Whether there may be more."""
    sql = "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE seq <= ? ORDER BY seq LIMIT ?)"
    return connection.execute(sql, (through, CHUNK * 20)).rowcount == CHUNK * 20
