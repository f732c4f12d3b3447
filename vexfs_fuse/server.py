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

    Running workflows then have `grace` seconds, while the mount still answers (unless it is gone already); a second
    SIGINT or SIGTERM ends the grace. SIGHUP reads the definitions anew.
    """

    def __init__(self, service: Service, session: Session, grace: float) -> None:
        self._service: Final = service
        self._session: Final = session
        self._grace: Final = grace
        self._ending: Final = trio.Event()
        self._starting: Final = trio.CancelScope()
        self._patience: Final = trio.CancelScope()

    async def run(self, announce: Callable[[], None]) -> None:
        """Serve until the end; `announce` is called once, when the mount answers. Leaves no task, process or mount."""
        with trio.open_signal_receiver(*SIGNALS) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals)
                nursery.start_soon(self._quit)
                with self._starting:
                    await nursery.start(self._service.run)
                    await nursery.start(self._serve)
                    notify.ready(f"{self._session.mountpoint} is mounted")
                    announce()
                    await self._ending.wait()
                await self._end()
                nursery.cancel_scope.cancel()

    async def _end(self) -> None:
        """The engine first, since its last effects still want the mount; then the mount."""
        notify.stopping(f"running workflows have {self._grace:g} s")
        with self._patience:
            await self._service.shutdown(self._grace)
        if self._patience.cancelled_caught:
            log.warning("a second signal: running workflows are cancelled")
            await self._service.shutdown(0)
        self._session.stop()

    async def _serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            await self._session.run(task_status=task_status)
        except RuntimeError as error:  # how pyfuse3 reports what libfuse refused; libfuse has written why to stderr
            raise WorldError(f"{self._session.mountpoint} could not be mounted: {error}") from error
        finally:
            self._ending.set()

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGHUP:
                await self._reload()
            elif self._ending.is_set():
                self._patience.cancel()
            else:
                log.info("%s: ending, running workflows have %g s", signal.Signals(number).name, self._grace)
                self._ending.set()
                self._starting.cancel()

    async def _quit(self) -> None:
        await self._service.quit_requested.wait()
        self._ending.set()

    async def _reload(self) -> None:
        notify.reloading()
        logs.reopen()
        try:
            await self._service.library.reload()
        except VexError as error:
            log.warning("the definitions could not be reloaded: %s", error)
        notify.ready(f"{self._session.mountpoint} is mounted")
