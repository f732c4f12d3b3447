"""What tests of the control tree share: a fake service, and a kernel that calls the tree's handlers directly."""

import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from types import SimpleNamespace

import prometheus_client
import pyfuse3

from automation.analytics.desk import AnalyticsDesk
from automation.analytics.forms import Analytics
from automation.breakers import Breakers
from automation.bus import Bus
from automation.definitions import Workflow
from automation.errors import CallerError, DefinitionError
from automation.events import SemanticEvent
from automation.inbox import Inbox
from automation.journal.archive import Archive
from automation.language.desk import Desk
from automation.machines.host import Machines
from automation.machines.loading import load as load_machine
from automation.machines.system_state import SystemState
from automation.models.desk import ModelDesk
from automation.models.forms import AdaptiveForm, ModelForm
from automation.models.store import Shelf
from automation.models.tuning import TuningDesk
from automation.patterns.text import parse_pattern
from automation.provenance.desk import ProvenanceDesk
from automation.provenance.forms import ProvenanceForm
from automation.provenance.tracker import Tracker
from automation.runner import Run, StepRecord
from automation.runner.ledger import MemoryLedger
from automation.shedding import Shedding
from automation.state import State
from automation.targets import DEFAULTS
from automation.triggers.firing import Firing
from automation.usage import Usage
from vexfs_fuse.control import ControlTree, Mount

OWNER = 1000
STRANGER = 1001


@dataclass
class FakeEntry:
    """A definition as the tree sees it."""

    name: str
    file: str
    text: str
    definition: object
    error: DefinitionError | None = None
    version: int = 1
    loaded_ns: int = field(default_factory=time.time_ns)
    enabled: bool = True
    fault: str = ""


class FakeLibrary:
    """Accepts a text that begins with `name: `; keeps the last good version of a file, as the library does."""

    def __init__(self):
        self.entries: dict[str, FakeEntry] = {}
        self.installs = []

    async def install(self, file: str, text: str):
        self.installs.append(file)
        first = text.partition("\n")[0]
        if not first.startswith("name: "):
            raise DefinitionError(file, 1, "name", "the name is missing")
        name = first.removeprefix("name: ").strip()
        if name in self.entries and self.entries[name].file != file:
            raise DefinitionError(file, None, "name", f"{self.entries[name].file} holds {name!r} already")
        for other in [e for e in self.entries.values() if e.file == file]:
            del self.entries[other.name]
        step = {"name": "copy", "action": {"type": "copy", "from": "a", "to": "b"}}
        definition = Workflow.model_validate({"name": name, "steps": [step]})
        self.entries[name] = FakeEntry(name, file, text, definition)

    def enable(self, name: str):
        self.entries[name].enabled = True

    def disable(self, name: str):
        self.entries[name].enabled = False

    async def uninstall(self, name: str):
        if name not in self.entries:
            raise CallerError(f"there is no workflow {name!r}")
        del self.entries[name]


class FakeRules:
    """Rules as the tree sees them: one, called `watch`."""

    def __init__(self):
        self.rule = SimpleNamespace(live=True)

    def names(self):
        return ["watch"]

    def knows(self, name: str):
        return name == "watch"

    def find(self, name: str):
        return self.rule

    def status(self, name: str):
        return {"name": name, "fired": 3}

    def definition(self, name: str):
        return {"name": name, "paths": ["in/**"]}

    def enable(self, name: str, enabled: bool):
        self.rule.live = enabled


GATE = "kind: machine\nkey: none\nstates: {shut: {on: {user.open: open}}, open: {on: {user.shut: shut}}}"


class FakeLauncher:
    """Takes no firing: the machine `gate` has no actions."""

    def install_plan(self, plan, concurrency):
        assert plan.name == "gate"

    def remove(self, name):
        return 0


class FakePatterns:
    """Patterns as the tree sees them: one, called `pair`."""

    def __init__(self):
        self.on = True

    def names(self):
        return ["pair"]

    def knows(self, name: str):
        return name == "pair"

    def definition(self, name: str):
        return parse_pattern(name, "a(user.a) -> b(user.b)")

    def status(self, name: str):
        return {"name": name, "matched": 3}

    def enabled(self, name: str):
        return self.on

    def enable(self, name: str, enabled: bool):
        self.on = enabled


