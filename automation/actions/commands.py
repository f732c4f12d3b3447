"""Child processes of automations: started, watched, attributed, ended.

A child may use the mount, so this process never waits for it in the loop: a shell outside the mount is what is
started, in a thread; the shell waits for one line, by which time its session is known to `Commands`, and only then
enters the directory and becomes the program. Of a user's command the line has the environment that its definition
gives: before the shell is the user's own process, that could make it do something as us.

What the operator's commands leave behind goes on, in their group until the mount ends. A user's command has a keeper,
who leaves nothing behind: it would use what nobody measures.
"""

from __future__ import annotations

import math
import os
import re
import resource
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import trio

from automation.actions.leash import Leash
from automation.errors import TimedOut, WorldError
from automation.events import Cause
from automation.identity import EVERYWHERE, Identity, Territory
from automation.scripts.quota import Meter, WorkerQuota

KEPT_OUTPUT: Final = 64 << 10  # bytes of each of stdout and stderr
_LIMITS: Final = {  # what prlimit(1) calls them
    resource.RLIMIT_CPU: "cpu",
    resource.RLIMIT_AS: "as",
    resource.RLIMIT_NOFILE: "nofile",
    resource.RLIMIT_NPROC: "nproc",
    resource.RLIMIT_FSIZE: "fsize",
}
NO_LIMITS: Final[Mapping[int, int]] = MappingProxyType({})
AFTERGLOW: Final = 10.0  # seconds for which the mount still looks for effects of a finished command
_REMEMBERED: Final = 256  # finished sessions
_GRACE: Final = 2.0  # seconds between SIGTERM and SIGKILL
_DRAIN: Final = 0.5  # seconds for output still in the pipes when a background process holds them open
_SHELL: Final = "/bin/sh"
_REFUSAL: Final = re.compile(rb"vexfs: (?:line )?\d+: (?:exec: |cd: )?(.*)", re.DOTALL)  # what that shell says
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")  # of a variable that a shell can export
_LAUNCH: Final = (
    'IFS= read -r vexfs_line || exit 125; eval "$vexfs_line"; umask 022; cd -- "$1" || exit 126; shift 2; exec "$@"'
)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended: `exit_code` is negative for a signal; of longer outputs the first bytes of stdout and the
    last ones of stderr are kept."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    stdout_bytes: int
    stderr_bytes: int
    seconds: float


@dataclass(slots=True)
class _Session:
    """Of a command, or of its keeper, who is on the leash."""

    cause: Cause
    leash: Leash | None
    ended: float | None = None

    def signal(self, sid: int, number: signal.Signals) -> None:
        """To the whole group; SIGKILL to all that is kept."""
        if self.leash is None:
            _signal(sid, number)
        elif number == signal.SIGKILL:
            self.leash.cut()
        else:
            self.leash.signal(number)


class _Output:
    """Reads a pipe to its end and keeps `most` bytes, the first or the last."""

    def __init__(self, stream: trio.abc.ReceiveStream, most: int, *, tail: bool) -> None:
        self._most: Final = most
        self.total = 0
        self.kept = bytearray()
        self._stream: Final = stream
        self._tail: Final = tail

    async def drain(self) -> None:
        async for chunk in self._stream:
            self.total += len(chunk)
            if self._tail:
                self.kept += chunk
                del self.kept[: -self._most]
            else:
                self.kept += chunk[: self._most - len(self.kept)]


