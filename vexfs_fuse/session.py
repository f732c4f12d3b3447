"""One mount from start to end: the request loop, and the order in which things are opened and closed."""

from __future__ import annotations

import gc
import logging
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyfuse3
import trio

from automation.bus import Bus
from automation.events import SemanticEvent
from vexfs_fuse import loop, watch_sources
from vexfs_fuse.answers import Answers
from vexfs_fuse.attributes import Attributes
from vexfs_fuse.backing import Backing
from vexfs_fuse.cache import KernelCache
from vexfs_fuse.callers import Callers, Commands
from vexfs_fuse.control.numbers import CONTROL_BASE
from vexfs_fuse.direct import Direct
from vexfs_fuse.directories import Directories
from vexfs_fuse.errors import code_of
from vexfs_fuse.extra import Extra
from vexfs_fuse.extra_attributes import ExtraAttributes
from vexfs_fuse.files import Files
from vexfs_fuse.guarding import Guarding, Guards
from vexfs_fuse.handles import DIRECTORIES
from vexfs_fuse.hearing import Hearing
from vexfs_fuse.inodes import Inodes
from vexfs_fuse.interest import Interest, Policies
from vexfs_fuse.locks import Locks
from vexfs_fuse.namespace import Namespace
from vexfs_fuse.native import ANSWERED, DIRECT_IO_ALLOW_MMAP, HANDLE_KILLPRIV_V2, NATIVE, PASSTHROUGH, Native
from vexfs_fuse.observer import Observer
from vexfs_fuse.operations import Operations
from vexfs_fuse.watch import Watch

