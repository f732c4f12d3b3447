"""Detection and its memory: lives of a service, and without one desks that are stepped by hand."""

import os
import shutil
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import trio

from automation.bus import Bus
from automation.definitions import Workflow
from automation.dispatcher import Dispatcher
from automation.events import SemanticEvent
from automation.guards.guards import Guards
from automation.library import examined
from automation.machines.host import Machines
from automation.machines.machine import Machine
from automation.memory.memory import Memory
from automation.patterns.collection import patterns_of
from automation.rules.book import Book
from automation.rules.desk import RuleDesk
from automation.state import State
from automation.state_directory import StateDirectory
from tests.automation_rig import Rig

EPOCH = 1_700_000_000.0


def wall():
    """The wall clock of the tests goes as trio's does."""
    return EPOCH + trio.current_time()


class Runner:
    """Runs end at once; `ran` tells what each was for."""

    def __init__(self, ran, epoch):
        self.active, self.ran, self.epoch = {}, ran, epoch
        self.on_finished = lambda run: None
        self.calls, self.gate, self.serving = SimpleNamespace(), None, True

    def knows(self, firing):
        return False

    def start(self, plan, firing):
        numbers = tuple(event.attrs.get("n") for event in firing.events)
        self.ran.append((plan.name, firing.key, numbers, firing.count))
        run = SimpleNamespace(id=firing.run_id(self.epoch), firing=firing, workflow=plan.name, finished=True)
        self.on_finished(run)
        return run


class Detection:
    """One life, with the state of `path`."""

    def __init__(self, path, ran, definitions, **options):
        self.kept = StateDirectory(str(path))
        self.bus = Bus()
        self.memory = Memory(self.bus, self.kept, wall=wall, **options)
        records = self.memory.records
        self.state = State(self.bus)
        self.runner = Runner(ran, self.memory.epoch)
        self.dispatcher = Dispatcher(self.bus, self.runner, self.state, None, wall=wall, records=records)
        self.launcher = self.dispatcher.launcher
        self.guards = Guards(self.bus, self.state.view, wall=wall)
        self.rules = RuleDesk(self.bus, self.launcher, self.state, self.guards, wall=wall, records=records)
        clock = lambda: round(wall() * 1e9)  # noqa: E731
        self.machines = Machines(
            self.bus, self.launcher, state=self.state.view, runs=dict, clock=clock, records=records
        )
        self.desks = {
            "dispatcher": self.dispatcher,
            "patterns": self.dispatcher.patterns,
            "rules": self.rules,
            "machines": self.machines,
        }
        self.memory.attach_state(self.state)
        self.memory.attach_launcher(self.launcher)
        self.memory.attach(self.desks)
        self.memory.install_rule = self.rules.install_plan
        self.definitions = definitions

    async def begin(self):
        for name, text in self.definitions.items():
            definition, errors = examined(f"{name}.yaml", text)
            assert not errors, errors
            self.dispatcher.patterns.install(definition.name, patterns_of(definition))
            if isinstance(definition, Workflow):
                self.dispatcher.install(definition)
            elif isinstance(definition, Machine):
                self.machines.install(definition)
            elif isinstance(definition, Book):
                assert self.rules.check(definition) == []
                await self.rules.prepare(definition)
                self.rules.install(definition)
        await self.memory.recover()
        return self

    def publish(self, type_name, n, path="f", **fields):
        event = SemanticEvent(type_name, path, ts=round(wall() * 1e9), attrs={"n": n}, **fields)
        self.bus.publish(event)
        return event

    def step(self):
        """Let every desk work until nothing waits."""
        while True:
            for desk in self.desks.values():
                desk.step()
            if not any(desk.subscription.ready for desk in self.desks.values()):
                return

    def killed(self, following):
        """Leave what a kill leaves, in another directory."""
        copy_while_it_changes(self.kept.path, following)
        self.memory.recorder.log = None
        os.close(self.memory._fd)
        self.kept.close()

    async def closed(self, following):
        await self.memory.close()
        shutil.copytree(self.kept.path, following)
        self.kept.close()


def copy_while_it_changes(source, target):
    """Copy a directory in which a thread may be renaming a snapshot just now, as it was at one moment."""
    for _ in range(100):
        try:
            shutil.copytree(source, target)
        except shutil.Error:
            shutil.rmtree(target)
        else:
            return
    raise AssertionError(f"{source} never rests")


class Lives:
    """One source and its lives: `clean` ends well, `killed` leaves what a kill would leave."""

    def __init__(self, tmp_path, **definitions):
        self.path, self.number, self.later = tmp_path, 0, 0.0
        self.definitions = {f"{name}.yaml": text for name, text in definitions.items()}
        (tmp_path / "state0").mkdir()

    def wall(self):
        return time.time() + self.later

    @asynccontextmanager
    async def life(self, *, kill=False, **options):
        kept = StateDirectory(str(self.path / f"state{self.number}"))
        began = trio.current_time()  # a virtual clock goes on at the start and the end too, as long as threads work
        rig = Rig(self.path, self.definitions, kept=kept, wall=self.wall, **options)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(rig.service.run)
                yield rig
                self.number += 1
                following = self.path / f"state{self.number}"
                if kill:
                    shutil.copytree(kept.path, following)
                await rig.service.shutdown(0.5)
                if not kill:
                    shutil.copytree(kept.path, following)
        finally:
            self.later += trio.current_time() - began
            kept.close()
            os.close(rig.root_fd)
