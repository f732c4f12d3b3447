"""Write to the log."""

from __future__ import annotations

import logging
from typing import Any, Final, Literal

from pydantic import BaseModel

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight
from automation.actions.form import STRICT
from automation.actions.write import as_bytes

logger: Final = logging.getLogger("automation.workflow")

_LONGEST: Final = 8192


class Log(BaseModel):
    """One line in VexFS's log, marked with the workflow and the run."""

    model_config = STRICT
    type: Literal["log"] = "log"
    message: Any
    level: Literal["debug", "info", "warning", "error"] = "info"

    async def perform(self, context: ActionContext) -> Any:
        """`{message}` as written."""
        line = self._line
        cause = context.cause
        level = logging.getLevelNamesMapping()[self.level.upper()]
        logger.log(level, "%s: %s", cause.workflow, line, extra={"run": cause.run, "workflow": cause.workflow})
        return {"message": line}

    async def foresee(self, view: Foresight) -> Foreseen:
        """Not a line."""
        return Foreseen({"message": self._line})

    @property
    def _line(self) -> str:
        message = as_bytes(self.message).decode("utf-8", "backslashreplace").rstrip("\n")
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in message[:_LONGEST])
