"""`/.vexfs/error`: why the last requests were refused."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vexfs_fuse.control.layout import clock
from vexfs_fuse.control.nodes import Description
from vexfs_fuse.control.texts import Text

if TYPE_CHECKING:
    from automation.service import Service


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused request: when (ns since the epoch), by whom, on which file of the tree, and the sentence."""

    when_ns: int
    uid: int
    where: str
    sentence: str


class Refusals:
    """The last 32 refusals; older ones are dropped and nobody is told."""

    def __init__(self) -> None:
        self._kept: Final[deque[Refusal]] = deque(maxlen=32)

    def add(self, where: str, uid: int, sentence: str) -> None:
        """Note a refusal."""
        self._kept.appendleft(Refusal(time.time_ns(), uid, where, sentence))

    @property
    def newest_first(self) -> tuple[Refusal, ...]:
        """What is kept."""
        return tuple(self._kept)


def errors(refusals: Refusals, service: Service) -> Text:
    """The refusals, newest first, one line each; then the definitions that are refused at present."""

    def render() -> str:
        lines = [f"{clock(r.when_ns)} uid {r.uid} {r.where}: {r.sentence}\n" for r in refusals.newest_first]
        broken = [str(e.error) for e in service.library.entries.values() if e.error is not None]
        if broken:
            lines += ["\n", "Definitions refused at present:\n", *(f"{sentence}\n" for sentence in broken)]
        return "".join(lines)

    def describe() -> Description:
        newest = next(iter(refusals.newest_first), None)
        changed_ns = service.started_ns if newest is None else newest.when_ns
        return Description(0o400, len(render().encode(errors="backslashreplace")), changed_ns)

    return Text(render, describe)
