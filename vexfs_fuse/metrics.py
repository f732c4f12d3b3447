"""What the FUSE side counts, for `/.vexfs/metrics`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vexfs_fuse.backing import Backing
from vexfs_fuse.cache import KernelCache


class SessionMetrics(Collector):
    """Reads the tables of one mount when asked; nothing is counted twice."""

    def __init__(self, backing: Backing, cache: KernelCache) -> None:
        self._backing: Final = backing
        self._cache: Final = cache

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment."""
        inodes, files = self._backing.inodes, self._backing.handles.files
        native = sum(file.native for file in files.values())
        opened = GaugeMetricFamily("vexfs_open_files", "Files open now, by who reads and writes.", labels=["io"])
        opened.add_metric(["native"], native)
        opened.add_metric(["traced"], len(files) - native)
        yield opened
        yield GaugeMetricFamily("vexfs_inodes", "Inodes that the kernel knows.", len(inodes))
        yield GaugeMetricFamily("vexfs_inode_descriptors", "Inodes held by a descriptor.", inodes.descriptors)
        yield CounterMetricFamily("vexfs_inode_reopens", "Inodes that got a descriptor again.", inodes.reopened)
        backing_ids = sum(inode.backing_id != 0 for inode in inodes)
        yield GaugeMetricFamily("vexfs_backing_ids", "Files registered for kernel passthrough.", backing_ids)
        yield CounterMetricFamily("vexfs_invalidations_dropped", "Left to the timeouts.", self._cache.dropped)