class Commands:
    """Runs commands and knows which session belongs to which automation.

    With an `identity` they run as that user, without any way to other rights, and begin in its `territory`, or in `/`.
    Each child has a session and a group of its own, umask 022, `VEXFS_CAUSE=run:workflow:depth` and `VEXFS_MOUNT` in
    its environment, and is killed with its whole group on timeout, cancellation and `aclose`, one with an identity with
    all its descendants, and when it ends, and when this process does. What they compute is of the `quota`, beyond which
    no process goes.
    """

    def __init__(
        self,
        mountpoint: str,
        *,
        identity: Identity | None = None,
        territory: Territory = EVERYWHERE,
        quota: WorkerQuota | None = None,
    ) -> None:
        self.mountpoint: Final = mountpoint
        self.quota: Final = quota or WorkerQuota()
        self._identity: Final = identity
        self._territory: Final = territory
        self._sessions: Final[dict[int, _Session]] = {}
        self._survivors: set[int] = set()  # groups that outlive the command that started them
        self._starting: Final[list[Cause]] = []  # of children that may call already, and whose number is not known yet
        self._running = 0
        self._until = 0.0

    @property
    def active(self) -> bool:
        """Whether a child is running, in the background too, or ended less than 10 s ago. Cheap: asked per request."""
        if self._running or self._starting or time.monotonic() < self._until:
            return True
        self._survivors = {sid for sid in self._survivors if _alive(sid)}
        return bool(self._survivors)

    def cause_of_session(self, sid: int) -> Cause | None:
        """The cause of the command that leads session `sid`, also after its end while others of it live on."""
        session = self._sessions.get(sid)
        if session is None:
            return None
        fresh = session.ended is None or session.ended > time.monotonic() - AFTERGLOW
        return session.cause if fresh or (sid in self._survivors and _alive(sid)) else None

    def cause_of_run(self, run: str) -> Cause | None:
        """The cause of a run's commands: for a process that left their session or has just begun, and names it."""
        known = [*self._starting, *(session.cause for session in self._sessions.values())]
        return next((cause for cause in known if cause.run == run), None)

    async def run(
        self,
        argv: Sequence[str],
        *,
        cause: Cause,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float | None = None,  # noqa: ASYNC109 - it ends the process group, not only the wait
        environment: Mapping[str, str] = os.environ,
        limits: Mapping[int, int] = NO_LIMITS,
        output: int = KEPT_OUTPUT,
    ) -> Finished:
        """Run to the end. `cwd` is relative to the mount unless it begins with `/`. `env` is added to `environment`;
        `limits` are resource limits (`resource.RLIMIT_…`); of each output `output` bytes are kept.

        TimedOut after `timeout` seconds, WorldError when it cannot be started, QuotaExceeded when no CPU time is left
        before or meanwhile.
        """
        started, cpu = trio.current_time(), self.quota.cpu
        if cpu is not None:
            cpu.require()
            most = max(1, math.ceil(cpu.left))
            limits = {**limits, resource.RLIMIT_CPU: min(most, limits.get(resource.RLIMIT_CPU, most))}
        given = {name: value for name, value in (env or {}).items() if name not in ("VEXFS_CAUSE", "VEXFS_MOUNT")}
        if self._identity is None:
            line, surroundings = b"\n", {**environment, **given}
        else:
            line, surroundings = _exports(given), self._identity.surroundings(environment)
        process = await self._start(argv, cause, cwd, surroundings, limits)
        stdout = _Output(_stream(process.stdout), output, tail=False)
        stderr = _Output(_stream(process.stderr), output, tail=True)
        session, meter = self._sessions[process.pid], Meter(self.quota, process.pid)
        try:
            if self._identity is None:  # it waits for its first line, and is still our shell
                for limit, most in limits.items():
                    resource.prlimit(process.pid, limit, _bounds(limit, most))
            with trio.fail_after(timeout) if timeout is not None else trio.CancelScope():
                await meter.metered(lambda: self._attend(process, line + stdin, stdout, stderr))
        except (OSError, ValueError) as error:
            raise WorldError(f"cannot limit '{argv[0]}': {error}") from error
        except trio.TooSlowError:
            raise TimedOut(f"'{argv[0]}' took longer than {timeout:g} s and was stopped") from None
        finally:
            await self._end(process, session, meter)
        exit_code = process.returncode
        assert exit_code is not None
        refusal = _REFUSAL.match(stderr.kept)
        if exit_code == -signal.SIGXCPU:
            self.quota.require()
            raise TimedOut(f"'{argv[0]}' used up its {limits.get(resource.RLIMIT_CPU)} s of CPU time and was stopped")
        if exit_code in (125, 126, 127) and refusal:
            raise WorldError(f"cannot run '{argv[0]}': {_text(refusal[1]).strip()}")
        seconds = trio.current_time() - started
        return Finished(exit_code, bytes(stdout.kept), bytes(stderr.kept), stdout.total, stderr.total, seconds)

    async def aclose(self) -> None:
        """Kill whatever is left of any command, background processes included."""
        for sid, session in self._sessions.items():
            if session.ended is None or (sid in self._survivors and not _exists(sid)):
                session.signal(sid, signal.SIGKILL)
        self._sessions.clear()
        self._survivors.clear()
        await trio.lowlevel.checkpoint()

    async def _start(
        self, argv: Sequence[str], cause: Cause, cwd: str, env: Mapping[str, str], limits: Mapping[int, int]
    ) -> trio.Process:
        self._require(cwd)
        command = [_SHELL, "-c", _LAUNCH, "vexfs", os.path.join(self.mountpoint, cwd), "\n", *argv]
        environment = {
            **env,
            "VEXFS_CAUSE": f"{cause.run}:{cause.workflow}:{cause.depth}",
            "VEXFS_MOUNT": self.mountpoint,
        }
        if any("\0" in text for text in (*command, *environment.values(), *environment)):
            raise WorldError(f"cannot run '{argv[0]}': an argument holds a NUL")
        leash = None if self._identity is None else Leash()
        self._starting.append(cause)
        with trio.CancelScope(shield=True):  # never lose a child between its start and our knowing it
            try:
                if self._identity is not None and leash is not None:
                    command = leash.words(self._identity.command(_limited(command, limits)))
                process = await trio.lowlevel.open_process(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=environment,
                    start_new_session=True,
                    cwd=None if self._identity is None else "/",
                    pass_fds=() if leash is None else leash.fds,
                )
            except (OSError, ValueError) as error:
                if leash is not None:
                    leash.cut()
                raise WorldError(f"cannot run '{argv[0]}': {error}") from error
            else:
                self._remember(process.pid, cause, leash)
                if self._identity is not None:
                    self._identity.yield_to_others(process.pid)
                self._hand_over(process)
                if leash is not None:
                    leash.let()
            finally:
                self._starting.remove(cause)
        return process

    def _hand_over(self, process: trio.Process) -> None:
        """The pipes are the user's: `/dev/stderr` is opened like a file."""
        if self._identity is not None and os.geteuid() == 0:
            for stream in (process.stdin, process.stdout, process.stderr):
                if isinstance(stream, trio.lowlevel.FdStream):
                    os.fchown(stream.fileno(), self._identity.uid, self._identity.gid)

    def _require(self, cwd: str) -> None:
        inside = not cwd.startswith("/")
        if not (self._territory.holds(cwd) if inside else self._territory.everywhere or cwd == "/"):
            raise WorldError(f"cannot run a command in '{cwd}': it is not in the territory of this tenant")

    async def _attend(self, process: trio.Process, given: bytes, stdout: _Output, stderr: _Output) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, process, given)
            nursery.start_soon(stdout.drain)
            nursery.start_soon(stderr.drain)
            await _ended(process)
            nursery.cancel_scope.deadline = trio.current_time() + _DRAIN

    async def _end(self, process: trio.Process, session: _Session, meter: Meter) -> None:
        with trio.CancelScope(shield=True):
            if not _is_over(process.pid):
                session.signal(process.pid, signal.SIGTERM)
                session.signal(process.pid, signal.SIGCONT)  # a stopped process would not see it
                with trio.move_on_after(_GRACE):
                    await _ended(process)
                session.signal(process.pid, signal.SIGKILL)
                await _ended(process)
            if session.leash is not None:
                session.leash.cut()
            meter.charge()  # while it is there to be asked
            await process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()
        now = time.monotonic()
        self._running -= 1
        self._until = now + AFTERGLOW
        if process.pid in self._sessions:  # not closed meanwhile
            session.ended = now
            if _alive(process.pid):
                self._survivors.add(process.pid)

    def _remember(self, sid: int, cause: Cause, leash: Leash | None) -> None:
        ended = [sid for sid, session in self._sessions.items() if session.ended and sid not in self._survivors]
        for old in ended[: max(0, len(ended) - _REMEMBERED)]:
            del self._sessions[old]
        self._sessions[sid] = _Session(cause, leash)
        self._survivors.discard(sid)
        self._running += 1


