"""`/.vexfs/status`: one screen for a person."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from vexfs_fuse.control.layout import ago, amount, fit, paragraph, span, table
from vexfs_fuse.control.stream import Readers
from vexfs_fuse.control.workflow import condition

if TYPE_CHECKING:
    from automation.runner.ledger import Summary
    from automation.service import Service
    from automation.shedding import Shedding

ROWS: Final = 12  # workflows and runs shown; the rest are counted


class Status:
    """80 columns; sections for the mount, workflows, runs, and queues that lost events. A tenant's shows nothing of the
    process that it shares with others, and no place outside of the mount.
    """

    def __init__(
        self,
        service: Service,
        mountpoint: str,
        source: str,
        readers: Readers,
        facts: Iterable[Callable[[], Iterable[tuple[str, str]]]] = (),
    ) -> None:
        self._facts: Final = facts
        self._service: Final = service
        self._mountpoint: Final = mountpoint
        self._source: Final = source
        self._readers: Final = readers
        self._last: tuple[int, int] = (service.started_ns, service.bus.first)  # the last drawing, and bus.seq then

    def render(self) -> str:
        """The screen of this moment."""
        lines = [*self._mount(), "", *self._workflows(), "", *self._runs(), *self._tenants(), *self._losses()]
        return "\n".join([*lines, ""])

    def _mount(self) -> list[str]:
        service, bus = self._service, self._service.bus
        facts = service.status()
        now = time.time_ns()
        rate = self._rate(now)
        busiest = ", ".join(f"{name} {amount(number)}" for name, number in bus.counts.most_common(3))
        rows = [
            ("mount", self._mountpoint),
            ("tenant", service.tenant.name if service.tenant is not None else ""),
            ("source", self._source),
            ("state", "paused: events start nothing (echo resume > ctl)" if service.paused else "reacting"),
            ("dry run", "automations act on paper only" if facts.get("dry_run") else ""),
            ("up", span((now - service.started_ns) / 1e9)),
            ("events", f"{amount(bus.published)} in all, {rate}"),
            ("", busiest),
            ("dropped", amount(sum(s.dropped for s in bus.subscriptions))),
            ("readers", f"{len(self._readers)} of events"),
            ("waiting", _counts(facts["queues"])),
            ("ignored", _counts(facts["ignored"])),
            ("shedding", _shedding(service.shedding)),
            ("runs", _counts({name: n for name, n in facts["runs"].items() if n or name == "active"})),
            ("journal", _journal(facts["journal"])),
            ("memory", memory_line(facts["memory"])),
        ]
        rows += self._targets() if service.tenant is not None else self._process(facts) + self._targets() + self._used()
        rows += [row for fact in self._facts for row in fact()]
        return [f"{name:<10}{fit(value, 69)}" for name, value in rows if value]

    def _process(self, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Of the whole mount."""
        service = self._service
        kept = service.kept.path if service.kept is not None else "none: nothing outlives the mount"
        rows = [
            ("state dir", kept),
            ("loop lag", f"{facts['loop_lag_ms_p99']} ms (99 of 100 turns are quicker)"),
        ]
        if service.endpoint is not None:
            rows.append(("endpoint", f"{service.endpoint.address}, {amount(service.inbox.received)} events received"))
        return rows

    def _targets(self) -> list[tuple[str, str]]:
        """What is measured beside what it is meant to be."""
        usage, targets, service = self._service.usage, self._service.usage.targets, self._service
        slow = usage.latency(0.99)
        met = "" if slow is None or slow * 1000 <= targets.max_automation_latency_ms else ", missed"
        shown = "none yet" if slow is None else f"{slow * 1000:.1f} ms"
        return [
            ("latency", f"{shown} of {targets.max_automation_latency_ms:g} ms (99 of 100 runs are quicker){met}"),
            (
                "load",
                f"{amount(usage.most_per_second)} events/s at the most of"
                f" {amount(targets.target_throughput_events_per_sec)}/s meant",
            ),
            (
                "limits",
                f"{amount(len(service.runner.active))} of {amount(targets.max_concurrent_workflows)} runs,"
                f" {amount(service.policy.count)} of {amount(targets.max_active_automations)} automations",
            ),
        ]

    def _used(self) -> list[tuple[str, str]]:
        usage, targets = self._service.usage, self._service.usage.targets
        memory = f"{usage.memory_mb:.0f} of {targets.max_memory_usage_mb} MB"
        return [("usage", f"{memory}, {usage.cpu_percent:.0f} of {targets.max_cpu_usage_percent:g} % of a core")]

    def _rate(self, now: int) -> str:
        (then, seq), self._last = self._last, (now, self._service.bus.seq)
        seconds = max((now - then) / 1e9, 1e-3)
        return f"{amount((self._service.bus.seq - seq) / seconds)}/s in the last {span(seconds)}"

    def _workflows(self) -> list[str]:
        entries = list(self._service.library.entries.values())
        if not entries:
            return ["No workflows: copy a definition into workflows/ to install one."]
        latest: dict[str, Summary] = {}
        for _, run in self._newest():
            latest.setdefault(run.workflow, run)
        states = Counter(condition(e) for e in entries)
        rows = [("WORKFLOW", "STATE", "LAST RUN", "")]
        for entry in entries[:ROWS]:
            last = latest.get(entry.name)
            rows.append((entry.name, condition(entry), ago(last.at) if last else "never", _outcome(last)))
        lines = table(rows, (28, 12, 14, 20))
        if len(entries) > ROWS:
            lines.append("… in all " + ", ".join(f"{number} {state}" for state, number in states.items()))
        wrong = [str(e.error) for e in entries if e.error is not None]
        wrong += [f"{e.name}: switched off: {e.fault}" for e in entries if e.fault]
        return [
            *lines,
            *(["", "Refused or switched off:"] if wrong else []),
            *(line for one in wrong[:ROWS] for line in paragraph(one)),
        ]

    def _runs(self) -> list[str]:
        runs = list(itertools.islice(self._newest(), ROWS))
        if not runs:
            return ["No runs yet."]
        rows = [("RUN", "WORKFLOW", "STATUS", "STARTED")]
        rows += [(run_id, run.workflow, run.status or "running", ago(run.at)) for run_id, run in runs]
        return table(rows, (20, 28, 11, 15))

    def _tenants(self) -> list[str]:
        """Each tenant's use of what it may use most, in parts of the limit, and what was dropped."""
        hosting = self._service.hosting
        if hosting is None:
            return []
        rows, off = [("TENANT", "EVENTS", "DROPPED", "NEAREST TO ITS LIMIT")], []
        for name, row in hosting.status().items():
            if row["off"]:
                rows.append((name, "-", "-", "off"))
                off.append(f"{name} is off: {row['off']}")
                continue
            if row["stopped"]:
                off.append(f"{name} is stopped: {row['stopped']}")
            shares = {what: one["now"] / one["limit"] if one["limit"] else 0.0 for what, one in row["use"].items()}
            most = max(shares, key=lambda what: shares[what])
            nearest = f"{shares[most]:.0%} of {most.replace('_', '-')}"
            rows.append((name, amount(row["events"]), amount(row["dropped"]), nearest))
        return ["", *table(rows[: ROWS + 1], (28, 12, 12, 28)), *off]

    def _losses(self) -> list[str]:
        losses = [s for s in self._service.bus.subscriptions if s.dropped]
        if not losses:
            return []
        rows = [("QUEUE", "WAITING", "DROPPED")]
        rows += [(s.name, amount(len(s)), amount(s.dropped)) for s in losses[:ROWS]]
        return ["", *table(rows, (44, 12, 20))]

    def _newest(self) -> Iterator[tuple[str, Summary]]:
        archive = self._service.archive
        for run_id in archive.ids():
            summary = archive.summary(run_id)
            if summary is not None:
                yield run_id, summary


