"""What must hold before mounting; each refusal is a CallerError of one sentence that says what to do about it."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from automation.errors import CallerError, TimedOut, WorldError
from vexfs_fuse import mountinfo
from vexfs_fuse.errors import ENOTCONN
from vexfs_fuse.options import MountOptions

log: Final = logging.getLogger(__name__)

T = TypeVar("T")

CONTROL_NAME: Final = ".vexfs"
DEVICE: Final = "/dev/fuse"
FUSE_CONF: Final = "/etc/fuse.conf"
PROBE_SECONDS: Final = 5.0
STACK: Final = 16  # dead mounts on one mountpoint that a start clears away


@dataclass(frozen=True, slots=True)
class Place:
    """A source and a mountpoint that fit: absolute paths, and the source's directory as a descriptor opened before
    anything is mounted over it.
    """

    source: str
    mountpoint: str
    root_fd: int


def prepare(source: str, mountpoint: str, options: MountOptions, *, keep_out: dict[str, str] | None = None) -> Place:
    """Check everything, clear away a dead mount of our own, open the source.

    `keep_out` maps paths that the serving process itself uses to what they are; they may not lie under the mountpoint,
    since the process would wait for itself.
    """
    check_device()
    check_namespace()
    place = resolve(mountpoint)
    clear_dead(place)
    check_directory(source, "the source")
    check_directory(mountpoint, "the mountpoint")
    check_mountpoint(place)
    origin = os.path.realpath(source)
    over_itself = os.path.samefile(origin, place)
    if over_itself:
        origin = place
    else:
        check_outside(origin, place)
        check_empty(place, options)
    check_permissions(place, options)
    check_own_files(place, {**own_code(), **(keep_out or {})})
    root_fd = os.open(origin, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        check_control_name(root_fd, origin)
    except CallerError:
        os.close(root_fd)
        raise
    return Place(origin, place, root_fd)


def check_device() -> None:
    """Refuse where there is no FUSE at all."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError as error:
        raise CallerError(
            f"there is no {DEVICE}: load the kernel's module (modprobe fuse), in a container add the device"
        ) from error
    except OSError as error:
        raise CallerError(f"{DEVICE} cannot be opened ({error.strerror}): FUSE is not permitted here") from error
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        raise CallerError("mounting without being root needs fusermount3: install the package fuse3")


def check_namespace() -> None:
    """Refuse to be a service of systemd whose mounts nobody else sees: it would look well, and do nothing."""
    if "NOTIFY_SOCKET" not in os.environ:
        return
    try:
        alone = os.readlink("/proc/self/ns/mnt") != os.readlink("/proc/1/ns/mnt")
    except OSError:  # not root: the unit is the user's own
        return
    if alone:
        raise CallerError(
            "the unit gives VexFS a mount namespace of its own, and nobody else would see the mount: take away"
            " PrivateTmp=, PrivateDevices=, PrivateMounts=, ReadOnlyPaths=, and what else needs one (all of Protect...="
            " but ProtectClock= and ProtectHostname=)"
        )


def clear_dead(mountpoint: str) -> None:
    """Unmount what a crashed VexFS left on `mountpoint`; refuse a live mount that hangs, or another's dead one."""
    for _ in range(STACK):
        entry = mountinfo.topmost(mountpoint)
        if entry is None or not entry.fstype.startswith("fuse"):
            return
        if answers(mountpoint):
            return
        if not entry.ours:
            raise CallerError(
                f"a dead mount of type {entry.fstype} lies on {mountpoint}: unmount it first (umount {mountpoint})"
            )
        log.warning("clearing away a dead mount on %s", mountpoint)
        detach(mountpoint)


def resolve(path: str) -> str:
    """`path` absolute and without links, although a dead mount may lie on the way; CallerError if one hangs."""
    try:
        return within(PROBE_SECONDS, lambda: os.path.realpath(path))
    except TimedOut as error:
        raise CallerError(f"a mount on the way to {path} does not answer: unmount it first (umount -l)") from error


def answers(mountpoint: str) -> bool:
    """Whether somebody serves the FUSE mount at `mountpoint`; False when it is dead, CallerError when it hangs."""
    try:
        # statvfs is never cached; a stat may be, for a second after the server died.
        within(PROBE_SECONDS, lambda: os.statvfs(mountpoint))
    except TimedOut as error:
        raise CallerError(
            f"the mount on {mountpoint} does not answer: unmount it first (umount -l {mountpoint})"
        ) from error
    except OSError as error:
        return error.errno != ENOTCONN
    return True


