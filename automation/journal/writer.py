"""The one thread that writes the journal, with group commit.

Whoever has something to write hands rows over and may wait for them. The thread commits all that lies there at once and
then takes what has come meanwhile: no delay is made, so one writer alone waits for one commit, and under load a commit
serves hundreds.

    hand over (trio) ─► queue ─► take all ─► one transaction ─► wake those who wait (trio)

The queue has no bound of its own: each run waits for its own rows, so it holds a few rows a run; the audit's share is
bounded by its subscription. Nothing is dropped. When the disk takes nothing (it is full, say) the thread tries again
every `RETRY_SECONDS` until it does, `stalled` says why, and whoever waits waits; nothing here is ever awaited by a
system call. With `lets_go` nobody waits meanwhile: up to `MOST_HELD` units lie in memory until the disk takes them, and
only who comes beyond that waits. With `most_bytes` a database that is larger takes as little as a full disk, until
something of it was given up.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import trio

from automation.errors import InternalError, WorldError
from automation.journal.database import Database, damaged, used_bytes
from automation.journal.rows import write_rows
from automation.journal.schema import Row
from automation.metering import CURRENT, Payer

log: Final = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0
MOST: Final = 4096  # units of one commit
MOST_HELD: Final = 65_536  # units in memory while the disk takes nothing
_PASSING: Final = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_CORRUPT")

Work = Callable[[sqlite3.Connection], Any]


class _Unit:
    """Rows that are written all or none, or some work of its own; and the task that waits for it."""

    __slots__ = ("done", "error", "result", "rows", "task", "urgent", "work")

    def __init__(self, rows: Sequence[Row], work: Work | None = None, *, urgent: bool = False) -> None:
        self.rows: Final = rows
        self.work: Final = work
        self.urgent: Final = urgent or work is not None
        self.task: trio.lowlevel.Task | None = None
        self.done = False
        self.error: Exception | None = None
        self.result: Any = None


class Writer:
    """Used from one trio thread. `after` is called in the writer's thread with the rows of each commit, if any;
    `on_stall` in trio's with the reason when the disk refuses, and with "" when it takes again. What the thread
    computes is of the tenant's share under which it is started.
    """

    def __init__(
        self,
        database: Database,
        *,
        after: Callable[[Sequence[Row]], None] = lambda rows: None,
        on_stall: Callable[[str], None] = lambda reason: None,
        lets_go: bool = False,
        most_bytes: int | None = None,
    ) -> None:
        self.closed = self.hurried = False
        self.stalled = ""
        self.commits = 0
        self.written = 0
        self.on_stall = on_stall
        self._after: Final = after
        self._lets_go: Final = lets_go
        self._most_bytes: Final = most_bytes
        self._waiting: Final[set[_Unit]] = set()
        self._database: Final = database
        self._connection: Final = database.connect()
        self.used = used_bytes(self._connection)  # bytes, as `measure` last found them
        self._units: Final[deque[_Unit]] = deque()
        self._wake: Final = threading.Event()
        self._hurry: Final = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._payer: Payer | None = None
        self._thread: Final = threading.Thread(target=self._serve, name="journal", daemon=True)

    def __len__(self) -> int:
        return len(self._units)

    def start(self) -> None:
        """Begin; to be called in trio."""
        self._token = trio.lowlevel.current_trio_token()
        self._payer = CURRENT.get()
        self._thread.start()

    def hand_over(self, rows: Sequence[Row], *, urgent: bool = False) -> None:
        """Have rows written some time soon, after all that was handed over before; `urgent` ones do not wait for room,
        and none before them: they, or what follows them, make some.
        """
        self._put(_Unit(rows, urgent=urgent))

    async def write(self, rows: Sequence[Row]) -> None:
        """Have rows written, all or none; returns when they are committed, and no sooner when it is cancelled.

        WorldError when the journal ended before the disk took them.
        """
        unit = self._put(_Unit(rows))
        if self._lets_go and self.stalled and len(self._units) < MOST_HELD:
            await trio.lowlevel.checkpoint()
        else:
            await self._finished(unit)

    async def perform(self, work: Work) -> Any:
        """Do `work(connection)` in the writer's thread, in a transaction of its own; its result."""
        unit = self._put(_Unit((), work))
        await self._finished(unit)
        return unit.result

    def hurry(self) -> None:
        """From now on what the disk refuses fails at once: nobody may wait for it any more."""
        self.hurried = True
        self._hurry.set()

    async def close(self) -> None:
        """Write what was handed over and end; what a stalled disk does not take now is given up."""
        self.hurry()
        self.closed = True
        self._wake.set()
        if self._thread.is_alive():
            await trio.to_thread.run_sync(self._thread.join)
        self._connection.close()

    def _put(self, unit: _Unit) -> _Unit:
        if self.closed:
            raise WorldError("the journal is closed")
        self._units.append(unit)
        if not self._wake.is_set():
            self._wake.set()
        return unit

    async def _finished(self, unit: _Unit) -> None:
        if unit.done:
            await trio.lowlevel.checkpoint()
        else:
            unit.task = trio.lowlevel.current_task()
            self._waiting.add(unit)
            await trio.lowlevel.wait_task_rescheduled(_not_now)
            self._waiting.discard(unit)
        if unit.error is not None:
            raise unit.error

    def _release(self) -> None:
        """Let those go who wait for rows, not for a result; the rows stay."""
        for unit in [unit for unit in self._waiting if unit.task is not None and unit.work is None]:
            assert unit.task is not None
            trio.lowlevel.reschedule(unit.task)
            unit.task = None

    def measure(self) -> int:
        """The size without free pages, in `used` too; to be asked by `after`: elsewhere a commit is waited for."""
        self.used = used_bytes(self._connection)
        return self.used

    # In the thread

    def _serve(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            began = time.thread_time()
            while self._units:
                units = [self._units.popleft() for _ in range(min(MOST, len(self._units)))]
                try:
                    self._commit(units)
                except Exception as error:  # a bug of ours must not leave anybody waiting
                    log.exception("the journal's writer met a bug")
                    for unit in units:
                        unit.error = unit.error or InternalError(f"the journal met a bug: {error!r}")
                    self._tell(units)
                if self._payer is not None:
                    began, before = time.thread_time(), began
                    self._payer.charge(began - before)
            if self.closed and not self._units:
                return

    def _commit(self, units: Sequence[_Unit]) -> None:
        group: list[_Unit] = []
        for unit in units:
            if unit.work is None:
                group.append(unit)
                continue
            self._write(group)
            group = []
            self._perform(unit, unit.work)
        self._write(group)

    def _write(self, group: Sequence[_Unit]) -> None:
        """In one transaction; one by one when one of them is wrong."""
        if not group:
            return
        rows = [row for unit in group for row in unit.rows]
        self._until_room(group)
        try:
            self._until_taken(lambda connection: _transact(connection, lambda within: write_rows(within, rows)))
        except (sqlite3.Error, ValueError, OverflowError) as error:  # the latter: no text or number that SQLite holds
            if len(group) > 1:
                for unit in group:
                    self._write([unit])
                return
            group[0].error = _sentence(error)
        else:
            self.written += len(rows)
            self._after(rows)
        self._tell(group)

    def _perform(self, unit: _Unit, work: Work) -> None:
        try:
            unit.result = self._until_taken(lambda connection: _transact(connection, work))
            self._after(())
        except sqlite3.Error as error:
            unit.error = _sentence(error)
        except Exception as error:
            unit.error = error
        self._tell([unit])

    @property
    def _large(self) -> bool:
        return self._most_bytes is not None and self.used > self._most_bytes

    def _until_room(self, group: Sequence[_Unit]) -> None:
        """Wait for as long as the database is too large, and nobody is about to make it smaller."""
        while self._large and not self.hurried and not any(unit.urgent for unit in (*group, *self._units)):
            if not self.stalled:
                self._say(f"the journal has {self.used} bytes, and may have {self._most_bytes}")
            self._hurry.wait(RETRY_SECONDS)

    def _until_taken(self, work: Work) -> Any:
        while True:
            try:
                result = work(self._connection)
            except sqlite3.Error as error:
                if not _passing(error) or self.hurried:
                    raise
                self._wait(error)
                continue
            if self.stalled and not self._large:
                self._say("")
            self.commits += 1
            return result

    def _wait(self, error: sqlite3.Error) -> None:
        if not self.stalled:
            if damaged(error):
                self._database.condemn()
            more = ", and is set aside at the next mount" if damaged(error) else ""
            self._say(f"the journal cannot be written{more}: {error}")
            if self._lets_go:
                self.later(self._release)
        self._hurry.wait(RETRY_SECONDS)

    def _say(self, reason: str) -> None:
        self.stalled = reason
        (log.critical if reason else log.warning)("%s", reason or "the journal is written again")
        self.later(self.on_stall, reason)

    def _tell(self, units: Sequence[_Unit]) -> None:
        self.later(_told, units)

    def later(self, call: Callable[..., object], *values: object) -> None:
        """Call it in trio's thread."""
        if self._token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(call, *values)


def _not_now(raise_cancel: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED  # the commit comes soon, or `hurry` ends the wait


def _told(units: Sequence[_Unit]) -> None:
    for unit in units:
        unit.done = True
        if unit.task is not None:
            trio.lowlevel.reschedule(unit.task)
            unit.task = None


def _transact(connection: sqlite3.Connection, work: Work) -> Any:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return result


def _sentence(error: Exception) -> Exception:
    if isinstance(error, sqlite3.Error) and _passing(error):
        return WorldError(f"the journal cannot be written: {error}")
    log.error("the journal refused a record", exc_info=error)
    return InternalError(f"the journal refused a record: {error}")


def _passing(error: Exception) -> bool:
    """Whether the disk may take it later."""
    return getattr(error, "sqlite_errorname", "").startswith(_PASSING)
