"""`/.vexfs/models`: each model that learns here, and each value that is moved by outcomes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from automation.errors import CallerError
from vexfs_fuse.control.handles import CommandLines
from vexfs_fuse.control.layout import clock
from vexfs_fuse.control.nodes import Description, Handle, Node, Opening
from vexfs_fuse.control.switched import Enabled, Shown, Switched
from vexfs_fuse.errors import ENOENT, fail

if TYPE_CHECKING:
    from automation.models.desk import ModelDesk
    from automation.models.tuning import TuningDesk


class Told:
    """Something to read, and lines to write about it."""

    def __init__(self, name: str, read: Callable[[str], str], execute: Callable[[str, str], Awaitable[None]]) -> None:
        self._name: Final = name
        self._read: Final = read
        self._execute: Final = execute

    def describe(self) -> Description:
        """Readable and writable by the owner."""
        return Description(0o600)

    def open(self, opening: Opening) -> Handle:
        """A snapshot to read, lines to write."""
        return CommandLines(self._render, lambda line: self._execute(self._name, line))

    def _render(self) -> bytes:
        try:
            return self._read(self._name).encode("utf-8", "backslashreplace")
        except CallerError:
            fail(ENOENT)


class ModelsDirectory:
    """Models, then adaptive values; a model has a name before an adaptive value has it."""

    def __init__(self, models: ModelDesk, tuning: TuningDesk) -> None:
        self._parts: Final = (
            Switched(
                models,
                {
                    "status": lambda name: Shown(lambda: models.status(name)),
                    "predict": lambda name: Told(name, lambda name: _json(models.last(name)), models.try_out),
                    "approve": lambda name: Told(name, lambda name: APPROVE, models.approve),
                    "versions": lambda name: Shown(lambda: _dated(models.versions(name))),
                    "version": lambda name: Told(name, lambda name: f"{models.version(name)}\n", models.change_version),
                    "enabled": lambda name: Enabled(models, name, models.enabled),
                },
            ),
            Switched(
                tuning,
                {
                    "status": lambda name: Shown(lambda: tuning.status(name)),
                    "approve": lambda name: Told(name, lambda name: APPROVE, tuning.approve),
                    "changes": lambda name: Told(name, lambda name: _lines(tuning.changes(name)), tuning.revert),
                    "enabled": lambda name: Enabled(tuning, name, tuning.enabled),
                },
            ),
        )

    def describe(self) -> Description:
        """They come and go with their files."""
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """Of both."""
        return dict.fromkeys(name for part in self._parts for name in part.names())

    def child(self, name: str) -> Node | None:
        """By name."""
        return next((found for part in self._parts if (found := part.child(name)) is not None), None)


APPROVE: Final = "write: RUN yes, or RUN no\n"


def _json(value: dict[str, Any] | None) -> str:
    return "" if value is None else f"{json.dumps(value, ensure_ascii=False)}\n"


def _dated(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "at": clock(row["at"])} for row in rows]


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(_json(row) for row in _dated(rows))
