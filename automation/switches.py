"""What was switched on or off by hand, and stays so over restarts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Keep = Callable[[str, Any], None]


class Switches:
    """Of one kind of definition. `values` are those that were kept, `keep` keeps another one."""

    def __init__(self, kind: str, values: Mapping[str, Any] | None = None, keep: Keep | None = None) -> None:
        self._prefix: Final = f"switch {kind} "
        self._keep: Final = keep
        self._own: Final[dict[str, bool]] = {
            name.removeprefix(self._prefix): bool(value)
            for name, value in (values or {}).items()
            if name.startswith(self._prefix)
        }

    def __getitem__(self, name: str) -> bool:
        return self._own[name]

    def get(self, name: str, default: bool) -> bool:
        """What was said, else `default`."""
        return self._own.get(name, default)

    def __setitem__(self, name: str, enabled: bool) -> None:
        self._own[name] = enabled
        if self._keep is not None:
            self._keep(self._prefix + name, enabled)
