"""`/.vexfs/rules`: each rule and guard that is loaded, with its definition, its state and a switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vexfs_fuse.control.folders import Collection
from vexfs_fuse.control.switched import shown, switch, switched

if TYPE_CHECKING:
    from automation.rules.desk import RuleDesk


def rules(desk: RuleDesk) -> Collection:
    """Rules, then guards."""
    return switched(
        desk,
        {
            "definition": lambda name: shown(lambda: dict(desk.definition(name))),
            "status": lambda name: shown(lambda: desk.status(name)),
            "enabled": lambda name: switch(lambda: desk.find(name).live, lambda on: desk.enable(name, on)),
        },
    )
