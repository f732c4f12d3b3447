"""The journal of one mount: the database, its one writer, the audit trail and its head."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable
from typing import Any, Final

import trio

from automation.bus import Bus
from automation.errors import WorldError
from automation.events import SemanticEvent
from automation.journal.auditor import Auditor
from automation.journal.chain import Chain, Head, HeadFile
from automation.journal.database import Database
from automation.journal.keeping import DEFAULTS, Keeping
from automation.journal.query import Question, ask
from automation.journal.writer import Writer
from automation.state_directory import StateDirectory

log: Final = logging.getLogger(__name__)

NAME: Final = "journal.db"
HEAD: Final = "journal.head"


class Journal:
    """`redact` takes the values of secrets out of every text that is written. Unless it `audits`, the trail has
    only what concerns the journal itself.

    Opened before the mount, served by `run`, closed by `aclose` after the last run ended.

    While the disk takes nothing, `stalled` says why and `on_stall` is told; what was handed over waits, and nothing is
    dropped but audited events beyond their queue, which are counted.
    """

    def __init__(
        self,
        bus: Bus,
        kept: StateDirectory,
        redact: Callable[[str], str] = str,
        keeping: Keeping = DEFAULTS,
        *,
        audits: bool = True,
    ) -> None:
        """Open it. CallerError when a newer program wrote it, WorldError when the disk does not let us."""
        self.redact: Final = redact
        self.on_stall: Callable[[str], None] = lambda reason: None
        self.database: Final = Database(kept.file(NAME), sync=keeping.sync)
        self._bus: Final = bus
        self._head_file: Final = HeadFile(kept.file(HEAD))
        with self.database.reader() as connection:
            newest = _newest(connection)
        self.chain: Final = Chain(newest, redact)
        self.writer: Final = Writer(self.database, after=self._head_file.publish, on_stall=self._stall)
        self.auditor: Final = Auditor(bus, self.chain, self.writer, audits=audits)
        self._begin(self._head_file.read())

    @property
    def stalled(self) -> str:
        """Why nothing can be written at present; empty when it can."""
        return self.writer.stalled

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then nobody waits any more for a disk that takes nothing."""
        self.writer.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._audit)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self.writer.hurry()

    async def _audit(self) -> None:
        with contextlib.suppress(WorldError):  # it ended while the disk took nothing
            await self.auditor.run()

    async def aclose(self) -> None:
        """Write what is left and let go of the files."""
        self.auditor.finish()
        await self.writer.close()
        self._head_file.close()

    async def read(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """`work` with a connection that reads, in a thread; WorldError when the disk fails it."""

        def reading() -> Any:
            try:
                with self.database.reader() as connection:
                    return work(connection)
            except sqlite3.Error as error:
                raise WorldError(f"the journal cannot be read: {error}") from error

        return await trio.to_thread.run_sync(reading)

    async def newest(self, limit: int = 1000) -> list[str]:
        """The newest records of the trail as lines of JSON, oldest first."""
        found: list[str] = await self.read(lambda connection: ask(connection, Question(limit=limit)))
        return found

    def status(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "path": self.database.path,
            "records": self.chain.head.seq,
            "commits": self.writer.commits,
            "rows": self.writer.written,
            "waiting": len(self.writer),
            "stalled": self.writer.stalled,
            "set_aside": self.database.set_aside,
        }

    def _begin(self, published: Head) -> None:
        """Note the start, and whether what was published is what is there."""
        known: dict[str, Any] = {"published": published.seq}
        if published.seq > self.chain.head.seq:
            known |= {"missing": f"records after {self.chain.head.seq}", "published_hash": published.hash}
            log.critical("the newest records of the journal are missing: `vexfs verify` tells more")
        if self.database.set_aside is not None:
            known["set_aside"] = self.database.set_aside
        self.auditor.note("audit.begun", data=known)

    def _stall(self, reason: str) -> None:
        attrs = {"reason": "journal", "said": reason} if reason else {"reason": "journal", "over": True}
        self._bus.publish(SemanticEvent("system.overload", attrs=attrs))
        self.on_stall(reason)


def _newest(connection: sqlite3.Connection) -> Head:
    row = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return Head() if row is None else Head(*row)