STREAM = {"kind": "analytics", "name": "load", "streams": {"writes": {"events": "file.closed"}}}


MODEL = {"kind": "model", "name": "guess", "workflow": "w", "features": {"size": "event.size"}}
ADAPTIVE = {"kind": "adaptive", "name": "patience", "min": 1, "max": 9, "step": 1}
ADAPTIVE |= {"retry": {"workflow": "w", "step": "s"}}


@dataclass(frozen=True)
class FakeTenant:
    """Whose a tenant's service is."""

    name: str
    uid: int
    gid: int
    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()

    def admits(self, uid: int, gid: int, groups=()) -> bool:
        return uid == self.uid or uid in self.uids or gid in self.gids or not self.gids.isdisjoint(groups)


class FakeService:
    """The members of `automation.service.Service` that the tree uses; commands are noted, `fail` is refused."""

    def __init__(self, *tenants: FakeTenant, tenant: FakeTenant | None = None):
        self.tenant = tenant
        self.tenants = {one.name: FakeService(tenant=one) for one in tenants}
        self.hosting = None
        self.logins: list[int] = []
        self.bus = Bus()
        self.state = State(self.bus)
        self.inbox, self.endpoint = Inbox(self.bus), None
        self.automation = DEFAULTS
        self.library = FakeLibrary()
        self.language = Desk(self.library)
        self.rules = FakeRules()
        self.patterns = FakePatterns()
        self.explainer = SimpleNamespace(
            names=lambda: ["pair"], knows=lambda name: name == "pair", explain=lambda name: {"name": name}
        )
        self.machines = Machines(Bus(), FakeLauncher(), state=dict, runs=dict)
        self.machines.install(load_machine("gate.yaml", GATE))
        self.system = SystemState(State(Bus()), time.time_ns)
        self.analytics = AnalyticsDesk(Bus(), wall=time.time)
        self.analytics.install(Analytics.model_validate(STREAM))
        self.provenance = ProvenanceDesk(Bus(), None)
        self.models = ModelDesk(Bus(), Shelf(None), wall=time.time)
        self.models.install(ModelForm.model_validate(MODEL))
        self.tuning = TuningDesk(Bus(), Shelf(None), None, self.analytics.tune, wall=time.time)
        self.tuning.install(AdaptiveForm.model_validate(ADAPTIVE))
        self.shedding = Shedding(Bus(), {})
        self.breakers = Breakers()
        self.runner = SimpleNamespace(runs={}, active={}, ledger=MemoryLedger())
        self.archive = Archive(self.runner)
        self.usage = Usage(DEFAULTS, lambda: 0)
        self.policy = SimpleNamespace(count=1)
        self.registry = prometheus_client.CollectorRegistry()
        self.started_ns = time.time_ns()
        self.paused = False
        self.kept = self.journal = None
        self.commands: list[tuple[str, int]] = []
        self.notes: list[tuple[str, dict]] = []
        prometheus_client.Counter("vexfs_events", "Events", ["type"], registry=self.registry).labels(
            "file.closed"
        ).inc()

    def status(self):
        facts = {"loop_lag_ms_p99": 0.4, "queues": {"events": 0}, "ignored": {"depth": 1}, "journal": None}
        facts["memory"] = {"log": "off: nothing is kept"}
        return facts | {"runs": {"succeeded": 30}}

    def workflow_status(self, name: str):
        trigger = {"type": "event", "fired": 2, "waiting": 0, "suppressed": {"own": 1}}
        return {"running": 0, "waiting": 0, "triggers": [trigger], "runs": {"failed": 1}}

    def login(self, uid: int, pid: int):
        self.logins.append(uid)

    def note(self, kind: str, **about):
        self.notes.append((kind, about))

    async def command(self, line: str, uid: int) -> str:
        self.commands.append((line, uid))
        if line.startswith("fail"):
            raise CallerError(f"{line!r} is no command")
        return "done"

    def track(self, path: str):
        """Let provenance know of a file."""
        form = ProvenanceForm(kind="provenance", name="p")
        self.provenance._tracker = tracker = Tracker(form)
        tracker.feed(SemanticEvent("file.opened", path, inode=5, pid=7, uid=0, comm="cat", attrs={"mode": "r"}))

    def add_run(self, id: str, workflow: str = "ingest", status: str = "succeeded") -> Run:
        event = SemanticEvent("file.closed", "in/a.csv", pid=7, uid=OWNER, comm="cp")
        firing = Firing(workflow, 0, "event", "in/a.csv", (event,))
        run = Run(
            id, workflow, firing, {}, [StepRecord("sort", "move", "succeeded", 1, 10**18, 10**18 + 10**6)], status
        )
        run.created_ns = run.started_ns = run.ended_ns = time.time_ns()
        self.runner.runs[id] = run
        return run


