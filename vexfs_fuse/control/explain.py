"""`/.vexfs/explain`: for each workflow, pattern and rule, why it did or did not fire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from vexfs_fuse.control.nodes import Description, Node
from vexfs_fuse.control.switched import Shown

if TYPE_CHECKING:
    from automation.explain import Explainer


class Explanations:
    """A file for each name."""

    def __init__(self, explainer: Explainer) -> None:
        self._explainer: Final = explainer

    def describe(self) -> Description:
        """They come and go with their definitions."""
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """Workflows, patterns, rules."""
        return self._explainer.names()

    def child(self, name: str) -> Node | None:
        """By name."""
        return Shown(lambda: self._explainer.explain(name)) if self._explainer.knows(name) else None
