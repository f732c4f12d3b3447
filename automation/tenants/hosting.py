"""A service for each tenant, beside the operator's: built before the mount, run with it, ended before it.

A tenant's things lie in `tenants/NAME` of the state directory: `workflows`, `secrets`, and what its service keeps. One
whose service cannot start, or breaks, is off and says why; the mount and everybody else go on.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import trio

from automation.actions import Commands
from automation.allowance import Allowance
from automation.configuration import Settings
from automation.errors import VexError, WorldError
from automation.journal.keeping import Keeping
from automation.metering import CURRENT
from automation.scripts.quota import WorkerQuota
from automation.service import Service
from automation.state_directory import StateDirectory
from automation.targets import Automation
from automation.tenants.children import Children
from automation.tenants.forms import LimitsForm
from automation.tenants.forwarding import Forwarding
from automation.tenants.guarding import TenantGuards
from automation.tenants.owners import Owners, territory
from automation.tenants.share import Share
from automation.tenants.tenant import Tenant
from automation.workspace import KernelCache, Trash, Workspace

log: Final = logging.getLogger(__name__)

DIRECTORY: Final = "tenants"
WORKFLOWS: Final = "workflows"
SECRETS: Final = "secrets"


@dataclass(frozen=True, slots=True)
class Ground:
    """What all services of a mount stand on: the tree under `root_fd`, its kernel cache, the mountpoint."""

    root_fd: int
    cache: KernelCache
    mountpoint: str
    settings: Settings


class Hosting:
    """`services` are those that work, `failed` says of the others why. Sets itself up beside the `operator`."""

    def __init__(self, operator: Service, tenants: Iterable[Tenant], ground: Ground) -> None:
        self.operator: Final = operator
        self.failed: Final[dict[str, str]] = {}
        self._tenants: Final = {tenant.name: tenant for tenant in tenants}
        self._ground: Final = ground
        self._kept: Final[dict[str, StateDirectory]] = {}
        self._scratch: Final[dict[str, tempfile.TemporaryDirectory[str]]] = {}
        self._services: Final[dict[str, Service]] = {}
        self.owners: Final = Owners(self._tenants.values())
        self.forwarding: Final = Forwarding(operator.bus, self.owners)
        self.guards: Final = TenantGuards(operator.guards, self.owners)
        self.commands: Final = Children(operator.commands)
        for tenant in self._tenants.values():
            self._build_safely(tenant)
        operator.hosting = self

    @property
    def services(self) -> Mapping[str, Service]:
        """By the tenant's name."""
        return MappingProxyType(self._services)

    def share(self, name: str) -> Share | None:
        """The tenant's share of the loop; None where it is off."""
        lane = self.forwarding.lanes.get(name)
        return None if lane is None else lane.share

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve all, until `shutdown`; started once each is loaded and reacts, or is off."""
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as starting:
                for name in list(self._services):
                    starting.start_soon(nursery.start, self._serve, name)
            task_status.started()

    async def shutdown(self, grace: float) -> None:
        """End all at once; each gives its runs `grace` seconds."""
        async with trio.open_nursery() as nursery:
            for service in list(self._services.values()):
                nursery.start_soon(service.shutdown, grace)

    def close(self) -> None:
        """Let go of the directories, after the last service ended."""
        for kept in self._kept.values():
            kept.close()
        for scratch in self._scratch.values():
            scratch.cleanup()
        self._kept.clear()
        self._scratch.clear()

    def status(self) -> dict[str, Any]:
        """Plain values of each: what it uses beside what it may."""
        return {name: self._row(tenant) for name, tenant in self._tenants.items()}

    def _row(self, tenant: Tenant) -> dict[str, Any]:
        service, lane = self._services.get(tenant.name), self.forwarding.lanes.get(tenant.name)
        if service is None or lane is None:
            return {"off": self.failed.get(tenant.name, "it has ended")}
        limits, share, journal = tenant.limits, lane.share, service.journal
        use = {
            "events_per_second": (lane.per_second(), limits.events_per_second),
            "loop_share": (share.recent(), limits.loop_share),
            "rules": (service.policy.count, limits.rules),
            "partial_matches": (service.patterns.set.live, limits.partial_matches),
            "concurrent_runs": (service.runner.gate.running, limits.concurrent_runs),
            "cpu_seconds": (_used(service.scripts.quota.cpu), limits.cpu_seconds),
            "memory": (service.scripts.held, limits.memory),
            "http_calls": (_used(service.web.calls), limits.http_calls),
            "journal": (0 if journal is None else journal.writer.used, limits.journal),
        }
        counts = {"events": lane.delivered, "dropped": lane.dropped, "loop_seconds": round(share.used, 3)}
        return {
            "off": "",
            "stopped": "" if journal is None else journal.stalled,
            **counts,
            "use": {name: {"now": now, "limit": most} for name, (now, most) in use.items()},
        }

    # One tenant

    def _build_safely(self, tenant: Tenant) -> None:
        try:
            self._services[tenant.name] = self._build(tenant)
        except Exception as error:
            self._fail(tenant.name, error)

    def _fail(self, name: str, error: BaseException) -> None:
        """Switch a tenant off: its events go nowhere, its guards judge nothing."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.failed[name] = str(error) if isinstance(error, VexError | OSError) else repr(error)
        if isinstance(error, VexError | OSError):
            log.error("the tenant %s is off: %s", name, error)
        else:
            log.error("the tenant %s is off: its automations met a bug", name, exc_info=error)
        self._services.pop(name, None)
        self.forwarding.leave(name)
        self.guards.leave(name)
        self.commands.leave(name)
        kept = self._kept.pop(name, None)
        if kept is not None:
            kept.close()

    def _build(self, tenant: Tenant) -> Service:
        kept, workflows = self._place(tenant.name)
        limits = tenant.limits
        share = Share(limits.loop_share, whole=self.operator.bus.rounds)
        lane = self.forwarding.join(tenant.name, limits.events_per_second, share)
        ground, settings, identity = self._ground, self._ground.settings, tenant.identity
        if not identity.possible:
            raise WorldError(identity.advice)
        own = territory(tenant, self._tenants.values())
        quota = WorkerQuota(limits.cpu_seconds, limits.memory)
        commands = Commands(ground.mountpoint, identity=identity, territory=own, quota=quota)
        trash = Trash(
            *(ground.root_fd, settings.actions.trash_age, settings.actions.trash_size),
            tenant=tenant.name,
            identity=identity,
        )
        publish = lane.bus.publish
        service = Service(
            lane.bus,
            workspace=Workspace(ground.root_fd, publish, ground.cache, trash, identity=identity, territory=own),
            commands=commands,
            workflows=workflows,
            kept=kept,
            permissions=tenant.permissions,
            automation=_automation(self.operator.automation, tenant),
            keeping=_keeping(settings.journal, limits),
            event_log=settings.event_log,
            dry_run=settings.dry_run,
            tenant=tenant,
        )
        service.operator = self.operator
        lane.knows = service.runner.runs.__contains__
        self.commands.join(tenant.name, commands)
        self.guards.join(tenant.name, service.guards, limits.loop_share)
        return service

    def _place(self, name: str) -> tuple[StateDirectory | None, str]:
        """Where its things lie; where nothing is kept, its definitions do so for as long as the mount."""
        if self.operator.kept is None:
            scratch = self._scratch[name] = tempfile.TemporaryDirectory(prefix=f"vexfs-{name}-")
            return None, scratch.name
        kept = self._kept[name] = StateDirectory(self.operator.kept.file(os.path.join(DIRECTORY, name)))
        for own in (WORKFLOWS, SECRETS):
            os.makedirs(kept.file(own), mode=0o700, exist_ok=True)
        return kept, kept.file(WORKFLOWS)

    async def _serve(self, name: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run one; what breaks it ends it alone."""
        started = _Once(task_status)
        share = self.forwarding.lanes[name].share
        CURRENT.set(share)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._services[name].run)
                share.forgive()  # that it loads its definitions, the mount waits for anyway
                started()
        except Exception as error:
            self._fail(name, error)
        finally:
            started()


def _used(allowance: Allowance | None) -> float:
    return 0.0 if allowance is None else round(allowance.used, 3)


class _Once:
    """Reports started, however often it is called."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._status: trio.TaskStatus[None] | None = task_status

    def __call__(self) -> None:
        status, self._status = self._status, None
        if status is not None:
            status.started()


def _keeping(mount: Keeping, limits: LimitsForm) -> Keeping:
    """The mount's table with the tenant's own bound. Who stops when its journal is large enough goes on for no disk."""
    own: dict[str, Any] = {"max_bytes": limits.journal, "when_large": limits.journal_full}
    return mount.model_copy(update=own | ({"when_full": "stop_automations"} if limits.journal_full == "stop" else {}))


def _automation(mount: Automation, tenant: Tenant) -> Automation:
    """The mount's table with the tenant's own bounds."""
    limits = tenant.limits
    return mount.model_copy(
        update={"max_active_automations": limits.rules, "max_concurrent_workflows": limits.concurrent_runs}
    )
