"""The kernel's door to the backing tree: every path is resolved beneath one directory descriptor, or refused.

All of this blocks and belongs in a thread. Errors are `OSError`; `OutsideError` is the one that says that a path, by a
symbolic link or otherwise, would have left the tree.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from automation.identity import EVERYWHERE, Identity, Territory

CONTROL_NAME: Final = b".vexfs"
TEMPORARY_PREFIX: Final = b".vexfs-tmp-"
TRASH_NAME: Final = TEMPORARY_PREFIX + b"trash"

NOREPLACE: Final = 1
EXCHANGE: Final = 2

_OPENAT2: Final = 437  # the same number on every architecture
_NO_MAGICLINKS: Final = 0x02
_NO_SYMLINKS: Final = 0x04
_BENEATH: Final = 0x08
_EXDEV: Final = 18  # how openat2 says "that leads out"
_RACES: Final = 64  # how often a lookup that a concurrent rename disturbed is tried again
_LONGEST: Final = 4000  # bytes in one lookup; PATH_MAX is 4096 with the final NUL

_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Root:
    """The directory that everything is beneath, what of it may be touched, and as whom (None: as this process)."""

    fd: int
    territory: Territory = EVERYWHERE
    identity: Identity | None = None

    def require(self, path: str, *, whole: bool = False) -> None:
        """OutsideError unless `path`, with `whole` all that may be below it too, may be touched."""
        if not self.territory.holds(path):
            raise OutsideError(0, f"'{path}' is not in the territory of this tenant", path)
        if whole and not self.territory.holds_all(path):
            raise OutsideError(0, f"below '{path}' is what is not in the territory of this tenant", path)


class OutsideError(OSError):
    """The path leads out of the tree."""


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _openat2(dir_fd: int, path: bytes, flags: int, mode: int, resolve: int) -> int:
    how = _How(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(_RACES):
        fd = _libc.syscall(_OPENAT2, dir_fd, path, ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0:
            return int(fd)
        number = ctypes.get_errno()
        if number == _EXDEV:
            raise OutsideError(number, "it leads out of the mount", path)
        error = OSError(number, os.strerror(number), path)
        if not isinstance(error, BlockingIOError | InterruptedError):
            break
    raise error


def split(path: str) -> tuple[bytes, ...]:
    """The names in a mount-relative path; extra slashes and `.` mean nothing, `..` is refused."""
    try:
        raw = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise OutsideError(0, "the path holds characters that no file name can hold", path) from None
    names = tuple(name for name in raw.split(b"/") if name not in (b"", b"."))
    if b".." in names or b"\0" in raw:
        raise OutsideError(0, "a path may hold neither '..' nor a NUL", path)
    if names and names[0] in (CONTROL_NAME, TRASH_NAME):
        raise OutsideError(0, f"automations do not touch /{names[0].decode()}", path)
    return names


def join(names: tuple[bytes, ...]) -> str:
    """The mount-relative path of `names`."""
    return b"/".join(names).decode("utf-8", "surrogateescape")


def child(path: str, name: bytes) -> str:
    """The path of the entry `name` in the directory `path`."""
    text = name.decode("utf-8", "surrogateescape")
    return f"{path}/{text}" if path else text


def _stretches(names: tuple[bytes, ...]) -> Iterator[bytes]:
    """`names` joined into relative paths that each fit one lookup, so that a path may be longer than PATH_MAX."""
    stretch: list[bytes] = []
    length = 0
    for name in names:
        if stretch and length + len(name) + 1 > _LONGEST:
            yield b"/".join(stretch)
            stretch, length = [], 0
        stretch.append(name)
        length += len(name) + 1
    yield b"/".join(stretch) or b"."


def open_beneath(root_fd: int, names: tuple[bytes, ...], flags: int, *, links: bool = True) -> int:
    """A descriptor for `names` beneath `root_fd`; with `links` false no symbolic link is followed on the way."""
    resolve = _BENEATH | _NO_MAGICLINKS | (0 if links else _NO_SYMLINKS)
    *ways, last = _stretches(names)
    at = root_fd
    try:
        for way in ways:
            here = _openat2(at, way, os.O_PATH | os.O_DIRECTORY, 0, resolve)
            at = _exchange(at, here, root_fd)
        return _openat2(at, last, flags, 0, resolve)
    finally:
        _exchange(at, root_fd, root_fd)


def _exchange(old: int, new: int, keep: int) -> int:
    if old not in (new, keep):
        os.close(old)
    return new


@dataclass(frozen=True, slots=True)
class Place:
    """A name in a directory: `parent` is an O_PATH descriptor, `path` the canonical mount-relative path of the name."""

    parent: int
    name: bytes
    path: str

    @property
    def directory(self) -> str:
        """Mount-relative path of the parent directory."""
        return self.path.rpartition("/")[0]


@contextmanager
def place(root: Root, path: str, *, follow: bool = False, whole: bool = True) -> Iterator[Place]:
    """Where `path` is or would be, its directory held open. With `follow`, a final symbolic link stands for its target.

    The path in the result has no symbolic links in it: it is the one under which an ordinary program's operation
    would have been seen. It lies in the territory, with `whole` and all that may be below it.
    """
    root_fd, names = root.fd, split(path)
    if not names:
        raise OutsideError(0, "that is the root of the mount itself", path)
    root.require(join(names), whole=whole)
    parent, above = _directory(root_fd, names[:-1])
    try:
        if follow and _is_link(parent, names[-1]):
            names = _target(root_fd, names)
            os.close(parent)
            parent = -1
            parent, above = _directory(root_fd, names[:-1])
        if names[-1] in (CONTROL_NAME, TRASH_NAME) and _same(parent, root_fd):
            raise OutsideError(0, f"automations do not touch /{names[-1].decode()}", path)
        root.require(child(above, names[-1]), whole=whole)
        yield Place(parent, names[-1], child(above, names[-1]))
    finally:
        if parent >= 0:
            os.close(parent)


def _directory(root_fd: int, names: tuple[bytes, ...]) -> tuple[int, str]:
    flags = os.O_PATH | os.O_DIRECTORY
    try:
        return open_beneath(root_fd, names, flags, links=False), join(names)
    except (FileNotFoundError, PermissionError):
        raise
    except OSError:  # a symbolic link on the way, most likely; otherwise this fails in the same way
        fd = open_beneath(root_fd, names, flags)
    try:
        return fd, join(_real(root_fd, fd))
    except OSError:
        os.close(fd)
        raise


def _is_link(parent: int, name: bytes) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _target(root_fd: int, names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The names of what the final symbolic link leads to; FileNotFoundError if it dangles."""
    fd = open_beneath(root_fd, names, os.O_PATH)
    try:
        target = _real(root_fd, fd)
    finally:
        os.close(fd)
    if not target:
        raise OutsideError(0, "that is the root of the mount itself", join(names))
    return target


