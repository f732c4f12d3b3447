"""`/.vexfs/metrics`: everything that is counted, in Prometheus' text format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest

from vexfs_fuse.control.handles import Snapshot
from vexfs_fuse.control.nodes import Description, Handle, Opening

if TYPE_CHECKING:
    from automation.service import Service


class Metrics:
    """For a scraper: `node_exporter`'s textfile collector, or `curl file://`."""

    def __init__(self, service: Service) -> None:
        self._registry: Final[CollectorRegistry] = service.registry

    def describe(self) -> Description:
        """Readable by the owner."""
        return Description(0o400)

    def open(self, opening: Opening) -> Handle:
        """The counters of this moment."""
        return Snapshot(lambda: generate_latest(self._registry))
