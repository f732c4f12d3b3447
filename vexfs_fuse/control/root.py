"""The root of the tree: what is in `/.vexfs`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from vexfs_fuse.control.analytics import analytics
from vexfs_fuse.control.breakers import breakers
from vexfs_fuse.control.ctl import Ctl
from vexfs_fuse.control.error import Refusals, errors
from vexfs_fuse.control.events import EventStream, EventTypes
from vexfs_fuse.control.explain import explanations
from vexfs_fuse.control.graph import graph
from vexfs_fuse.control.inbox import InboxFile
from vexfs_fuse.control.journal import journal
from vexfs_fuse.control.machines import machines
from vexfs_fuse.control.metrics import metrics
from vexfs_fuse.control.models import models
from vexfs_fuse.control.nl import Sentences
from vexfs_fuse.control.nodes import Description, Node
from vexfs_fuse.control.patterns import patterns
from vexfs_fuse.control.readme import readme
from vexfs_fuse.control.rules import rules
from vexfs_fuse.control.runs import runs
from vexfs_fuse.control.state import state
from vexfs_fuse.control.status import Status
from vexfs_fuse.control.stream import Readers
from vexfs_fuse.control.texts import Text
from vexfs_fuse.control.workflows import Workflows

if TYPE_CHECKING:
    from automation.service import Service


@dataclass(frozen=True, slots=True)
class Mount:
    """What the tree says of the mount: where it is, what it shows, whose it is, and further rows for `status`."""

    mountpoint: str
    source: str
    uid: int = field(default_factory=os.getuid)
    gid: int = field(default_factory=os.getgid)
    facts: list[Callable[[], Iterable[tuple[str, str]]]] = field(default_factory=list)


class Root:
    """The literal table of entries, of the operator or of a tenant. `extra` are shown where there are tenants."""

    def __init__(
        self, service: Service, mount: Mount, refusals: Refusals, readers: Readers, extra: Mapping[str, Node]
    ) -> None:
        self._service: Final = service
        self._extra: Final = extra
        self._since_ns: Final = service.started_ns
        self._entries: Final[dict[str, Node]] = {
            "README": readme(self._since_ns),
            "status": Text(Status(service, mount.mountpoint, mount.source, readers, mount.facts).render),
            "metrics": metrics(service),
            "events": EventStream(service.bus, ("*",), readers),
            "events.d": EventTypes(service.bus, readers, self._since_ns),
            "ctl": Ctl(service),
            "error": errors(refusals, service),
            "state": state(service.state),
            "inbox": InboxFile(service.inbox),
            "nl": Sentences(service.language),
            "breakers": breakers(service),
            "workflows": Workflows(service),
            "explain": explanations(service.explainer),
            "patterns": patterns(service.patterns),
            "rules": rules(service.rules),
            "graph": graph(service.provenance),
            "analytics": analytics(service.analytics),
            "models": models(service.models, service.tuning),
            "machines": machines(service),
            "runs": runs(service),
            "journal": journal(service),
        }

    def describe(self) -> Description:
        """Only the owner enters; where there are tenants, others pass through."""
        return Description(0o511 if self._service.tenants else 0o500, 0, self._since_ns)

    def names(self) -> Iterable[str]:
        """The table's order."""
        return (*self._entries, *(self._extra if self._service.tenants else ()))

    def child(self, name: str) -> Node | None:
        """By name."""
        return self._entries.get(name) or (self._extra.get(name) if self._service.tenants else None)
