"""`/.vexfs/rules`: each rule and guard that is loaded, with its definition, its state and a switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vexfs_fuse.control.switched import Enabled, Shown, Switched

if TYPE_CHECKING:
    from automation.rules.desk import RuleDesk


def rules(desk: RuleDesk) -> Switched:
    """Rules, then guards."""
    return Switched(
        desk,
        {
            "definition": lambda name: Shown(lambda: dict(desk.definition(name))),
            "status": lambda name: Shown(lambda: desk.status(name)),
            "enabled": lambda name: Enabled(desk, name, lambda name: desk.find(name).live),
        },
    )