def _bounds(limit: int, most: int) -> tuple[int, int]:
    """The soft and the hard limit: at the hard one of CPU time a process is killed without a word."""
    return most, most + (1 if limit == resource.RLIMIT_CPU else 0)


def _limited(command: Sequence[str], limits: Mapping[int, int]) -> list[str]:
    """The words that run a command so that it limits itself: to limit a user's process takes a capability that root has
    not everywhere. No user raises what bounds this process.
    """
    words = []
    for limit, most in limits.items():
        ours = resource.getrlimit(limit)[1]
        soft, hard = (one if ours == resource.RLIM_INFINITY else min(one, ours) for one in _bounds(limit, most))
        words.append(f"--{_LIMITS[limit]}={soft}:{hard}")
    return ["prlimit", *words, "--", *command] if words else list(command)


def _exports(variables: Mapping[str, str]) -> bytes:
    """The line with which the shell of `_LAUNCH` exports them; its `$2` is a line feed."""
    words = []
    for name, value in variables.items():
        if not _NAME.match(name):
            raise WorldError(f"cannot set {name!r}: the name of a variable is of letters, digits and '_'")
        if "\0" in value:
            raise WorldError(f"cannot set '{name}': its value holds a NUL")
        words.append(f"{name}={shlex.quote(value)}".replace("\n", "'\"$2\"'"))
    return os.fsencode(f"export {' '.join(words)}" if words else "") + b"\n"


async def _ended(process: trio.Process) -> None:
    """Wait for the end of a process, which stays to be waited for: until then it can be asked what it has used."""
    fd = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


def _is_over(pid: int) -> bool:
    """Whether a process that nobody has waited for has ended."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


async def _feed(process: trio.Process, data: bytes) -> None:
    stream = process.stdin
    assert stream is not None
    with suppress(trio.BrokenResourceError):  # the program does not read its input
        await stream.send_all(data)
    await stream.aclose()


def _stream(stream: trio.abc.ReceiveStream | None) -> trio.abc.ReceiveStream:
    assert stream is not None
    return stream


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _exists(leader: int) -> bool:
    """Whether there is a process of that number: once the leader of a group is reaped, it would be a stranger."""
    return os.path.exists(f"/proc/{leader}")


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _text(data: bytes | bytearray) -> str:
    return bytes(data).decode("utf-8", "replace")
