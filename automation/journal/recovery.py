"""After a restart: every run without an end is taken up again, on its own version of the workflow."""

from __future__ import annotations

import logging
import time
from typing import Final, Protocol

import trio

from automation.journal.ledger import SqliteLedger
from automation.runner.ledger import Record, StoredRun

log: Final = logging.getLogger(__name__)

BATCH: Final = 20  # runs between two looks at other work


class Resuming(Protocol):
    """What is asked of the runner."""

    def resume(self, stored: StoredRun) -> object: ...


async def recover(ledger: SqliteLedger, runner: Resuming) -> int:
    """Take up what is unfinished; how many runs that were. One whose definition cannot be read any more ends as failed,
    which is logged: what it had done stays.
    """
    stored = await ledger.unfinished()
    for number, run in enumerate(stored, 1):
        try:
            runner.resume(run)
        except Exception as error:
            log.exception("the run %s of %s cannot be taken up again", run.run.id, run.run.workflow)
            said = f"it could not be taken up again after a restart: {error}"
            ending = Record("finished", "", time.time_ns(), {"status": "failed", "error": said})
            await ledger.append(run.run.id, [ending])
        if number % BATCH == 0:
            await trio.lowlevel.checkpoint()
    if stored:
        log.warning("%d runs that were under way when VexFS ended go on", len(stored))
    return len(stored)
