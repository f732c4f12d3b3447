"""What the FUSE side counts, for `/.vexfs/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vexfs_fuse.backing import Backing
from vexfs_fuse.cache import KernelCache
from vexfs_fuse.interest import Interest
from vexfs_fuse.watch import Watch


class SessionMetrics(Collector):
    """Reads the tables of one mount when asked; nothing is counted twice."""

    def __init__(
        self, backing: Backing, cache: KernelCache, interest: Interest, watch: Callable[[], Watch | None]
    ) -> None:
        self._interest: Final = interest
        self._watch: Final = watch
        self._backing: Final = backing
        self._cache: Final = cache

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment."""
        inodes, files = self._backing.inodes, self._backing.handles.all()
        native = sum(file.native for file in files)
        opened = GaugeMetricFamily("vexfs_open_files", "Files open now, by who reads and writes.", labels=["io"])
        opened.add_metric(["native"], native)
        opened.add_metric(["traced"], len(files) - native)
        yield opened
        yield GaugeMetricFamily("vexfs_inodes", "Inodes that the kernel knows.", len(inodes))
        yield GaugeMetricFamily("vexfs_inode_descriptors", "Inodes held by a descriptor.", inodes.descriptors)
        yield CounterMetricFamily("vexfs_inode_reopens", "Inodes that got a descriptor again.", inodes.reopened)
        library = self._backing.native
        if library is not None:
            held = library.registered - library.returned
            yield GaugeMetricFamily("vexfs_backing_ids", "Files registered for kernel passthrough.", held)
            yield CounterMetricFamily("vexfs_backing_ids_given", "Registrations so far.", library.registered)
        yield CounterMetricFamily("vexfs_invalidations_dropped", "Made good by forgetting all.", self._cache.dropped)
        unseen = len(self._interest.unseen(self._backing.handles))
        yield GaugeMetricFamily("vexfs_open_files_unseen", "Open natively though something listens.", unseen)
        unjudged = len(self._interest.unjudged(self._backing.handles))
        yield GaugeMetricFamily("vexfs_open_files_unjudged", "Open natively though a guard judges writes.", unjudged)
        watch = self._watch()
        if watch is not None:
            yield CounterMetricFamily("vexfs_watch_changes", "Changes by others behind the mount.", watch.changes)
            yield CounterMetricFamily("vexfs_watch_gaps", "Overflows of the watch on the source.", watch.gaps)