def _journal(facts: Mapping[str, Any] | None) -> str:
    if facts is None:
        return ""
    if facts["stalled"] and facts["policy"] == "stop_auditing":
        return f"NOT AUDITED, {amount(facts['lost'])} records so far: {facts['stalled']}"
    if facts["stalled"]:
        return f"STALLED, no run starts: {facts['stalled']}"
    lost = f", {amount(facts['lost'])} lost" if facts["lost"] else ""
    aside = f"; a damaged one is {facts['set_aside']}" if facts["set_aside"] else ""
    return f"{amount(facts['records'])} records, {amount(facts['commits'])} commits{lost}{aside}"


def _shedding(shedding: Shedding) -> str:
    counts = _counts(shedding.counts)
    now = f"gives up {', '.join(shedding.given_up)}" if shedding.given_up else ""
    return "; ".join(part for part in (now, f"so far {counts}" if counts else "") if part)


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{amount(number)} {name}" for name, number in numbers.items())


def _outcome(run: Summary | None) -> str:
    return "" if run is None else run.status or "running"


def memory_line(memory: Mapping[str, Any]) -> str:
    """What outlives the mount of what detection knows: the log, the last snapshot, what was recovered."""
    if "bytes" not in memory:
        return str(memory["log"])
    last, recovery = memory["last_snapshot"], memory["recovery"]
    line = f"event log {memory['log']}, {amount(memory['bytes'])} bytes"
    if last.get("at_ns"):
        line += f"; snapshot {ago(last['at_ns'])}"
    if recovery.get("snapshot") or recovery.get("events"):
        line += f"; {recovery['events']} events recovered in {recovery['seconds']:g} s"
    return line