class Kernel:
    """Calls the tree as the kernel would for a process of `uid`: looks names up, opens, reads to the end, closes."""

    def __init__(self, service: FakeService, uid: int = OWNER, tree: ControlTree | None = None):
        self.tree = tree or ControlTree(service, Mount("/mnt", "/src", OWNER, OWNER), native=None)
        self.ctx = SimpleNamespace(uid=uid, gid=uid, pid=4242, umask=0o022)

    def as_user(self, uid: int) -> "Kernel":
        """The same tree, seen by another user."""
        return Kernel(None, uid, self.tree)

    async def walk(self, path: str) -> int:
        ino = self.tree.root_ino
        for name in PurePath(path).parts:
            ino = (await self.tree.lookup(ino, os.fsencode(name), self.ctx)).st_ino
        return ino

    async def stat(self, path: str) -> pyfuse3.EntryAttributes:
        return await self.tree.getattr(await self.walk(path), self.ctx)

    async def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        """open(2) with O_CREAT as the kernel does it."""
        parent, name = os.path.split(path)
        try:
            ino = await self.walk(path)
        except pyfuse3.FUSEError:
            if not flags & os.O_CREAT:
                raise
            info, _ = await self.tree.create(await self.walk(parent), os.fsencode(name), 0o644, flags, self.ctx)
            return info.fh
        return (await self.tree.open(ino, flags, self.ctx)).fh

    async def close(self, fh: int) -> None:
        try:
            await self.tree.flush(fh)
        finally:
            await self.tree.release(fh)

    async def read(self, path: str) -> str:
        """cat"""
        fh = await self.open(path)
        content = b""
        while block := await self.tree.read(fh, len(content), 4096):
            content += block
        await self.close(fh)
        return content.decode()

    async def write(self, path: str, text: str | bytes, flags: int = os.O_TRUNC | os.O_CREAT) -> None:
        """echo text > path: open, write, close."""
        data = text.encode() if isinstance(text, str) else text
        fh = await self.open(path, os.O_WRONLY | flags)
        try:
            assert await self.tree.write(fh, 0, data) == len(data)
        finally:
            await self.close(fh)

    async def rename(self, directory: str, old: str, new: str, flags: int = 0) -> None:
        ino = await self.walk(directory)
        await self.tree.rename(ino, os.fsencode(old), ino, os.fsencode(new), flags, self.ctx)

    async def unlink(self, path: str) -> None:
        parent, name = os.path.split(path)
        await self.tree.unlink(await self.walk(parent), os.fsencode(name), self.ctx)

    async def every_path(self) -> Mapping[str, bool]:
        """All paths of the tree that a listing shows → whether it is a directory."""
        found: dict[str, bool] = {}
        todo = [""]
        while todo:
            at = todo.pop()
            directory = self.tree._nodes.at(await self.walk(at)).node
            for name in directory.names():
                path = f"{at}/{name}".lstrip("/")
                found[path] = stat.S_ISDIR((await self.stat(path)).st_mode)
                todo += [path] if found[path] else []
        return found


@contextmanager
def refused(code: int) -> Iterator[None]:
    """The block must end with errno `code`."""
    try:
        yield
    except pyfuse3.FUSEError as error:
        assert error.errno == code, f"errno {error.errno}, not {code}"
    else:
        raise AssertionError(f"nothing was refused, errno {code} was expected")
