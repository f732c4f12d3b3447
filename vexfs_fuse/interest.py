"""Does anyone want the reads and writes of this path? Decides between a native and a traced open."""

from __future__ import annotations

from typing import Final, Protocol

from automation.bus import Bus


class Guards(Protocol):
    """What is asked of the guards."""

    def concerns(self, operation: str, path: str) -> bool:
        """Whether such an operation on this path may have to be judged."""
        ...


class Interest:
    """Asks the bus, whose subscriptions answer from their routing index. `io` is the mount's policy."""

    def __init__(self, bus: Bus, io: str = "auto", guards: Guards | None = None) -> None:
        self._bus: Final = bus
        self._io: Final = io
        self._guards: Final = guards

    def in_data(self, path: str) -> bool:
        """Whether each read and write must be seen."""
        if self._io != "auto":
            return self._io == "traced"
        return self._bus.wanted("file.written", path) or self._bus.wanted("file.read", path)

    def judged(self, path: str) -> bool:
        """Whether a guard may have to judge each write: then all of them must come through us, mapped ones too."""
        return self._guards is not None and self._guards.concerns("write", path)

    def in_flush(self, path: str) -> bool:
        """Whether the close of each descriptor must be seen, not only that of the last."""
        return self._bus.wanted("sync.flush", path)
