"""Who is being served: the user whose write to `/.vexfs` is being carried out, for whoever writes down why.

Whatever happens in the same task until the write is answered happened at that user's request.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


@dataclass(slots=True)
class Requester:
    """A user, the process, and the file of `/.vexfs` that it writes; `over` once it has its answer."""

    uid: int
    pid: int = 0
    comm: str = ""
    via: str = ""
    over: bool = False


_CURRENT: Final[ContextVar[Requester | None]] = ContextVar("requester", default=None)


def requester() -> Requester | None:
    """Who is being served in this task; None where nobody asked, and in tasks that outlive the request."""
    one = _CURRENT.get()
    return None if one is None or one.over else one


@contextlib.contextmanager
def serving(one: Requester) -> Iterator[None]:
    """What the block does is done at the request of `one`."""
    token = _CURRENT.set(one)
    try:
        yield
    finally:
        _CURRENT.reset(token)
        one.over = True
