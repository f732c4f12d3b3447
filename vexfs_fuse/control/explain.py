"""`/.vexfs/explain`: for each workflow, pattern and rule, why it did or did not fire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vexfs_fuse.control.folders import Collection
from vexfs_fuse.control.switched import shown

if TYPE_CHECKING:
    from automation.explain import Explainer


def explanations(explainer: Explainer) -> Collection:
    """A file for each name: workflows, patterns, rules."""
    return Collection(
        explainer.names, lambda name: shown(lambda: explainer.explain(name)) if explainer.knows(name) else None
    )
