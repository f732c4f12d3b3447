"""The journal of one mount: the database, its one writer, the audit trail and its head."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

import trio

from automation.bus import Bus
from automation.errors import WorldError
from automation.events import SemanticEvent
from automation.journal.auditor import Auditor
from automation.journal.chain import Chain, Head, HeadFile
from automation.journal.database import Database
from automation.journal.keeping import DEFAULTS, Keeping
from automation.journal.path_redaction import PathRedactor
from automation.journal.query import Question, ask
from automation.journal.schema import Row
from automation.journal.writer import Writer
from automation.state_directory import StateDirectory

log: Final = logging.getLogger(__name__)

NAME: Final = "journal.db"
HEAD: Final = "journal.head"


class Journal:
    """`redact` takes the values of secrets out of every text that is written, `paths` the paths that must not be in the
    trail. Unless it `audits`, the trail has only what concerns the journal itself.

    Opened before the mount, served by `run`, closed by `aclose` after the last run ended.

    While the disk takes nothing, `stalled` says why and `on_stall` is told. By `keeping.when_full`, what was handed
    over waits, and nothing is dropped but audited events beyond their queue, which are counted; or nobody waits, and
    what is audited meanwhile is counted and not written.
    """

    def __init__(
        self,
        bus: Bus,
        kept: StateDirectory,
        redact: Callable[[str], str] = str,
        keeping: Keeping = DEFAULTS,
        *,
        audits: bool = True,
        paths: PathRedactor | None = None,
    ) -> None:
        """Open it. CallerError when a newer program wrote it, WorldError when the disk does not let us."""
        self.redact: Final = redact
        self.paths: Final = paths
        self.on_stall: Callable[[str], None] = lambda reason: None
        self.policy: Final = keeping.when_full
        self.database: Final = Database(
            kept.file(NAME), sync=keeping.sync, most_bytes=keeping.max_bytes, erases=paths is not None
        )
        self._bus: Final = bus
        self._head_file: Final = HeadFile(kept.file(HEAD))
        with self.database.reader() as connection:
            newest = _newest(connection)
        self.chain: Final = Chain(newest, redact, paths)
        self._most_bytes: Final = keeping.max_bytes
        self._grown = trio.Event()
        self._large = False
        goes_on = self.policy == "stop_auditing"
        most = keeping.max_bytes if keeping.when_large == "stop" else None
        self.writer: Final = Writer(
            self.database, after=self._committed, on_stall=self._stall, lets_go=goes_on, most_bytes=most
        )
        self.auditor: Final = Auditor(bus, self.chain, self.writer, audits=audits, gives_up=goes_on)
        self._stalled_for = ""
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

    async def grown(self) -> None:
        """Wait until the database is larger than it may become."""
        await self._grown.wait()
        self._grown, self._large = trio.Event(), False

    def _committed(self, rows: Sequence[Row]) -> None:
        self._head_file.publish(rows)
        if self._most_bytes is not None and self.writer.measure() > self._most_bytes and not self._large:
            self._large = True
            self.writer.later(self._tell_growth)

    def _tell_growth(self) -> None:
        self._grown.set()

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
            "policy": self.policy,
            "lost": self.auditor.lost_in_all,
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
        attrs: dict[str, Any] = {"reason": "journal", "policy": self.policy}
        if reason:
            attrs["said"] = self._stalled_for = reason
        else:
            attrs |= {"over": True, "lost": self.auditor.resume(self._stalled_for)}
        self._bus.publish(SemanticEvent("system.overload", attrs=attrs))
        self.on_stall(reason)


def _newest(connection: sqlite3.Connection) -> Head:
    row = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return Head() if row is None else Head(*row)