def _real(root_fd: int, fd: int) -> tuple[bytes, ...]:
    """The names of the object behind `fd` relative to the root, as the kernel knows them."""
    root = os.readlink(b"/proc/self/fd/%d" % root_fd).rstrip(b"/")
    real = os.readlink(b"/proc/self/fd/%d" % fd)
    if real == (root or b"/"):
        return ()
    if not real.startswith(root + b"/"):
        raise OutsideError(0, "its place in the mount cannot be told", real)
    names = tuple(real[len(root) + 1 :].split(b"/"))
    if names[0] == TRASH_NAME:
        raise OutsideError(0, f"automations do not touch /{TRASH_NAME.decode()}", real)
    return names


def real_path(root: Root, fd: int) -> str:
    """The path of an open directory, without symbolic links."""
    return join(_real(root.fd, fd))


def _same(one: int, other: int) -> bool:
    left, right = os.fstat(one), os.fstat(other)
    return (left.st_dev, left.st_ino) == (right.st_dev, right.st_ino)


def handle(fd: int) -> str:
    """A path by which calls that refuse O_PATH descriptors (chmod, xattr, utime) reach the object behind `fd`."""
    return f"/proc/self/fd/{fd}"


@contextmanager
def held(at: Place) -> Iterator[int]:
    """The object itself, whatever becomes of its name, as an O_PATH descriptor; never what a symbolic link leads to."""
    fd = os.open(at.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.parent)
    try:
        yield fd
    finally:
        os.close(fd)


def mount_id(fd: int) -> str:
    """Which mount `fd` lies on; a rename between two of them is not possible."""
    with open(f"/proc/self/fdinfo/{fd}") as lines:
        return next((line for line in lines if line.startswith("mnt_id:")), "")


def rename(source: Place, target: Place, flags: int = 0) -> None:
    """`renameat2`: with NOREPLACE an existing target is FileExistsError, with EXCHANGE the two change places."""
    call = _libc.renameat2(source.parent, source.name, target.parent, target.name, flags)
    if call != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), source.path, None, target.path)


def exists(at: Place) -> bool:
    """Whether something has that name, a dangling symbolic link included."""
    try:
        os.stat(at.name, dir_fd=at.parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def sync_directory(parent: int) -> None:
    """Make the names in a directory durable; one that we may write to but not read is left to the kernel."""
    try:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=parent)
    except PermissionError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
