"""The service's numbers in Prometheus's form, gathered when somebody looks; counting costs the events nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from automation.machines.system_state import SystemStateType

if TYPE_CHECKING:
    from automation.service import Service

MOST_KEYS: Final = 100
MOST_TYPES: Final = 200  # of `user.*` events a mount may see any number


class Measurements(Collector):
    """Reads the counters that the parts of the service keep anyway."""

    def __init__(self, service: Service) -> None:
        self._service: Final = service

    def collect(self) -> Iterable[Metric]:
        """One family after the other."""
        service = self._service
        yield _counter("vexfs_events", "Events published.", ["type"], _common(service))
        dropped = {(s.name,): s.dropped for s in service.bus.subscriptions}
        yield _counter("vexfs_events_dropped", "Events that a reader lost to a full queue.", ["subscription"], dropped)
        yield _counter("vexfs_runs", "Runs that ended.", ["workflow", "status"], service.runner.counts)
        queues = {(name,): size for name, size in service.dispatcher.queues().items()}
        yield _gauge("vexfs_queue_length", "What waits, by queue.", ["queue"], queues)
        ignored = {(reason,): count for reason, count in service.dispatcher.ignored.items()}
        yield _counter("vexfs_triggers_ignored", "Events and firings let pass on purpose.", ["reason"], ignored)
        yield _gauge("vexfs_workflows", "Definitions, by condition.", ["condition"], _conditions(service))
        sizes = {(name,): len(service.machines.hosted(name).detector) for name in service.machines.names}
        yield _gauge("vexfs_machine_instances", "Instances, by machine.", ["machine"], sizes)
        states = {(str(state),): float(state == service.system.current) for state in SystemStateType}
        yield _gauge("vexfs_system_state", "1 for the state that the system is in.", ["state"], states)
        open_ones = {(b.destination,): float(b.condition != "closed") for b in service.breakers.all}
        yield _gauge("vexfs_breaker_open", "1 for a destination that is left alone.", ["destination"], open_ones)
        refused = {(b.destination,): b.refused for b in service.breakers.all}
        yield _counter("vexfs_breaker_refused", "Calls that a breaker refused.", ["destination"], refused)
        usage = service.usage
        latencies = {(str(share),): usage.latency(share) or 0.0 for share in (0.5, 0.99)}
        yield _gauge("vexfs_latency_seconds", "From an event to its run's first step.", ["quantile"], latencies)
        if service.tenant is None:
            yield from _process(service)
        yield from _memory(service.memory.status())
        yield _gauge("vexfs_analytics", "Of the last window.", ["stream", "key", "measure"], _windows(service))
        shed = {(name,): count for name, count in service.shedding.counts.items()}
        yield _counter("vexfs_shed", "Events and firings given up for the load.", ["what"], shed)
        if service.hosting is not None:
            yield from _tenants(service.hosting.status())
        yield _gauge("vexfs_paused", "Whether automations are paused.", [], {(): float(service.paused)})
        yield _gauge("vexfs_start_time_seconds", "When the service started.", [], {(): service.started_ns / 1e9})


def _process(service: Service) -> Iterable[Metric]:
    """Of the process that all tenants share, and none of them is told of."""
    lag = {("0.99",): service.heartbeat.p99, ("1",): service.heartbeat.worst}
    yield _gauge("vexfs_loop_lag_seconds", "Lateness of the event loop in the last minute.", ["quantile"], lag)
    yield _gauge("vexfs_memory_bytes", "Resident memory.", [], {(): service.usage.memory_mb * 1e6})
    yield _gauge("vexfs_cpu_percent", "Processor time, 100 is one core.", [], {(): service.usage.cpu_percent})


def _memory(status: Mapping[str, Any]) -> Iterable[Metric]:
    """What is kept of detection, nothing where nothing is."""
    if "bytes" not in status:
        return
    last, recovery = status["last_snapshot"], status["recovery"]
    yield _gauge("vexfs_event_log_on", "Whether the event log is written.", [], {(): float(status["log"] == "on")})
    yield _gauge("vexfs_event_log_bytes", "Bytes of the event log.", [], {(): status["bytes"]})
    yield _gauge("vexfs_event_log_segments", "Files of the event log.", [], {(): status["segments"]})
    yield _counter("vexfs_event_log_written_bytes", "Bytes written to the event log.", [], {(): status["written"]})
    yield _gauge("vexfs_snapshot_time_seconds", "When detection was kept last.", [], {(): last.get("at_ns", 0) / 1e9})
    yield _gauge("vexfs_snapshot_seconds", "How long that took.", [], {(): last.get("seconds", 0.0)})
    yield _gauge("vexfs_snapshot_bytes", "Bytes of the last snapshot.", [], {(): last.get("bytes", 0)})
    yield _gauge("vexfs_recovery_seconds", "How long the recovery took.", [], {(): recovery.get("seconds", 0.0)})
    yield _gauge("vexfs_recovered_events", "Events read from the log.", [], {(): recovery.get("events", 0)})


def _tenants(status: Mapping[str, Mapping[str, Any]]) -> Iterable[Metric]:
    """What each tenant uses and may use; only whether it works, of one that is off."""
    yield _gauge(
        "vexfs_tenant_up", "Whether it works.", ["tenant"], {(t,): not row["off"] for t, row in status.items()}
    )
    working = {tenant: row for tenant, row in status.items() if not row["off"]}
    events = {(tenant,): row["events"] for tenant, row in working.items()}
    yield _counter("vexfs_tenant_events", "Events that it was given.", ["tenant"], events)
    dropped = {(tenant,): row["dropped"] for tenant, row in working.items()}
    yield _counter("vexfs_tenant_events_dropped", "Events above its rate.", ["tenant"], dropped)
    seconds = {(tenant,): row["loop_seconds"] for tenant, row in working.items()}
    yield _counter("vexfs_tenant_loop_seconds", "What it computed in the loop.", ["tenant"], seconds)
    for name, text, part in (("use", "What it uses.", "now"), ("limit", "What it may use.", "limit")):
        values = {(t, what): one[part] for t, row in working.items() for what, one in row["use"].items()}
        yield _gauge(f"vexfs_tenant_{name}", text, ["tenant", "what"], values)


def _common(service: Service) -> dict[tuple[str, ...], float]:
    return {(name,): count for name, count in service.bus.counts.most_common(MOST_TYPES)}


def _windows(service: Service) -> dict[tuple[str, ...], float]:
    """The numbers of the newest windows, of at most 100 keys a stream."""
    out: dict[tuple[str, ...], float] = {}
    for name, node in service.analytics.nodes().items():
        newest = {row.key: row for row in node.rows}
        for row in list(newest.values())[-MOST_KEYS:]:
            numbers = ((measure, value) for measure, value in row.values.items() if isinstance(value, int | float))
            out |= {(name, row.key, measure): float(value) for measure, value in numbers}
    return out


def _conditions(service: Service) -> dict[tuple[str, ...], float]:
    entries = service.library.entries.values()
    return {
        ("active",): sum(entry.active for entry in entries),
        ("broken",): sum(entry.error is not None for entry in entries),
        ("failed",): sum(bool(entry.fault) for entry in entries),
    }


def _counter(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for label, value in values.items():
        family.add_metric([_clean(part) for part in label], value)
    return family


def _gauge(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label, value in values.items():
        family.add_metric([_clean(part) for part in label], value)
    return family


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
