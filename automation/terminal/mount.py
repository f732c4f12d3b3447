"""The control files of a mount, as the commands about runs use them."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Iterator
from typing import Any, Final

from automation.errors import CallerError, WorldError
from automation.terminal.place import control_of

FINISHED: Final = frozenset({"succeeded", "failed", "compensated", "compensation_failed", "cancelled"})
_BLOCK: Final = 1 << 18


class ControlFiles:
    """What is the caller's of `/.vexfs` of the mount at `mountpoint`. CallerError when there is none."""

    def __init__(self, mountpoint: str) -> None:
        self.path: Final = control_of(mountpoint)
        try:
            os.listdir(self.path)
        except PermissionError:
            raise CallerError(f"only the user who mounted {mountpoint}, and root, may see its runs") from None
        except FileNotFoundError as error:
            if os.path.lexists(self.path):
                raise CallerError(f"you are neither a tenant of {mountpoint} nor who mounted it") from None
            raise CallerError(f"{mountpoint} is no mount of VexFS that answers: {error.strerror}") from error
        except OSError as error:
            raise CallerError(f"{mountpoint} is no mount of VexFS that answers: {error.strerror}") from error

    def run_ids(self) -> list[str]:
        """Newest first."""
        return [entry.name for entry in os.scandir(os.path.join(self.path, "runs"))]

    def runs_of(self, workflow: str) -> list[str]:
        """Newest first; CallerError when there is no such workflow."""
        try:
            with open(os.path.join(self.path, "workflows", workflow, "runs"), encoding="utf-8") as file:
                return [line.split()[0] for line in file]
        except OSError:
            raise CallerError(f"there is no workflow {workflow!r} here") from None

    def trace(self, run: str) -> dict[str, Any]:
        """A run as JSON; CallerError when there is none of that identity."""
        try:
            with open(os.path.join(self.path, "runs", run, "trace"), encoding="utf-8") as file:
                found: dict[str, Any] = json.load(file)
        except FileNotFoundError:
            raise CallerError(f"there is no run {run} (any more)") from None
        except OSError as error:
            raise WorldError(f"the run {run} cannot be read: {error.strerror}") from error
        return found

    def traces(self, ids: Iterator[str]) -> Iterator[dict[str, Any]]:
        """Those of these runs that are still there."""
        for run in ids:
            try:
                yield self.trace(run)
            except CallerError:
                continue

    def command(self, line: str) -> str:
        """Do a line of `ctl`: what it answered. CallerError with the reason when it was refused."""
        fd = os.open(os.path.join(self.path, "ctl"), os.O_RDWR | os.O_CLOEXEC)
        try:
            os.write(fd, f"{line}\n".encode())
            return os.pread(fd, 1 << 16, 0).decode(errors="replace").strip()
        except OSError:
            raise CallerError(self._refusal()) from None
        finally:
            os.close(fd)

    def following(self, run: str, every: float) -> Iterator[dict[str, Any]]:
        """A run's trace now, after each of its events and at least every so many seconds; ends with the run."""
        fd = os.open(os.path.join(self.path, "events.d", "workflow"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            while True:
                trace = self.trace(run)
                yield trace
                if trace["status"] in FINISHED and trace["ended_ns"]:  # its end is recorded too
                    return
                _wait(fd, f'"run":"{run}"'.encode(), every)
        finally:
            os.close(fd)

    def _refusal(self) -> str:
        with open(os.path.join(self.path, "error"), encoding="utf-8", errors="replace") as file:
            first = file.readline().strip()
        return first.partition(" ctl: ")[2] or first


def _wait(fd: int, wanted: bytes, seconds: float) -> None:
    """Until a line with `wanted` comes, or the time is over."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and poll.poll(left * 1000):
        try:
            block = os.read(fd, _BLOCK)
        except BlockingIOError:
            continue
        if wanted in block or not block:
            return
