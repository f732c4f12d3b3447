"""Forked children: other users, other processes; what a child returns or raises comes back to its parent."""

import ctypes
import os
import pickle
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class User:
    """An unprivileged user to become: nobody on the machine needs to know it."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @property
    def owner(self) -> tuple[int, int]:
        """(uid, gid), as chown takes them."""
        return self.uid, self.gid


STAFF = 12100
ALICE = User(12001, 12001)
BOB = User(12002, 12002)
CAROL = User(12003, 12003, (STAFF,))


@dataclass(frozen=True, slots=True)
class Failure:
    """A child's uncaught exception: `place` ("open_flags.py:12 AssertionError") compares, `text` is for people."""

    place: str
    text: str


class ChildFailed(AssertionError):  # noqa: N818 - what has failed is the check
    """A child failed; `failure` says where."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


def become(user: User) -> None:
    """Take on a user's identity for good: supplementary groups, group, user; no capability remains."""
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    # Still "dumpable", else /proc/self/fd belongs to root and linking an unnamed file through it fails everywhere.
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)


def in_child(work: Callable[[], object], user: User | None = None, seconds: float = 90.0) -> object:
    """Run `work` in a forked child, as `user` if given; its result, or ChildFailed, or TimeoutError."""
    return Child(work, user).result(seconds)


def as_user(user: User, work: Callable[..., object], *arguments: object) -> object:
    """`work(*arguments)` as another user, in a child."""
    return in_child(lambda: work(*arguments), user)


def together(works: Sequence[Callable[[], object]]) -> list[object]:
    """Run several pieces of work at once, each in a child; results in order."""
    children = [Child(work) for work in works]
    return [child.result() for child in children]


class Child:
    """A forked child that computes one result; a process of its own group, killed when it takes too long."""

    def __init__(self, work: Callable[[], object], user: User | None = None) -> None:
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._read)
            _serve(work, user, write)
        os.close(write)

    def result(self, seconds: float = 60.0) -> object:
        """What the child returned; raises ChildFailed with its failure, or TimeoutError after `seconds`."""
        try:
            data = _read_all(self._read, seconds)
        except TimeoutError:
            self.kill()
            raise
        finally:
            os.close(self._read)
        os.waitpid(self.pid, 0)
        if not data:
            raise ChildFailed(Failure("died", "the child died without a result"))
        result = pickle.loads(data)
        if isinstance(result, Failure):
            raise ChildFailed(result)
        return result

    def kill(self) -> None:
        """Send SIGKILL; does not wait, since a child that hangs inside a mount ends only with the mount."""
        os.kill(self.pid, signal.SIGKILL)


class Steps:
    """A forked child that does one step each time it is told to: two processes in a fixed interleaving.

    `with Steps([lock, unlock]) as other: other.step()`. State between the steps lives in the child's closures; the
    child ends with the block, and so does what it has open.
    """

    def __init__(self, works: Sequence[Callable[[], object]], user: User | None = None) -> None:
        self._channel, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self._channel.close()
            _obey(works, user, theirs)
        theirs.close()

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        os.waitpid(self.pid, 0)

    def step(self) -> object:
        """Do the next step; its result, or ChildFailed."""
        self.begin()
        return self.finish()

    def begin(self) -> None:
        """Start the next step, which may block."""
        self._channel.send(b"!")

    def finish(self, seconds: float = 90.0) -> object:
        """The result of the step that began; TimeoutError when it takes too long."""
        self._channel.settimeout(seconds)
        data = self._channel.recv(1 << 20)
        if not data:
            raise ChildFailed(Failure("died", "the child died without a result"))
        result = pickle.loads(data)
        if isinstance(result, Failure):
            raise ChildFailed(result)
        return result

    def waits(self, seconds: float = 0.1) -> bool:
        """Whether the step that began has no result yet after `seconds`."""
        return not select.select([self._channel], [], [], seconds)[0]


def _obey(works: Sequence[Callable[[], object]], user: User | None, channel: socket.socket) -> None:
    """The child's whole life: a step for each byte, until the parent hangs up."""
    try:
        if user is not None:
            become(user)
        for work in works:
            if not channel.recv(1):
                break
            channel.send(pickle.dumps(_outcome(work)))
        channel.recv(1)
    finally:
        os._exit(0)


def _outcome(work: Callable[[], object]) -> object:
    try:
        return work()
    except BaseException as error:  # the parent must hear of it, whatever it is
        return _failure(error)


def _serve(work: Callable[[], object], user: User | None, write: int) -> None:
    """The child's whole life: become, work, report, end without running the parent's exit handlers."""
    try:
        try:
            if user is not None:
                become(user)
            message = pickle.dumps(work())
        except BaseException as error:  # the parent must hear of it, whatever it is
            message = pickle.dumps(_failure(error))
        with os.fdopen(write, "wb") as pipe:
            pipe.write(message)
    finally:
        os._exit(0)  # never on into the parent's tests, even when the parent has stopped listening


def _failure(error: BaseException) -> Failure:
    if isinstance(error, ChildFailed):
        return error.failure
    frames = traceback.extract_tb(error.__traceback__)
    in_checks = [frame for frame in frames if "/posix/" in frame.filename and "children.py" not in frame.filename]
    frame = (in_checks or frames)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno} {type(error).__name__}"
    return Failure(place, "".join(traceback.format_exception(error)))


def _read_all(fd: int, seconds: float) -> bytes:
    deadline, pieces = time.monotonic() + seconds, []
    while True:
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(f"no result within {seconds} s")
        piece = os.read(fd, 1 << 16)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