def check_directory(path: str, what: str) -> None:
    """Refuse what is missing, no directory, or out of reach."""
    try:
        info = os.stat(path)
    except FileNotFoundError as error:
        raise CallerError(f"{what} {path} does not exist") from error
    except (OSError, ValueError) as error:
        raise CallerError(f"{what} {path} cannot be reached: {getattr(error, 'strerror', error)}") from error
    if not stat.S_ISDIR(info.st_mode):
        raise CallerError(f"{what} {path} is not a directory")
    if not os.access(path, os.R_OK | os.X_OK, effective_ids=True):
        raise CallerError(f"{what} {path} may not be read by this user")


def check_mountpoint(mountpoint: str) -> None:
    """Refuse a second mount on top of a live one."""
    entry = mountinfo.topmost(mountpoint)
    if entry is not None and entry.ours:
        raise CallerError(f"{mountpoint} is already mounted (from {entry.source}); vexfs unmount {mountpoint} ends it")


def check_outside(source: str, mountpoint: str) -> None:
    """Refuse a mountpoint inside the source: the tree would contain itself. Bind mounts and links do not hide it."""
    root = os.stat(source)
    above = mountpoint
    while (above := os.path.dirname(above)) not in ("/", ""):
        if os.path.samestat(root, os.stat(above)):
            raise CallerError(
                f"the mountpoint {mountpoint} lies inside the source {source}: mount elsewhere, or over the source"
            )
    if os.path.samestat(root, os.stat("/")):
        raise CallerError(f"the mountpoint {mountpoint} lies inside the source /: mount a directory below it")


def check_empty(mountpoint: str, options: MountOptions) -> None:
    """Refuse to hide files, unless `-o nonempty` asks for it."""
    if options.nonempty:
        return
    with os.scandir(mountpoint) as entries:
        if next(entries, None) is not None:
            raise CallerError(
                f"the mountpoint {mountpoint} is not empty, and a mount would hide what it holds (-o nonempty)"
            )


def check_permissions(mountpoint: str, options: MountOptions) -> None:
    """Refuse what fusermount3 would refuse a user who is not root, in better words."""
    if os.geteuid() == 0:
        return
    if not os.access(mountpoint, os.W_OK):
        raise CallerError(f"the mountpoint {mountpoint} may not be written by this user, so only root may mount there")
    wanted = options.fuse & {"allow_other", "allow_root"}
    if wanted and not _conf_allows():
        raise CallerError(f"-o {min(wanted)} needs the line user_allow_other in {FUSE_CONF} (or root)")
    privileged = options.fuse & {"suid", "dev"}
    if privileged:
        raise CallerError(f"-o {min(privileged)} is for root only")


def check_own_files(mountpoint: str, files: dict[str, str]) -> None:
    """Refuse a mountpoint above what this process reads or writes itself: it would wait for its own answer."""
    for path, what in files.items():
        if beneath(os.path.realpath(path), mountpoint):
            raise CallerError(
                f"{what} ({path}) lies under the mountpoint {mountpoint}, where VexFS would wait for itself"
            )


def check_control_name(root_fd: int, source: str) -> None:
    """Refuse a source that has a `.vexfs` of its own: the control tree would hide it."""
    try:
        os.lstat(CONTROL_NAME, dir_fd=root_fd)
    except FileNotFoundError:
        return
    raise CallerError(f"{source} holds an entry named {CONTROL_NAME}, the name of the control tree: rename it first")


def own_code() -> dict[str, str]:
    """Where the running program lives; Python reads it at any time (imports, tracebacks)."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return {here: "VexFS itself", sys.prefix: "its Python environment", sys.base_prefix: "Python"}


def beneath(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or lies below it, by their absolute names."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def detach(mountpoint: str, *, lazy: bool = True) -> None:
    """Take the mount off; `lazy` does so although it is in use. Raises WorldError with fusermount3's words."""
    command = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", mountpoint]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError as error:
        raise WorldError("fusermount3 is not installed: install the package fuse3") from error
    if done.returncode != 0:
        raise WorldError(done.stderr.strip().removeprefix("fusermount3: ") or f"{mountpoint} could not be unmounted")


def within(seconds: float, call: Callable[[], T]) -> T:
    """`call()` in a thread that a hung mount may keep; TimedOut after `seconds`. Its OSError is passed on."""
    results: list[T] = []
    errors: list[OSError] = []

    def work() -> None:
        try:
            results.append(call())
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimedOut(f"no answer within {seconds:g} s")
    return results[0]


def _conf_allows() -> bool:
    try:
        with open(FUSE_CONF, encoding="utf-8", errors="replace") as file:
            return any(line.split("#")[0].strip() == "user_allow_other" for line in file)
    except OSError:
        return False
