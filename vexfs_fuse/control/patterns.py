"""`/.vexfs/patterns`: each pattern that is loaded, with its text, what it holds and a switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automation.patterns.loading import render
from vexfs_fuse.control.folders import Collection
from vexfs_fuse.control.switched import shown, switch, switched
from vexfs_fuse.control.texts import Text

if TYPE_CHECKING:
    from automation.triggers.pattern_desk import PatternDesk


def patterns(desk: PatternDesk) -> Collection:
    """As they were loaded."""
    return switched(
        desk,
        {
            "definition": lambda name: Text(lambda: f"{render(desk.definition(name))}\n"),
            "status": lambda name: shown(lambda: desk.status(name)),
            "enabled": lambda name: switch(lambda: desk.enabled(name), lambda on: desk.enable(name, on)),
        },
    )
