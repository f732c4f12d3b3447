"""What a tenant has used of its hour and minute, kept over restarts: else a new mount would give it all anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import trio

from automation.allowance import Allowance

EVERY: Final = 1.0  # seconds between two writes; what was used since the last one before a kill is forgotten
_KEY: Final = "used "


class Used:
    """`keep` takes a plain value under a key, `kept` has those of before. An allowance that is None has no bound."""

    def __init__(
        self,
        allowances: Mapping[str, Allowance | None],
        kept: Mapping[str, Any],
        keep: Callable[[str, Any], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._allowances: Final = {name: one for name, one in allowances.items() if one is not None}
        self._keep: Final = keep
        self._wall: Final = wall
        self._changed = trio.Event()
        for name, one in self._allowances.items():
            before = kept.get(_KEY + name)
            if before is not None:
                one.restore(before["slices"], wall() - before["at"])
            one.on_use = self._note

    def _note(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Keep what is used, until cancelled."""
        while True:
            await self._changed.wait()
            self.save()
            await trio.sleep(EVERY)

    def save(self) -> None:
        """Keep it now."""
        self._changed = trio.Event()
        for name, one in self._allowances.items():
            slices = one.snapshot()
            self._keep(_KEY + name, {"at": self._wall(), "slices": slices} if slices else None)
