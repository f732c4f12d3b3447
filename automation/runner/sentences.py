"""What went wrong, for a person."""

from __future__ import annotations

import logging
from typing import Final

from pydantic import ValidationError

from automation.errors import VexError

log: Final = logging.getLogger(__name__)


def sentence(error: BaseException) -> str:
    """One sentence; a bug of ours goes to the log with its traceback."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    if isinstance(error, VexError | ValueError):
        return str(error)
    if isinstance(error, BaseExceptionGroup):
        return sentence(error.exceptions[0])
    log.error("an action met a bug", exc_info=error)
    return f"internal error: {error!r}"