log: Final = logging.getLogger(__name__)
GARBAGE: Final = 20_000  # allocations between collections: requests make no cycles
_SHOWN: Final = 3  # paths in one row of the status
LONG: Final = 60.0  # seconds for which the kernel may believe what it was told, if it is told of changes
SHORT: Final = 1.0  # and if it is not
TURN: Final = 0.0005  # seconds for which a busy thread (a large definition being read) may hold up a request
COUNTED: Final = 0.05  # seconds between two counts of what nobody heard, while nobody asks
TASKS: Final = 10_000  # requests being answered at once; a waiting reader of /.vexfs/events takes one of them


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How to mount. `fuse` are mount options as libfuse takes them. Timeouts are in seconds; None is `LONG` where
    nothing changes unseen behind the mount's back, else `SHORT`. `exclusive` says that nobody else writes there,
    `shared_locks` that locks are to hold there too.
    """

    fuse: frozenset[str] = frozenset()
    entry_timeout: float | None = None
    attr_timeout: float | None = None
    show_control: bool = False
    failed_events: bool = False
    exclusive: bool = False
    io: Policies = "auto"
    shared_locks: bool = False


class Session:
    """Serves `mountpoint` from the directory `root_fd`, which stays the caller's to close."""

    def __init__(
        self,
        root_fd: int,
        mountpoint: str,
        *,
        bus: Bus,
        tree: Any,
        commands: Commands | None = None,
        guards: Guards | None = None,
        options: SessionOptions = SessionOptions(),
    ) -> None:
        self.mountpoint: Final = mountpoint
        self.options: Final = options
        self._bus: Final = bus
        self._tree: Final = tree
        self.inodes: Final = Inodes(root_fd, _descriptor_budget(), None if NATIVE is None else NATIVE.table)
        self.cache: Final = KernelCache(self.inodes, NATIVE)
        self._guards: Final = guards
        self._callers: Final = Callers(commands)
        observer = Observer(bus, self._callers, failures=options.failed_events)
        self.backing: Final = Backing(self.inodes, observer, NATIVE)
        self.interest: Final = Interest(bus, options.io, guards, flushes=options.shared_locks)
        self.watch: Watch | None = None
        self._believed = SHORT
        self._counted_at = 0.0
        self._scope: Final = trio.CancelScope()
        self._answers: Answers | None = None
        self._files: Files | None = None
        self._hearing: Hearing | None = None
        self._directories: Directories | None = None
        self._locks: Locks | None = None

    @property
    def mode(self) -> str:
        """What the I/O goes through, in one line for a person."""
        if NATIVE is None:
            return "FUSE (the native library is not loaded)"
        if not NATIVE.passthrough:
            return "FUSE (no kernel passthrough: it needs root and Linux 6.9)"
        return "kernel passthrough, traced where an automation listens"

    def facts(self) -> list[tuple[str, str]]:
        """Rows for the status: what the I/O goes through, the watch, and what is read and written unseen."""
        watch = "off: nobody else changes the source" if self.options.exclusive else "off"
        if self.watch is not None:
            watch = f"{self.watch.source.describe()}, {self.watch.changes} changes by others, {self.watch.gaps} gaps"
        rows = [("io", self.mode), ("watch", watch)]
        if self._locks is not None:
            rows.append(("locks", f"shared with the source, {self._locks.owners} owners"))
        handles, interest = self.backing.handles, self.interest
        for name, paths, why in (
            ("unseen", interest.unseen(handles), "something listens"),
            ("unjudged", interest.unjudged(handles), "a guard judges writes there"),
        ):
            if paths:
                shown = ", ".join(paths[:_SHOWN]) + (", …" if len(paths) > _SHOWN else "")
                rows.append((name, f"{len(paths)} open natively though {why}: {shown}"))
        return rows

    def written_to(self, ino: int) -> bool:
        """Whether somebody has the file open for writing."""
        self._catch_up()
        return any(file.inode.ino == ino and file.writable for file in self.backing.handles.all())

    async def drain(self) -> None:
        """Let those who wait for events go, so that the mount is not busy with them."""
        await self._tree.close()

    def stop(self) -> None:
        """Unmount; `run` returns."""
        self._scope.cancel()

    async def run(
        self,
        *,
        before: Callable[[], Awaitable[object]] | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Mount, report started once the mount answers, serve until unmounted or stopped, leave nothing behind.

        `before` is awaited when the mount is in place and has answered nothing yet: what starts there misses no
        operation, and a command that it starts waits for the answers instead of passing beneath the mount.
        """
        gc.set_threshold(GARBAGE)
        sys.setswitchinterval(TURN)
        os.umask(0)  # a caller's umask comes with its request
        operations = self._operations()
        operations.enable_acl = bool({"allow_other", "allow_root", "default_permissions"} & self.options.fuse)
        if NATIVE is not None:
            wanted = HANDLE_KILLPRIV_V2 | DIRECT_IO_ALLOW_MMAP | (PASSTHROUGH if os.geteuid() == 0 else 0)
            NATIVE.want(wanted)
            NATIVE.on_interrupt(CONTROL_BASE, self._interrupted)
        loop.install(self._idle, self._bus.rounds.came)
        self._bus.on_reroute(self._answer)
        self._start_watch()
        self._answer()
        if NATIVE is not None:
            NATIVE.files.serve(self.backing.links, watched=self.watch is not None)
        pyfuse3.init(operations, self.mountpoint, set(self._fuse_options()))
        try:
            if NATIVE is not None and not NATIVE.active:
                raise RuntimeError("this libfuse is not known to the native library; set VEXFS_NO_NATIVE=1")
            with self._scope:
                if before is not None:
                    await before()
                async with trio.open_nursery() as nursery:
                    if self._answers is not None:
                        self._answers.nursery = nursery
                    nursery.start_soon(self.cache.run)
                    if self.watch is not None:
                        nursery.start_soon(self.watch.run)
                    nursery.start_soon(self._first_answer, task_status)
                    await pyfuse3.main(min_tasks=1, max_tasks=TASKS)
                    nursery.cancel_scope.cancel()
        finally:
            self._bus.publish(SemanticEvent("system.unmounted", attrs={"mountpoint": self.mountpoint}))
            pyfuse3.close(unmount=True)
            self._catch_up()
            if self.watch is not None:
                self.watch.close()
            if self._locks is not None:
                self._locks.close()
            self.backing.close()
            self._callers.close()

    async def _first_answer(self, task_status: trio.TaskStatus[None]) -> None:
        """The first answer through the kernel, asked for by a thread since this one has to give it."""
        await trio.to_thread.run_sync(os.stat, self.mountpoint, abandon_on_cancel=True)
        self._tell_library(absent=True)
        self._bus.publish(SemanticEvent("system.mounted", attrs={"mountpoint": self.mountpoint, "io": self.mode}))
        log.info("mounted on %s: %s", self.mountpoint, self.mode)
        gc.freeze()  # what start-up made stays; a collection need not look at it again
        task_status.started()

    def _start_watch(self) -> None:
        self._believe(LONG)
        if self.options.exclusive:
            return
        try:
            source = watch_sources.best(self.backing, self.cache, self._unwatched)
        except OSError as error:
            self._unwatched(f"the source cannot be watched ({error.strerror})")
            return
        self.watch = Watch(self.backing, self.cache, source)
        if not source.writes and self.options.attr_timeout is None:
            self.backing.timeouts.file = SHORT
        self._tell_library(absent=False)

    def _unwatched(self, reason: str) -> None:
        """Not every change behind our back is noticed (any more): let the kernel ask often, from now on."""
        if self._believed != SHORT:
            log.warning("%s: changes made there behind the mount's back show after %g s", reason, SHORT)
        self._believe(SHORT)
        self.cache.everything()

    def _believe(self, seconds: float) -> None:
        options, timeouts = self.options, self.backing.timeouts
        timeouts.entry = seconds if options.entry_timeout is None else options.entry_timeout
        timeouts.attr = timeouts.file = seconds if options.attr_timeout is None else options.attr_timeout
        timeouts.listings = seconds == LONG
        self._believed = seconds
        self._tell_library(absent=False)

    def _tell_library(self, *, absent: bool) -> None:
        """What the kernel may believe; of names that are absent only where it can be told to forget them all."""
        if NATIVE is None:
            return
        told, timeouts = NATIVE.timeouts, self.backing.timeouts
        told.entry, told.attr, told.file = timeouts.entry, timeouts.attr, timeouts.file
        told.absent = timeouts.entry if absent and self._believed == LONG and self.cache.drops_names() else 0.0

    def _operations(self) -> Operations:
        directories = self._directories = Directories(
            self.backing, self.interest, self._tree.entry if self.options.show_control else None
        )
        self._files = Files(self.backing, self.interest)
        guarding = None if self._guards is None else Guarding(self._guards, self.backing)
        families: Sequence[object] = (
            Namespace(self.backing),
            Attributes(self.backing),
            self._files,
            directories,
        )
        if NATIVE is not None:
            self.backing.observer.before = self._catch_up
            answers = self._answers = Answers(NATIVE.libfuse)
            Extra(self.backing, directories, NATIVE, self._tree.names, guarding, answers)
            ExtraAttributes(self.backing, NATIVE, self._tree.getattr, guarding, answers)
            if self.options.shared_locks:
                self._locks = Locks(self.backing, NATIVE, answers)
            NATIVE.on_data(self._files.told)
            NATIVE.settle(self._catch_up)
            self._hearing = Hearing(self._bus, self.interest, self.inodes, NATIVE)
            mine = self.backing.credentials
            NATIVE.act_as_others(mine.uid, mine.gid, mine.bits, allowed=mine.switches)
            if self._guards is not None:
                self._guards.on_switch(NATIVE.judge_writes)
        elif self.options.shared_locks:
            log.warning("locks hold among the users of the mount only: sharing them takes the native library")
        operations = Operations(self.backing, families, self._tree, guarding)
        if NATIVE is not None:
            Direct(families, NATIVE, guarding, operations.failed, self._bus)
        return operations

    def _idle(self) -> None:
        """No request waits: do what was put off, if it is more than to know what the native library knows already."""
        if NATIVE is None:
            return
        if self._hearing is not None:
            self._hearing.refresh()
        if NATIVE.table.crowded:
            NATIVE.owed.value = 1
            self._catch_up()
        elif NATIVE.put_off:
            self._catch_up()
        elif NATIVE.owed.value and time.monotonic() > self._counted_at + COUNTED:
            self._count_unheard(NATIVE)

    def _catch_up(self, ino: int = 0) -> None:
        """Do the releases and forgets that the native library has answered already, and take over the files that it has
        open of the inode with this number.
        """
        if NATIVE is None or self._files is None or self._directories is None:
            return
        if not NATIVE.owed.value:
            return
        NATIVE.owed.value = 0
        self.inodes.follow()
        if ino:
            self._files.take_over(NATIVE, ino, 0)
        self._count_unheard(NATIVE)
        for number, lookups in NATIVE.deferred():
            try:
                if lookups:
                    self.inodes.forget(self.inodes[number], lookups)
                elif number > DIRECTORIES:
                    self._directories.close(number)
                else:
                    self._files.close(number)
            except Exception as error:  # nobody waits for an answer
                code_of(error)

    def _count_unheard(self, native: Native) -> None:
        self._counted_at = time.monotonic()
        for name, count in native.unheard():
            self._bus.skip(name, count)

    def _answer(self) -> None:
        """Let the native library answer what nobody hears of; asked whenever somebody begins to listen, or ceases."""
        if NATIVE is None:
            return
        self._count_unheard(NATIVE)
        if self.backing.observer.noted is not None:  # each lookup and listing is of interest
            NATIVE.answer((), absent=not self.backing.observer.failures)
            return
        forced = self.interest.forced
        unheard = [name for name in ANSWERED if not self._bus.heard(name) and name not in forced]
        absent = not self.options.failed_events and ("failed" not in self._bus.details or "meta.lookup" in unheard)
        NATIVE.answer(unheard, absent=absent)

    def _fuse_options(self) -> frozenset[str]:
        given = self.options.fuse
        names = {option.partition("=")[0] for option in given}
        extra = {"subtype=vexfs"}
        if {"allow_other", "allow_root"} & names:
            extra.add("default_permissions")  # the kernel judges each caller; otherwise only our own user comes in
        if "fsname" not in names:
            extra.add("fsname=vexfs")
        if os.geteuid() == 0:  # as the backing directory, whose devices and set-uid programs work
            extra |= {plain for plain in ("dev", "suid") if not {plain, f"no{plain}"} & names}
        return given | extra

    def _interrupted(self, fh: int) -> None:
        interrupt = getattr(self._tree, "interrupt", None)
        if interrupt is not None:
            interrupt(fh)


def _descriptor_budget() -> int:
    """Raise the limit as far as it goes; seven tenths of it are for inodes, the rest for open files and the process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (1 << 20, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
            break
        except (ValueError, OSError):
            continue
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft * 7 // 10
