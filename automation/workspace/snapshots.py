"""The names of snapshots, and which of them are past keeping."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Final

_NAME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)\.\d{6}Z\Z")
_FORM: Final = "%Y-%m-%dT%H-%M-%S"


def name(now: float) -> str:
    """That of a snapshot made at `now`, in UTC: names sort by time."""
    return f"{time.strftime(_FORM, time.gmtime(now))}.{int(now % 1 * 1e6):06d}Z"


def outdated(names: Iterable[str], keep: int | None, oldest: float | None) -> list[str]:
    """Those of `names` that are snapshots and neither among the newest `keep` nor made since `oldest`.

    With neither bound none is; what has another form of name is nobody's business.
    """
    known = sorted((one for one in names if _NAME.match(one)), reverse=True)
    gone = set(known[keep:] if keep is not None else ())
    if oldest is not None:
        gone |= {one for one in known if one < name(oldest)}
    return sorted(gone)
