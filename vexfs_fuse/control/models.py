"""`/.vexfs/models`: each model that learns here, and each value that is moved by outcomes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from vexfs_fuse.control.folders import Collection
from vexfs_fuse.control.layout import clock
from vexfs_fuse.control.switched import shown, switch, switched
from vexfs_fuse.control.texts import Commands

if TYPE_CHECKING:
    from automation.models.desk import ModelDesk
    from automation.models.tuning import TuningDesk


def models(models: ModelDesk, tuning: TuningDesk) -> Collection:
    """Models, then adaptive values; a model has a name before an adaptive value has it."""
    learning = switched(
        models,
        {
            "status": lambda name: shown(lambda: models.status(name)),
            "predict": lambda name: _told(name, lambda: _json(models.last(name)), models.try_out),
            "approve": lambda name: _told(name, lambda: APPROVE, models.approve),
            "versions": lambda name: shown(lambda: _dated(models.versions(name))),
            "version": lambda name: _told(name, lambda: f"{models.version(name)}\n", models.change_version),
            "enabled": lambda name: switch(lambda: models.enabled(name), lambda on: models.enable(name, on)),
        },
    )
    adaptive = switched(
        tuning,
        {
            "status": lambda name: shown(lambda: tuning.status(name)),
            "approve": lambda name: _told(name, lambda: APPROVE, tuning.approve),
            "changes": lambda name: _told(name, lambda: _lines(tuning.changes(name)), tuning.revert),
            "enabled": lambda name: switch(lambda: tuning.enabled(name), lambda on: tuning.enable(name, on)),
        },
    )
    return Collection(
        lambda: dict.fromkeys([*learning.names(), *adaptive.names()]),
        lambda name: learning.child(name) or adaptive.child(name),
    )


APPROVE: Final = "write: RUN yes, or RUN no\n"


def _told(name: str, read: Callable[[], str], execute: Callable[[str, str], Awaitable[None]]) -> Commands:
    """Something to read, and lines to write about it."""
    return Commands(read, lambda line, uid: execute(name, line))


def _json(value: dict[str, Any] | None) -> str:
    return "" if value is None else f"{json.dumps(value, ensure_ascii=False)}\n"


def _dated(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "at": clock(row["at"])} for row in rows]


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(_json(row) for row in _dated(rows))
