"""A mount's life: start the engine, then the session; obey signals and `quit`; end both in order."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Callable
from typing import Final

import trio

from automation import logs
from automation.errors import VexError, WorldError
from automation.service import Service
from automation.workspace import KernelCache
from vexfs_fuse import notify
from vexfs_fuse.session import Session

log: Final = logging.getLogger(__name__)
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SETTLING: Final = 30.0  # seconds after the grace time, in which what was cancelled is compensated and all is written


class LateCache:
    """The kernel's cache before there is a session, and nothing is cached; set `target` as soon as there is one."""

    def __init__(self) -> None:
        self.target: KernelCache | None = None

    def entry(self, parent: str, name: str) -> None:
        """`name` in the directory `parent` means something else now."""
        if self.target is not None:
            self.target.entry(parent, name)

    def content(self, path: str) -> None:
        """The attributes or content of `path` changed."""
        if self.target is not None:
            self.target.content(path)


class Server:
    """Joins a service and a session until one of five things ends them: SIGINT, SIGTERM, `quit`, an unmount, an error.

    Running workflows then have `grace` seconds, while the mount still answers (unless it is gone already). A second
    SIGINT or SIGTERM cancels them, a third does not wait for their compensation. SIGHUP reads the definitions anew.
    """

    def __init__(self, service: Service, session: Session, grace: float) -> None:
        self._service: Final = service
        self._session: Final = session
        self._grace: Final = grace
        self._signals = 0
        self._started = False
        self._ending: Final = trio.Event()
        self._starting: Final = trio.CancelScope()
        self._shutdown: Final = trio.CancelScope()

    async def run(self, announce: Callable[[], None]) -> None:
        """Serve until the end; `announce` is called once, when the mount answers. Leaves no task, process or mount."""
        with trio.open_signal_receiver(*SIGNALS) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals)
                nursery.start_soon(self._quit)
                with self._starting:
                    await nursery.start(self._serve, nursery)
                    notify.ready(self._status)
                    announce()
                    await self._ending.wait()
                await self._end()
                nursery.cancel_scope.cancel()

    async def _serve(self, engine: trio.Nursery, *, task_status: trio.TaskStatus[None]) -> None:
        """The session; the engine starts when the mount is in place but has not answered anything."""
        try:
            await self._session.run(before=lambda: self._start(engine), task_status=task_status)
        except RuntimeError as error:  # how pyfuse3 reports what libfuse refused; libfuse has written why to stderr
            raise WorldError(f"{self._session.mountpoint} could not be mounted: {error}") from error
        finally:
            self._ending.set()

    async def _start(self, engine: trio.Nursery) -> None:
        self._started = True
        await engine.start(self._service.run)
        if self._service.hosting is not None:
            await engine.start(self._service.hosting.run)

    async def _end(self) -> None:
        """The engine first, since its last effects still want the mount; then the mount."""
        notify.stopping(f"running workflows have {self._grace:g} s", self._grace + SETTLING)
        if self._started:
            with self._shutdown:
                if self._service.hosting is not None:
                    await self._service.hosting.shutdown(self._grace)
                await self._service.shutdown(self._grace)
                await self._session.drain()
        self._session.stop()

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGHUP:
                await self._reload()
                continue
            self._signals += 1
            if self._signals == 1:
                log.info("%s: ending, running workflows have %g s", signal.Signals(number).name, self._grace)
                self._ending.set()
                self._starting.cancel()
            elif self._signals == 2:
                self._cancel_runs()
            else:
                self._shutdown.cancel()

    def _cancel_runs(self) -> None:
        services = (self._service, *self._service.tenants.values())
        active = [(service.runner, run) for service in services for run in service.runner.active]
        log.warning("a second signal: %d running workflows are cancelled", len(active))
        for runner, run in active:
            runner.cancel(run, "VexFS stops at once")

    async def _quit(self) -> None:
        await self._service.quit_requested.wait()
        self._ending.set()

    @property
    def _status(self) -> str:
        return f"{self._session.mountpoint} is mounted"

    async def _reload(self) -> None:
        notify.reloading()
        logs.reopen()
        for service in (self._service, *self._service.tenants.values()):
            try:
                await service.library.reload()
            except VexError as error:
                log.warning("the definitions could not be reloaded: %s", error)
        notify.ready(self._status)
