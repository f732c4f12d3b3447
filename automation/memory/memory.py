"""Remembers what detection knows, in the directory `detection` of the state directory.

    start: read → `recall` → definitions load → `recover` → a new snapshot → the mount answers
    then:  each accepted event, step, firing and change → event log;   every 30 s or 4 MiB of it → snapshot
    end:   a last snapshot

The log is bounded to 256 MiB. One that cannot be written, for a full disk say, is given up, announced, and tried again
every 30 s with a new snapshot. Numbers of events go on from mount to mount; after a kill ten million are left out.
Where paths must not be written, everything is sealed (`sealing.py`), and what was not goes at the start.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import trio

from automation.bus import Bus
from automation.errors import CallerError, WorldError
from automation.events import SemanticEvent
from automation.launcher import Launcher
from automation.memory.clock import SteadyClock
from automation.memory.desk import Desk
from automation.memory.event_log import EventLog, Segment, remove
from automation.memory.recorder import Recorder
from automation.memory.records import Records
from automation.memory.recovery import JUMP, Earlier, read_earlier
from automation.memory.replaying import Replaying
from automation.memory.sealing import OPEN, Keyhole
from automation.memory.snapshots import KEPT, drop, keep_last, numbers
from automation.memory.taking import Found, Taking
from automation.state import State
from automation.state_directory import StateDirectory
from automation.triggers.firing import Firing
from automation.triggers.firing_records import firing_record, read_firing

log: Final = logging.getLogger(__name__)

DIRECTORY: Final = "detection"
EVERY_SECONDS: Final = 30.0
EVERY_BYTES: Final = 4 << 20
TICK_SECONDS: Final = 1.0
SHARE: Final = 20  # snapshots take at most a twentieth of the time


class Memory:
    """Without a directory it remembers nothing, and costs nothing. Without `logged` only a clean stop is survived."""

    def __init__(
        self,
        bus: Bus,
        kept: StateDirectory | None = None,
        *,
        logged: bool = True,
        keyhole: Keyhole = OPEN,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.clock: Final = SteadyClock(wall)
        self.recorder: Final = Recorder()
        self.install_rule: Callable[[str], bool] = lambda workflow: False
        self.recovery: dict[str, Any] = {}
        self.last: dict[str, Any] = {}  # about the last snapshot
        self._bus: Final = bus
        self._logged: Final = logged
        self._keyhole: Final = keyhole
        self._outdated = keyhole.sealing  # there may be files of an earlier life that are not sealed
        self._began = 0  # the first frame of the log of this life
        self._desks: Final[dict[str, Desk]] = {}
        began = time.perf_counter()
        self._fd: Final = -1 if kept is None else _open(kept)
        self._earlier = Earlier(time.time_ns()) if kept is None else read_earlier(self._fd, keyhole)
        self._reading: Final = time.perf_counter() - began
        self.epoch: Final = self._earlier.epoch
        self.values: Final = self._earlier.values
        self._firings: Final = self._earlier.firings
        self._log: Final = EventLog(self._fd, self._earlier.segments, keyhole)
        self._state: State | None = None
        self._launcher: Launcher | None = None
        self._oldest: Final[deque[int]] = deque([0], maxlen=KEPT)  # the first frames that the kept snapshots need
        self._number = 0 if kept is None else max(numbers(self._fd), default=0)
        self._wanted = trio.Event()
        self._announced = True
        self._recovered = False
        self._at = 0.0  # when the last snapshot was complete, and how long it took
        self._took = 0.0
        self._frames = 0
        self._bytes = 0
        self.clock.floor = self._earlier.now
        self.recorder.on_failure = self._failed
        self.recorder.seq = self._earlier.seq
        bus.begin(self._earlier.seq)

    @property
    def records(self) -> Records:
        """For those who detect."""
        return Records(self.recorder, self.clock, self.values, self.keep)

    @property
    def kept(self) -> bool:
        """Whether anything outlives the mount."""
        return self._fd >= 0

    # Who remembers

    def attach(self, desks: Mapping[str, Desk]) -> None:
        """Remember for these, who get back what they knew; before any definition is loaded."""
        for name, desk in desks.items():
            desk.subscription.remembered = 1 << len(self._desks)
            self._desks[name] = desk
            desk.recall({part: found.rows for part, found in self._earlier.parts(name).items()})

    def attach_state(self, state: State) -> None:
        """Remember the shared state."""
        self._state = state
        for tree in self._earlier.part("memory", "state").rows:
            state.restore(tree)
        if self.kept:
            state.on_change = self._state_changed

    def attach_launcher(self, launcher: Launcher) -> None:
        """Remember the firings that have not had their runs."""
        self._launcher = launcher
        if self.kept:
            launcher.on_fired, launcher.on_settled = self._fired, self._settled
            launcher.on_ended, launcher.on_removed = self._ended, self._removed

    # What is remembered

    def keep(self, key: str, value: Any) -> None:
        """Keep a plain value under a key from now on, over any restart; None forgets it."""
        if self.values.get(key) == value:
            return
        if value is None:
            del self.values[key]
        else:
            self.values[key] = value
        self.recorder.write(("k", key, value))

    def want_snapshot(self) -> None:
        """Much has changed: take one soon."""
        self._wanted.set()

    def _state_changed(self, path: str, value: Any, present: bool, quiet: bool) -> None:
        if quiet:
            self.recorder.write_lazily(path, ("t", path, value, present))
        else:
            self.recorder.write(("t", path, value, present))

    def _fired(self, firing: Firing) -> None:
        run = firing.run_id(self.epoch)
        record = self._firings[run] = firing_record(firing)
        self.recorder.write(("f", run, record))

    def _settled(self, firing: Firing) -> None:
        self._forget(firing.run_id(self.epoch))

    def _forget(self, run: str) -> None:
        if self._firings.pop(run, None) is not None:
            self.recorder.write(("d", run))

    def _ended(self, run: str) -> None:
        """A run's end is in the run log already: after a kill the launcher knows of it."""
        if self._firings.pop(run, None) is not None:
            self.recorder.write_soon(("d", run))

    def _removed(self, workflow: str, key: str | None) -> None:
        """What waits for a run of a workflow (of one key) shall have none."""
        active = self._launcher.active if self._launcher is not None else ()
        for run, record in list(self._firings.items()):
            if record["workflow"] == workflow and key in (None, record["key"]) and run not in active:
                self._forget(run)

    # The start

    async def recover(self) -> None:
        """Once the definitions are loaded: repeat what the log says, and begin this life with a new snapshot."""
        if not self.kept:
            return
        earlier, began = self._earlier, time.perf_counter()
        for problem in earlier.problems:
            log.warning("%s", problem)
        waiting = self._replayed(earlier)
        self.recovery = {
            "seconds": round(self._reading + time.perf_counter() - began, 3),
            "clean": earlier.clean,
            "snapshot": earlier.snapshot.number if earlier.snapshot is not None else None,
            "events": earlier.events,
            "waiting": waiting,
            "firings": len(self._firings),
            "problems": earlier.problems,
        }
        if earlier.problems:
            self._announce("; ".join(earlier.problems))
        drop(self._fd, newer_than=earlier.snapshot.number if earlier.snapshot is not None else 0)
        self._earlier = Earlier(self.epoch)
        self._recovered = True
        if self._logged:
            await self._renew()
            if self._outdated:
                self._wanted.set()  # once what waits from before has been looked at
        else:  # what is only true after a clean stop must not be found after a kill
            _forget(self._fd, earlier.segments)
        for run, record in list(self._firings.items()):
            self._start(run, record)

    def _replayed(self, earlier: Earlier) -> int:
        quiet = [one for one in (self._bus, self._launcher) if one is not None]
        for one in quiet:
            one.muted = True
        try:
            waiting = Replaying(earlier, self._desks, self._state).run()
        finally:
            for one in quiet:
                one.muted = False
        for name, desk in self._desks.items():
            desk.subscription.requeue(waiting[name])
            desk.recovered()
        return sum(map(len, waiting.values()))

    def _start(self, run: str, record: Any) -> None:
        """Have a firing of the earlier life run; the runner knows if it has."""
        launcher = self._launcher
        try:
            firing = read_firing(record)
        except Exception as error:  # of an older VexFS perhaps
            log.warning("a firing of the last mount cannot be read: %r", error)
            self._forget(run)
            return
        if launcher is not None and launcher.has_run(firing):
            self._forget(run)
            return
        if launcher is None or not (launcher.knows(firing.workflow) or self.install_rule(firing.workflow)):
            log.warning("%s is gone: what fired it in the last mount starts nothing", firing.workflow)
            self._forget(run)
            return
        launcher.admit(firing, firing.event.ts / 1e9)

    # Serving

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take snapshots when they are due, until cancelled."""
        task_status.started()
        while self.kept and self._logged:
            with trio.move_on_after(TICK_SECONDS):
                await self._wanted.wait()
                await trio.sleep(0.05)  # definitions come in crowds
            self._tick()
            pause = time.monotonic() - self._at
            if pause < self._took * SHARE:
                await trio.sleep(TICK_SECONDS)
            elif self.recorder.log is None:
                if pause >= EVERY_SECONDS:
                    await self._renew()
            elif self._due(pause):
                await self.snapshot()

    def _due(self, pause: float) -> bool:
        changed = self._log.frames > self._frames
        grown = self._log.written - self._bytes >= EVERY_BYTES
        return self._wanted.is_set() or grown or (changed and pause >= EVERY_SECONDS)

    def _tick(self) -> None:
        recorder = self.recorder
        recorder.flush()
        if self._bus.seq - recorder.seq > JUMP // 10:  # so many events that nobody accepted
            recorder.seq = self._bus.seq
            recorder.write(("q", self._bus.seq))
        if not self._announced:
            self._announced = True
            self._announce(f"the event log is off: {recorder.error}")

    async def close(self) -> None:
        """The end, when nothing reacts any more: a last snapshot, unless what there was has never been taken over."""
        if self.kept:
            if self._recovered:
                await self.snapshot(clean=True)
            self._bus.recorder = self.recorder.log = None
            self._log.close()
            os.close(self._fd)

    async def _renew(self) -> None:
        """Begin a log after the one that is there, and a snapshot that needs nothing of that one."""
        if self._log.full:
            self._log.prune(self._log.frames)
        self._began = self._log.frames
        try:
            self._log.open(self.epoch)
        except (OSError, WorldError) as error:
            self.recorder.give_up(str(error))
            self._at = time.monotonic()
            return
        self.recorder.log, self.recorder.error = self._log, ""
        self._bus.recorder = self.recorder.accepted
        await self.snapshot()

    async def snapshot(self, *, clean: bool = False) -> None:
        """Take one now; that it cannot be written is logged and shown."""
        began = time.monotonic()
        self._wanted = trio.Event()
        self._number += 1
        oldest = self._oldest_needed()
        try:
            taking = Taking(self._fd, self._number, self._keyhole, self.recorder, lambda: self._log.frames)
            size = await taking.take(self._found(clean), oldest)
        except OSError as error:
            log.warning("detection's state cannot be kept: %s", error.strerror)
            self.last |= {"error": error.strerror or str(error)}
        else:
            if self._outdated:
                self._oldest.clear()
                keep_last(self._fd, 1)
            self._oldest.append(oldest)
            self._log.prune(min(self._oldest))
            self._outdated = self._outdated and self._log.first < self._began
            self.recorder.forget_places(min(self._oldest))
            self.last = {"number": self._number, "bytes": size, "parts": taking.parts}
            self.last |= {"longest_stop_ms": round(taking.longest * 1000, 2), "at_ns": time.time_ns()}
        self._frames, self._bytes = self._log.frames, self._log.written
        self._at = time.monotonic()
        self._took = self._at - began
        self.last |= {"seconds": round(self._took, 3)}

    def _oldest_needed(self) -> int:
        """The first frame that holds an event that still waits, or the next one; never one that the log has not."""
        self.recorder.flush()
        waiting = [seq for desk in self._desks.values() if (seq := desk.subscription.oldest) is not None]
        return max(self.recorder.frame_before(min(waiting)), self._log.first) if waiting else self._log.frames

    def _found(self, clean: bool) -> Iterator[Found]:
        for owner, desk in self._desks.items():
            for part in desk.parts():
                yield None if part is None else (owner, *part)
        if self._state is not None:
            tree = self._state.as_dict
            yield "memory", "state", lambda: iter([tree()])
        yield "memory", "values", lambda: iter(list(self.values.items()))
        yield "memory", "firings", lambda: iter(list(self._firings.items()))
        meta = {"epoch": self.epoch, "seq": self._bus.seq, "now": self.clock.now(), "clean": clean}
        yield "memory", "meta", lambda: iter([meta])

    def _failed(self) -> None:
        self._bus.recorder = None
        self._announced = False
        self._at = time.monotonic()

    def _announce(self, reason: str) -> None:
        self._bus.publish(SemanticEvent("system.memory", attrs={"reason": reason}))

    def status(self) -> dict[str, Any]:
        """Plain values for a person."""
        if not self.kept:
            return {"log": "off: nothing is kept"}
        state = "on" if self.recorder.log is not None else f"off: {self.recorder.error or 'not wanted'}"
        out: dict[str, Any] = {"log": state, "bytes": self._log.size, "segments": self._log.segments}
        out |= {"written": self._log.written, "firings": len(self._firings), "last_snapshot": self.last}
        return out | {"recovery": self.recovery}


def _open(kept: StateDirectory) -> int:
    try:
        os.makedirs(kept.file(DIRECTORY), mode=0o700, exist_ok=True)
        return os.open(kept.file(DIRECTORY), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CallerError(f"{kept.file(DIRECTORY)} cannot be used: {error.strerror}") from error


def _forget(directory_fd: int, segments: list[Segment]) -> None:
    drop(directory_fd)
    for segment in segments:
        remove(directory_fd, segment)
