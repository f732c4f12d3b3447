"""`/.vexfs/metrics`: everything that is counted, in Prometheus' text format, for a scraper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import generate_latest

from vexfs_fuse.control.texts import Text

if TYPE_CHECKING:
    from automation.service import Service


def metrics(service: Service) -> Text:
    """The counters of the moment, for `node_exporter`'s textfile collector or `curl file://`."""
    return Text(lambda: generate_latest(service.registry).decode())
