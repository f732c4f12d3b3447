"""Everything that automates one mount, in one nursery: ordered start, ordered end, and the commands of `/.vexfs/ctl`.

start: scripts → runner → library → memory → dispatcher        end: dispatcher → runs, with grace → memory → scripts
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import prometheus_client
import trio

from automation.actions import EFFECTS, Commands, Equipment, Executor, Hosts, Performer, Recorder, Web
from automation.actions.databases import Databases
from automation.actions.inference import Models
from automation.analytics.desk import AnalyticsDesk
from automation.analytics.forms import Analytics
from automation.breakers import Breakers, Thresholds
from automation.bus import Bus
from automation.control_commands import COMMANDS
from automation.definitions import Workflow
from automation.demands import demands
from automation.dispatcher import Dispatcher
from automation.endpoint import Endpoint
from automation.errors import CallerError
from automation.events import SemanticEvent
from automation.explain import Explainer
from automation.guards.guards import Guards
from automation.heartbeat import Heartbeat
from automation.inbox import Inbox
from automation.journal.archive import Archive
from automation.journal.journal import Journal
from automation.journal.keeping import DEFAULTS as KEEPING
from automation.journal.keeping import Keeping
from automation.journal.ledger import SqliteLedger
from automation.journal.path_redaction import KEY, path_redactor, read_key
from automation.journal.recovery import recover
from automation.journal.retention import Housekeeper
from automation.language.desk import Desk
from automation.library import Entry, Library
from automation.machines.host import Machines
from automation.machines.load import Load, Sampler
from automation.machines.machine import Machine
from automation.machines.system_state import SystemState
from automation.machines.thresholds import ThresholdsForm
from automation.memory.memory import Memory
from automation.memory.sealing import Keyhole
from automation.metering import CURRENT, metered
from automation.metrics import Measurements
from automation.models.desk import ModelDesk
from automation.models.forms import AdaptiveForm, ModelForm
from automation.models.store import Shelf
from automation.models.tuning import TuningDesk
from automation.patterns.collection import patterns_of
from automation.permissions import PUBLIC, Permissions
from automation.policy import Policy
from automation.provenance.desk import ProvenanceDesk
from automation.provenance.forms import ProvenanceForm
from automation.provenance.lineage import LINEAGE
from automation.provenance.needs import patterns, unmet
from automation.redaction import hide_in_logs
from automation.requester import Requester, requester
from automation.rules.book import Book
from automation.rules.desk import RuleDesk
from automation.runner import FINISHED, Plan, Runner
from automation.runner.ledger import MemoryLedger
from automation.scripts.declaration import declare
from automation.scripts.files import ScriptFiles
from automation.scripts.instances import Scale
from automation.scripts.pool import ScriptPool
from automation.secrets import Secrets
from automation.shedding import Part, Shedding
from automation.state import State
from automation.state_directory import StateDirectory
from automation.targets import DEFAULTS, Automation
from automation.tenants.tenant import Tenant
from automation.tenants.used import Used
from automation.triggers.pattern_desk import PatternDesk
from automation.usage import Usage
from automation.versions import FILE as VERSIONS
from automation.versions import Versions
from automation.view import View
from automation.workspace import Workspace

if TYPE_CHECKING:
    from automation.tenants.hosting import Hosting

TRASH_PACE: Final = 3600.0  # seconds between two looks for what is too old in the trash
LOGIN_SECONDS: Final = 600.0  # after which a user's next use of a tenant's files is another login
log: Final = logging.getLogger(__name__)

NEVER: Final = 1 << 62  # failures


class Service:
    """The automations of one mount. `workflows` is a descriptor of the directory, opened before mounting (borrowed),
    or a path, opened here; `shown` is how messages name it. What must outlive the mount is in `kept` (borrowed);
    without it nothing does. With `dry_run` every action is recorded, none is done. `listen` is the socket of the
    endpoint (taken over) and the token that it asks for. `permissions` bound what actions reach, `history` the finished
    runs that are kept in memory. The automations of a `tenant` are a service of their own, on a bus of their own; the
    mount's own one has them in `tenants`.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        workspace: Workspace,
        commands: Commands,
        workflows: int | str,
        shown: str = "",
        kept: StateDirectory | None = None,
        listen: tuple[socket.socket, str | None] | None = None,
        permissions: Permissions = PUBLIC,
        automation: Automation = DEFAULTS,
        keeping: Keeping = KEEPING,
        history: int = 1000,
        dry_run: bool = False,
        event_log: bool = True,
        tenant: Tenant | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.bus: Final = bus
        self.tenant: Final = tenant
        self.operator: Service | None = None  # the mount's own, for a tenant's
        self.hosting: Hosting | None = None
        self.kept: Final = kept
        self._keeping: Final = keeping
        self.workspace: Final = workspace
        self.commands: Final = commands
        self.started_ns: Final = time.time_ns()
        self.automation: Final = automation
        key = None if kept is None else read_key(kept.file(KEY), make=bool(keeping.redact_paths))
        keyhole = Keyhole(key, sealing=bool(key and keeping.redact_paths))
        self.memory: Final = Memory(bus, kept, logged=event_log, keyhole=keyhole, wall=wall)
        records = self.memory.records
        self.state: Final = State(bus)
        self.usage: Final = Usage(automation, lambda: bus.published)
        self.inbox: Final = Inbox(bus)
        self.endpoint: Final = Endpoint(listen[0], self.inbox, listen[1]) if listen is not None else None
        identity = None if tenant is None else tenant.identity
        self.scripts: Final = ScriptPool(
            EFFECTS,
            scale=_scale(automation),
            most=max(16, 2 * automation.max_instances),
            identity=identity,
            quota=commands.quota,
        )
        self.heartbeat: Final = Heartbeat()
        self.quit_requested: Final = trio.Event()
        self._own_fd = (
            os.open(workflows, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if isinstance(workflows, str) else -1
        )
        directory_fd = self._own_fd if isinstance(workflows, str) else workflows
        calls = None if tenant is None else tenant.limits.http_calls
        self.web: Final = Web(Hosts(permissions.allow_hosts), calls_per_minute=calls, identity=identity)
        self.secrets: Final = Secrets(
            permissions.secrets or (kept.file("secrets") if kept else None),
            permissions.secrets_env,
            inherits=tenant is None,
        )
        hide_in_logs(self.secrets.redactor)
        places = (commands.mountpoint, os.readlink(f"/proc/self/fd/{workspace.root_fd}"))
        self.paths: Final = path_redactor(keeping.redact_paths, key, places)
        if self.paths is not None:
            hide_in_logs(self.paths)
        self.journal: Final = (
            None
            if kept is None
            else Journal(
                *(bus, kept, self.secrets.redactor.text, keeping),
                audits=automation.enable_compliance_audit,
                paths=self.paths,
            )
        )
        self.breakers: Final = Breakers(
            bus.publish,
            Thresholds(
                permissions.breaker_failures if automation.enable_fault_tolerance else NEVER,
                permissions.breaker_cooldown,
            ),
        )
        self._shelf: Final = Shelf(kept)
        self.models: Final = ModelDesk(bus, self._shelf, wall=wall, switches=records.switches("model"))
        own = kept if tenant is None else None  # no tenant's user gets into the state directory
        self.equipment: Final = Equipment(
            workspace,
            self.state,
            bus.publish,
            self.scripts,
            self.web,
            commands,
            self.secrets,
            self.breakers,
            Databases(permissions.databases or ((own.file("databases"),) if own else ()), identity=identity),
            Models(
                permissions.models or (own.file("models") if own else None),
                identity=identity,
                quota=self.scripts.quota,
            ),
            self.models,
        )
        self.executor: Final[Executor] = Recorder() if dry_run else Performer()
        self.ledger: Final = MemoryLedger(history) if self.journal is None else SqliteLedger(self.journal)
        self.runner: Final = Runner(
            bus,
            equipment=self.equipment,
            executor=self.executor,
            started_ns=self.memory.epoch,
            history=history,
            clock=time.time_ns if wall is time.time else lambda: round(wall() * 1e9),
            automation=automation,
            step_inputs=keeping.step_inputs,
            begun=self.usage.note_begun,
            ledger=self.ledger,
        )
        self.archive: Final = Archive(self.runner)
        self.models.find_run = self.archive.known
        self.dispatcher: Final = Dispatcher(
            bus,
            self.runner,
            self.state,
            workspace,
            depth_limit=automation.max_chain_depth,
            max_runs=automation.max_concurrent_workflows,
            bulkheads=automation.bulkheads,
            max_partials=None if tenant is None else tenant.limits.partial_matches,
            wall=wall,
            records=records,
        )
        self.view: Final = View(bus, self.state, lambda: self.runner.runs)
        shown = shown or (workflows if isinstance(workflows, str) else "workflows")
        self.scripts.text = ScriptFiles(directory_fd, shown).text
        self.scripts.tables = self.view.tables
        self._versions: Final = Versions(None if kept is None else kept.file(VERSIONS))
        self.library: Final = Library(
            bus,
            directory_fd,
            lambda p, t: declare(self.scripts, p, t),
            shown,
            hot=automation.enable_hot_reload,
            switches=records.switches("definition"),
            versions=self._versions,
        )
        self.library.on_change = self._changed
        self.language: Final = Desk(self.library, enabled=automation.enable_natural_language_rules)
        self.policy: Final = Policy(
            automation, self._definitions, "max_active_automations" if tenant is None else "rules"
        )
        self.library.objection = self.policy.against
        self.guards: Final = Guards(bus, self.state.view, wall=wall)
        self.rules: Final = RuleDesk(
            bus,
            self.dispatcher.launcher,
            self.state,
            self.guards,
            depth_limit=automation.max_chain_depth,
            wall=wall,
            records=records,
        )
        self.runner.calls.rule = lambda name: Plan.of(self.rules.workflow(name))
        self.library.check_book = self.rules.check
        self.library.prepare_book = self.rules.prepare
        self.machines: Final = Machines(
            bus,
            self.dispatcher.launcher,
            state=self.state.view,
            runs=lambda: self.runner.runs,
            depth_limit=automation.max_chain_depth,
            records=records,
        )
        self.guards.standing = self.rules.standing = self.machines.holds
        self.analytics: Final = AnalyticsDesk(bus, wall=wall)
        self.tuning: Final = TuningDesk(
            bus, self._shelf, self.archive.known, self.analytics.tune, wall=wall, switches=records.switches("adaptive")
        )
        self.runner.learnt, self.dispatcher.learnt = self.tuning.backoff, self.tuning.cooldown
        self.provenance: Final = ProvenanceDesk(bus, kept)
        self.guards.lineage = self.provenance
        self.library.ready = self.provenance.ready
        self.library.unmet = lambda *what: unmet(*what) if not self.provenance.active else None
        if self.paths is not None:
            self.provenance.hides = self.paths.covers
            self.models.hides = self.paths.value
        self.system: Final = SystemState(self.state, time.time_ns)
        self._remember()
        parts: dict[str, Part] = {"analytics": self.analytics, "provenance": self.provenance}
        self.shedding: Final = Shedding(bus, parts, lambda: self.runner.cost)
        allowances = {"cpu": self.scripts.quota.cpu, "calls": self.web.calls}
        self._used: Final = Used(allowances, self.memory.values, self.memory.keep, wall)
        self._homes: Final[dict[type, Any]] = {  # who keeps which kind of definition: install(form), remove(name)
            Workflow: self.dispatcher,
            Machine: self.machines,
            Analytics: self.analytics,
            ProvenanceForm: self.provenance,
            ModelForm: self.models,
            AdaptiveForm: self.tuning,
        }
        self.dispatcher.launcher.refuses = self.shedding.refuses
        self.dispatcher.launcher.given_up = lambda: self.shedding.given_up
        self.system.on_change = self._settle
        self.explainer: Final = Explainer(self)
        self.dispatcher.on_fault = self.library.fail
        self.machines.on_fault = self.library.fail
        self.registry: Final = prometheus_client.CollectorRegistry()
        self.registry.register(Measurements(self))
        self._sample: Final = self._load().sample
        self._logins: Final[dict[int, float]] = {}
        self._stop: Final = trio.Event()
        self._stopped: Final = trio.Event()
        self._grace = 0.0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `shutdown`; started once every definition is loaded and reacts."""
        LINEAGE.set(self.provenance)
        if self.tenant is None:
            CURRENT.set(self.bus.rounds)
        try:
            async with metered(on=self.tenant is None), self.scripts, trio.open_nursery() as nursery:
                if self.tenant is None:
                    await nursery.start(self.heartbeat.run)
                nursery.start_soon(self._empty_trash)
                nursery.start_soon(self._used.run)
                if self.journal is not None:
                    await nursery.start(self.journal.run)
                await nursery.start(self.runner.run)
                if self.journal is not None and isinstance(self.ledger, SqliteLedger):
                    nursery.start_soon(Housekeeper(self.journal, self.ledger, self._keeping).run)
                if self.tenant is None:  # the load is one for all
                    await nursery.start(Sampler(self.system, self._measured).run)
                reacting = trio.CancelScope()
                await nursery.start(self._react, reacting)
                task_status.started()
                await self._stop.wait()
                reacting.cancel()
                await self.runner.shutdown(self._grace)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                self._used.save()
                await self.memory.close()
                await self._shelf.aclose()
                self._versions.close()
                await self.web.aclose()
                await self.equipment.models.aclose()
                self.workspace.trash.close()
                await self.commands.aclose()
                if self.journal is not None:
                    await self.journal.aclose()
            if self._own_fd >= 0:
                os.close(self._own_fd)
            self._stopped.set()

    def _remember(self) -> None:
        """Let everything that detects be remembered, and have back what it knew."""
        memory = self.memory
        memory.attach_state(self.state)
        memory.attach_launcher(self.dispatcher.launcher)
        memory.attach({"dispatcher": self.dispatcher, "patterns": self.patterns})
        memory.attach({"rules": self.rules, "machines": self.machines})
        memory.install_rule = self.rules.install_plan
        if "system" in memory.values:
            self.system.restore(memory.values["system"], time.time_ns())

    async def _recover(self) -> None:
        if isinstance(self.ledger, SqliteLedger):
            await recover(self.ledger, self.runner)
        await self.memory.recover()
        self.system.restore(self.system.snapshot(), time.time_ns())  # shows it anew
        self._settle(str(self.system.current))
        self.system.keep = partial(self.memory.keep, "system")

    def _settle(self, state: str) -> None:
        """The system's state is another."""
        self.shedding.settle(state)
        if self.tenant is None:  # the loop is one for all
            self.bus.rounds.settle(state)

    async def shutdown(self, grace: float = 10.0) -> None:
        """Start nothing more, give runs `grace` seconds, end; returns when everything is closed."""
        self._grace = grace
        self._stop.set()
        await self._stopped.wait()

    async def _react(
        self, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.library.run)
                await nursery.start(self.tuning.run)
                await nursery.start(self.provenance.run)  # which conditions of the others ask
                await self._recover()
                await nursery.start(self.memory.run)
                desks = (self.dispatcher, self.rules, self.machines, self.analytics)
                for run in (*(desk.run for desk in desks), self.models.run):
                    await nursery.start(run)
                if self.endpoint is not None:
                    await nursery.start(self.endpoint.run)
                task_status.started()

    def _definitions(self) -> dict[str, Any]:
        entries = self.library.entries.values()
        return {entry.file: entry.definition for entry in entries if entry.definition is not None}

    async def _empty_trash(self) -> None:
        while True:
            await trio.to_thread.run_sync(self.workspace.trash.purge)
            await trio.sleep(TRASH_PACE)

    async def _measured(self) -> Mapping[str, float]:
        found = await self._sample()
        for one in self.tenants.values():
            one.system.observe(found, time.time_ns())
        return found

    def _load(self) -> Load:
        """What the system state is judged by."""
        desks = (self.dispatcher, self.patterns, self.rules, self.machines, self.analytics)
        own = tuple(desk.subscription for desk in desks)
        return Load(
            queues=lambda: own,
            waiting=self.dispatcher.launcher.waiting,
            lag=lambda: self.heartbeat.p99,
            runs=lambda: self.runner.counts,
            demand=self.shedding.demand,
            usage=lambda: {**self.usage.sample(), "scripts": self.scripts.instances.busy},
            root_fd=self.workspace.root_fd,
        )

    def _changed(self, old: Entry | None, new: Entry | None) -> None:
        """An entry of the library changed: the dispatcher follows. The last good version goes on when a file broke."""
        self.memory.want_snapshot()
        was = old.definition if old is not None and old.active else None
        now = new.definition if new is not None and new.active else None
        if old is not None:
            self.view.keep(old.name, "")
            self.bus.demand(old.name, frozenset())
            self.provenance.require(old.name, ())
        if new is not None and now is not None:
            self.view.keep(new.name, new.text)
            self.bus.demand(new.name, demands(new.text, now))
            self.provenance.require(new.name, patterns(new.file, new.text, now))
        if was is not None and (now is None or now.name != was.name or type(now) is not type(was)):
            self.patterns.remove(was.name)
            if isinstance(was, Book):
                self.rules.remove(was)
            elif isinstance(was, ThresholdsForm):
                self.system.use()
            elif type(was) in self._homes:
                self._homes[type(was)].remove(was.name)
        if now is not None and now is not was:
            self.patterns.install(now.name, patterns_of(now))
            if isinstance(now, Book):
                self.rules.install(now)
            elif isinstance(now, ThresholdsForm):
                self.system.use(now.thresholds)
            elif type(now) in self._homes:
                self._homes[type(now)].install(now)

    # For people

    @property
    def patterns(self) -> PatternDesk:
        """The patterns of all definitions."""
        return self.dispatcher.patterns

    @property
    def paused(self) -> bool:
        """Whether nothing new starts."""
        return self.dispatcher.paused

    def pause(self) -> None:
        """Start nothing new; runs that go on, go on."""
        if not self.paused:
            self.dispatcher.pause()
            self.rules.paused = self.analytics.paused = True
            self.machines.pause()
            self.bus.publish(SemanticEvent("system.state", attrs={"path": "paused", "old": False, "new": True}))

    def resume(self) -> None:
        """React again."""
        if self.paused:
            self.dispatcher.resume()
            self.rules.resume()
            self.machines.resume()
            self.analytics.paused = False
            self.bus.publish(SemanticEvent("system.state", attrs={"path": "paused", "old": True, "new": False}))

    async def command(self, line: str, uid: int) -> str:
        """Do one line of `/.vexfs/ctl` for the user `uid`; one sentence about what was done, or CallerError."""
        LINEAGE.set(self.provenance)
        word, _, rest = line.strip().partition(" ")
        if not word:
            raise CallerError(f"the command is missing; the commands are {', '.join(COMMANDS)}")
        command = COMMANDS.get(word)
        if command is None:
            raise CallerError(f"there is no command {word!r}; the commands are {', '.join(COMMANDS)}")
        log.info("uid %d: %s", uid, line.strip())
        one = requester() or Requester(uid)
        self.note("control.command", uid=uid, pid=one.pid, data={"line": line.strip(), "comm": one.comm})
        return await command(self, rest.strip())

    @property
    def tenants(self) -> Mapping[str, Service]:
        """The services of the mount's tenants, by name; none for a tenant's own."""
        return {} if self.hosting is None else self.hosting.services

    def login(self, uid: int, pid: int) -> None:
        """A user has come to what is this tenant's: in the audit trail, once in ten minutes."""
        now = time.monotonic()
        if self.tenant is None or now - self._logins.get(uid, -LOGIN_SECONDS) < LOGIN_SECONDS:
            return
        self._logins[uid] = now
        for one in (self, self.operator):
            if one is not None:
                one.note("tenant.login", uid=uid, pid=pid, data={"tenant": self.tenant.name})

    def note(self, kind: str, *, path: str = "", uid: int = 0, pid: int = 0, data: dict[str, Any]) -> None:
        """Write something into the audit trail that is no event; nothing happens where nothing is kept."""
        if self.journal is not None:
            self.journal.auditor.note(kind, path=path, uid=uid, pid=pid, data=data)

    def status(self) -> dict[str, Any]:
        """The whole service in plain values."""
        entries = self.library.entries.values()
        runs = dict.fromkeys(sorted(FINISHED), 0)
        for (_, status), count in self.runner.counts.items():
            runs[status] += count
        return {
            "started_ns": self.started_ns,
            "uptime_seconds": round((time.time_ns() - self.started_ns) / 1e9, 1),
            "paused": self.paused,
            "dry_run": self.executor.dry,
            "events": {
                "published": self.bus.published,
                "by_type": dict(self.bus.counts.most_common()),
                "subscriptions": [
                    {"name": s.name, "waiting": len(s), "dropped": s.dropped} for s in self.bus.subscriptions
                ],
            },
            "workflows": {
                "directory": self.library.directory,
                "active": sum(entry.active for entry in entries),
                "broken": sum(entry.error is not None for entry in entries),
                "entries": [entry.as_dict() for entry in entries],
            },
            "patterns": {"loaded": len(self.patterns.names()), "partial_matches": self.patterns.set.live},
            "tenants": {} if self.hosting is None else self.hosting.status(),
            "rules": {"loaded": len(self.rules.set.rules), "guards": len(self.guards.guards)},
            "analytics": len(self.analytics.names()),
            "machines": [self.machines.status(name) for name in self.machines.names],
            "system": self.system.as_dict(),
            "runs": {"active": len(self.runner.active), **runs},
            "outside": {"endpoint": self.endpoint.address if self.endpoint is not None else None}
            | {"received": self.inbox.received, "refused": self.inbox.refused},
            "shedding": {"now": list(self.shedding.given_up), "counts": self.shedding.counts},
            "queues": dict(self.dispatcher.queues()),
            "room": self.runner.gate.as_dict(),
            "ignored": dict(self.dispatcher.ignored),
            "journal": None if self.journal is None else self.journal.status(),
            "breakers": [breaker.as_dict(trio.current_time()) for breaker in self.breakers.all],
            "usage": self.usage.as_dict(),
            "memory": self.memory.status(),
            "loop_lag_ms_p99": round(self.heartbeat.p99 * 1000, 3),
        }

    def workflow_status(self, name: str) -> dict[str, Any]:
        """One workflow in plain values: its file, whether it is active, its triggers and its runs."""
        entry = self.library.entry(name)
        runs = {status: count for (workflow, status), count in self.runner.counts.items() if workflow == name}
        return {**entry.as_dict(), **self.dispatcher.status(name), "runs": runs}


def _scale(automation: Automation) -> Scale:
    least = automation.min_instances
    most = automation.max_instances if automation.enable_horizontal_scaling else least
    return Scale(least, most, automation.auto_scaling_threshold)
