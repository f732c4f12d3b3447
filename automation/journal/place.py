"""Where a journal is: in a state directory, named itself or by the mount that uses it."""

from __future__ import annotations

import os
import re
from typing import Final

from automation.errors import CallerError
from automation.journal.journal import NAME

_KEPT: Final = re.compile(r"^state dir +(.+)$", re.MULTILINE)


def journal_of(place: str) -> str:
    """The state directory that `place` is, or that of the mount at `place`; CallerError when it is neither."""
    if os.path.exists(os.path.join(place, NAME)):
        return place
    try:
        with open(os.path.join(place, ".vexfs", "status"), encoding="utf-8", errors="surrogateescape") as file:
            found = _KEPT.search(file.read())
    except OSError as error:
        raise CallerError(f"{place} is neither a mount of VexFS nor a state directory: {error.strerror}") from error
    if found is None:
        raise CallerError(f"the mount at {place} keeps nothing (--volatile): it has no journal")
    return found[1]
