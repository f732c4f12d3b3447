"""As whom automations act, and where: the user of a tenant, and its part of the tree.

A thread that acts as somebody takes their user, group and groups for the file system (setfsuid(2), of this thread
only) and gives up every effective capability, so that the kernel judges each call on the backing tree as it would one
of theirs: with a capability left, the owner of a file, its mode or `security.*` attributes would not bind it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import pwd
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from automation.errors import CallerError

_VERSION: Final = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
NICE: Final = 10  # of the processes of a tenant
_SHARED: Final = ("PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ")
_TRIES: Final = 100
_AS_WE_ARE: Final = nullcontext()
_SETGROUPS: Final = {"x86_64": 116, "aarch64": 159, "riscv64": 159, "loongarch64": 159, "ppc64le": 81, "s390x": 206}
"""The C library's setgroups(3) is one of all threads: the bare system call is that of one."""

_libc: Final = ctypes.PyDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


class _Rights(NamedTuple):
    """What a thread acts with: capabilities are the two halves of the effective set."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    effective: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, a group and the further groups, by number."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @classmethod
    def of_user(cls, user: str | int) -> Identity:
        """That of a login of the user, by name or number; CallerError when there is none."""
        try:
            entry = pwd.getpwuid(int(user)) if str(user).isdecimal() else pwd.getpwnam(str(user))
        except (KeyError, OverflowError):
            raise CallerError(f"there is no user {user!r} on this machine") from None
        groups = set(os.getgrouplist(entry.pw_name, entry.pw_gid)) - {entry.pw_gid}
        return cls(entry.pw_uid, entry.pw_gid, tuple(sorted(groups)))

    @property
    def possible(self) -> bool:
        """Whether this process may act as it."""
        return os.geteuid() in (0, self.uid)

    @property
    def advice(self) -> str:
        """What is missing where it is not possible."""
        return f"to act as the user {self.uid}, VexFS has to run as root"

    @property
    def environment(self) -> dict[str, str]:
        """What a login of the user would begin with, as far as it is about the user."""
        try:
            entry = pwd.getpwuid(self.uid)
        except KeyError:
            name, home, shell = str(self.uid), "/", "/bin/sh"
        else:
            name, home, shell = entry.pw_name, entry.pw_dir, entry.pw_shell or "/bin/sh"
        session = f"/run/user/{self.uid}"
        own = {"XDG_RUNTIME_DIR": session} if os.path.isdir(session) else {}
        return {"USER": name, "LOGNAME": name, "HOME": home, "SHELL": shell, **own}

    @contextmanager
    def assumed(self) -> Iterator[None]:
        """This thread acts as the user within, whatever happens there. PermissionError where it may not.

        To assume it again within does nothing. A thread that could not be itself again ends the process: the next
        job of its pool would act as somebody else.
        """
        if self.uid == os.geteuid() or _fsuid() == self.uid:
            yield
            return
        if not self.possible:
            raise PermissionError(0, self.advice)
        ours = _rights()
        try:
            _take(_Rights(self.uid, self.gid, self.groups, (0, 0)))
            yield
        finally:
            _resume(ours)

    @contextmanager
    def laid_aside(self) -> Iterator[None]:
        """The thread is itself for a moment: to start a process, which then takes the identity for good."""
        if self.uid == os.geteuid() or _fsuid() != self.uid:
            yield
            return
        theirs = _rights()
        try:
            _resume(_Rights(os.geteuid(), os.getegid(), theirs.groups, _permitted()))
            yield
        finally:
            _resume(theirs)

    def command(self, argv: Sequence[str]) -> list[str]:
        """The words that run a program as the user, so that nothing (set-uid bits, capabilities of files) can give it
        rights. The first of them is run as we are: its environment must be nobody's choice, as `surroundings` is.

        Were the user `subprocess`'s to set, it would copy this process, for which all stood still for milliseconds.
        """
        program = shutil.which("setpriv")
        if program is None:
            raise FileNotFoundError(0, "to act as a user needs the program setpriv: install the package util-linux")
        user: list[str] = []
        if os.geteuid() == 0:
            groups = f"--groups={','.join(map(str, self.groups))}" if self.groups else "--clear-groups"
            user = [f"--reuid={self.uid}", f"--regid={self.gid}", groups]
        return [program, *user, "--no-new-privs", "--", *argv]

    def surroundings(self, ours: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The environment of a process of it: of our own what is nobody's, and what a login of the user has."""
        return {name: ours[name] for name in _SHARED if name in ours} | self.environment

    def yield_to_others(self, pid: int) -> None:
        """Let a process of it come after others': the mount's own, and those of whoever is not a tenant."""
        with suppress(OSError):  # it may have ended
            os.setpriority(os.PRIO_PROCESS, pid, NICE)
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
        with suppress(OSError), open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as file:
            file.write(str(NICE))  # where each session is weighed as one

    def started(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """A process of this identity, from a thread that may act as it."""
        command = self.command(argv)
        with self.laid_aside():
            process = subprocess.Popen(command, **{**options, "env": self.surroundings(), "cwd": "/"})
            self.yield_to_others(process.pid)
            return process


def acting(identity: Identity | None) -> AbstractContextManager[None]:
    """This thread acts as somebody within; None is as it is."""
    return _AS_WE_ARE if identity is None else identity.assumed()


def resting(identity: Identity | None) -> AbstractContextManager[None]:
    """This thread is itself for a moment within, should it act as somebody."""
    return _AS_WE_ARE if identity is None else identity.laid_aside()


def _fsuid() -> int:
    return int(_libc.setfsuid(-1))


def _fsgid() -> int:
    return int(_libc.setfsgid(-1))


def _rights() -> _Rights:
    first, second = _capabilities()
    return _Rights(_fsuid(), _fsgid(), tuple(os.getgroups()), (first.effective, second.effective))


def _permitted() -> tuple[int, int]:
    first, second = _capabilities()
    return first.permitted, second.permitted


def _capabilities() -> tuple[_Sets, _Sets]:
    sets = (_Sets * 2)()
    _checked(_libc.capget(ctypes.byref(_Header(_VERSION, 0)), sets), "capget")
    return sets[0], sets[1]


def _take(rights: _Rights) -> None:
    """Needs a thread whose user is root; PermissionError when it is not as it shall be afterwards."""
    _set_effective(_permitted())
    _set_groups(rights.groups)
    _libc.setfsgid(rights.gid)
    _libc.setfsuid(rights.uid)
    _set_effective(rights.effective)  # last: a change of user alters it, and what is above needs some
    if _rights() != rights:
        raise PermissionError(0, f"this thread may not act as the user {rights.uid}")


def _resume(rights: _Rights) -> None:
    """Without fail."""
    for _ in range(_TRIES):  # the kernel may be short of memory
        with suppress(OSError):
            return _take(rights)
    os.abort()


def _set_effective(effective: tuple[int, int]) -> None:
    first, second = _capabilities()
    sets = (_Sets * 2)(
        _Sets(effective[0] & first.permitted, first.permitted, first.inheritable),
        _Sets(effective[1] & second.permitted, second.permitted, second.inheritable),
    )
    _checked(_libc.capset(ctypes.byref(_Header(_VERSION, 0)), sets), "capset")


def _set_groups(groups: tuple[int, ...]) -> None:
    number = _SETGROUPS.get(platform.machine())
    if number is None:
        raise PermissionError(0, f"acting as a user is not possible on {platform.machine()}")
    array = (ctypes.c_uint32 * len(groups))(*groups)
    _checked(_libc.syscall(number, ctypes.c_size_t(len(groups)), array), "setgroups")


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


class Territory:
    """Which paths of the mount are somebody's: those at and below `included`, without those at and below `excluded`.

    Of several prefixes of a path the longest decides, an exclusion before an inclusion. The empty prefix is the root.
    """

    __slots__ = ("_excluded", "_included", "everywhere")

    def __init__(self, included: Iterable[str] = ("",), excluded: Iterable[str] = ()) -> None:
        self._included: Final = frozenset(map(_names, included))
        self._excluded: Final = frozenset(map(_names, excluded))
        self.everywhere: Final = () in self._included and not self._excluded

    def holds(self, path: str) -> bool:
        """Whether a path, relative to the mount, is in it; one with `..` never is."""
        if self.everywhere:
            return True
        try:
            names = _names(path)
        except ValueError:
            return False
        for count in range(len(names), -1, -1):
            if names[:count] in self._excluded:
                return False
            if names[:count] in self._included:
                return True
        return False

    def holds_all(self, path: str) -> bool:
        """Whether it and all that may be below it is in it."""
        if self.everywhere:
            return True
        if not self.holds(path):
            return False
        names = _names(path)
        return not any(one[: len(names)] == names for one in self._excluded)

    def within(self, path: str) -> list[str]:
        """Where to begin if all that is below `path` is looked for: there, or at each of its parts below."""
        if self.holds(path):
            return [path]
        names = _names(path)
        return ["/".join(one) for one in sorted(self._included) if one[: len(names)] == names]

    def __repr__(self) -> str:
        shown = [*("/" + "/".join(one) for one in sorted(self._included))]
        return " ".join(shown + [f"-/{'/'.join(one)}" for one in sorted(self._excluded)])


def _names(path: str) -> tuple[str, ...]:
    names = tuple(name for name in path.split("/") if name not in ("", "."))
    if ".." in names or "\0" in path:
        raise ValueError(f"a path may hold neither '..' nor a NUL: {path!r}")
    return names


EVERYWHERE: Final = Territory()
