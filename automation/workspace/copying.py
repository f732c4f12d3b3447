"""Copies that lose nothing: data (shared, in the kernel, or by hand), holes, mode, owner, times and attributes.

`check` is called between pieces of at most 16 MiB.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from automation.workspace import beneath, removal, staging
from automation.workspace.beneath import Place
from automation.workspace.stats import kind_of
from automation.workspace.trail import Trail

Check = Callable[[int], None]
"""Is told how many bytes were copied since the last call, and raises when the copy shall stop."""

_FICLONE: Final = 0x40049409
_PIECE: Final = 16 << 20
_SET_ID: Final = stat.S_ISUID | stat.S_ISGID
_BUFFER: Final = 1 << 20
_NOT_BLOCKING: Final = os.O_NONBLOCK | os.O_NOCTTY  # opening a fifo must not wait for a writer


class ChangedError(OSError):
    """The source changed while it was copied: what was read fits no moment of it."""


def open_file(at: Place) -> int:
    """Open the regular file at `at` for reading, without following a symbolic link."""
    fd = os.open(at.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | _NOT_BLOCKING, dir_fd=at.parent)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "it is not a regular file", at.path)
    return fd


def copy_data(source: int, target: int, check: Check) -> None:
    """All bytes of `source` into the empty `target`; holes stay holes. ChangedError if the source moved."""
    before = os.fstat(source)
    with suppress(OSError):
        fcntl.ioctl(target, _FICLONE, source)  # one atomic step; only where the filesystem shares extents
        return
    for start, end in _extents(source, before):
        _copy_range(source, target, start, end, check)
    os.ftruncate(target, before.st_size)
    after = os.fstat(source)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ChangedError(0, "it changed while it was copied")


def _extents(fd: int, info: os.stat_result) -> Iterator[tuple[int, int]]:
    at, size = 0, info.st_size
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError:
            if at == 0 and info.st_blocks:  # no SEEK_DATA here, rather than one single hole
                yield 0, size
            return
        yield start, min(end, size)
        at = end


def _copy_range(source: int, target: int, at: int, end: int, check: Check) -> None:
    in_kernel = True
    while at < end:
        check(0)
        count = min(end - at, _PIECE)
        done = 0
        if in_kernel:
            with suppress(OSError):  # another filesystem, or one without the call: by hand
                done = os.copy_file_range(source, target, count, at, at)
            in_kernel = done > 0
        if done == 0:
            done = _copy_by_hand(source, target, min(count, _BUFFER), at)
        at += done
        check(done)


def _copy_by_hand(source: int, target: int, count: int, at: int) -> int:
    data = os.pread(source, count, at)
    if not data:
        raise ChangedError(0, "it became shorter while it was copied")
    done = 0
    while done < len(data):
        done += os.pwrite(target, data[done:], at + done)
    return done


def copy_attributes(source: int, target: int) -> None:
    """Owner, extended attributes, mode and times (ns). What only root may set is left out without the right to."""
    copy_identity(source, target, privileges=True)
    info = os.fstat(source)
    os.utime(beneath.handle(target), ns=(info.st_atime_ns, info.st_mtime_ns))


def copy_identity(source: int, target: int, *, privileges: bool) -> None:
    """Owner, attributes and mode; suid, sgid and capabilities only with `privileges` and for the same owner."""
    info = os.fstat(source)
    privileges = _copy_owner(info, target) and privileges
    _copy_xattrs(source, target, privileges=privileges)
    mode = stat.S_IMODE(info.st_mode)
    os.chmod(beneath.handle(target), mode if privileges else mode & ~_SET_ID)


def _copy_owner(info: os.stat_result, target: int) -> bool:
    """Whether the target belongs to the same user and group in the end."""
    mine = os.fstat(target)
    if (mine.st_uid, mine.st_gid) == (info.st_uid, info.st_gid):
        return True
    with suppress(PermissionError):
        os.chown(beneath.handle(target), info.st_uid, info.st_gid)
        return True
    return False


def _copy_xattrs(source: int, target: int, *, privileges: bool) -> None:
    """Extended attributes and ACLs; those of the user must arrive, those of the system where allowed."""
    names: list[str] = []
    with suppress(OSError):  # a filesystem without them
        names = os.listxattr(beneath.handle(source))
    for name in names:
        if name == "security.capability" and not privileges:
            continue
        value = os.getxattr(beneath.handle(source), name)
        try:
            os.setxattr(beneath.handle(target), name, value)
        except OSError:
            if name.startswith("user."):
                raise


def copy_file(source: Place, target: Place, *, overwrite: bool, check: Check, trail: Trail) -> os.stat_result:
    """One regular file, complete or not at all; the stat of the copy."""
    fd = open_file(source)
    try:
        with staging.staged(target, 0o600) as new:
            copy_data(fd, new.fd, check)
            copy_attributes(fd, new.fd)
            replaced = new.publish(overwrite=overwrite, trail=trail)
            info = os.fstat(new.fd)
    finally:
        os.close(fd)
    trail.stale_entry(target.path)
    trail.note_file(target.path, info, replaced)
    return info


def copy_tree(source: Place, target: Place, *, overwrite: bool, check: Check, trail: Trail) -> None:
    """A directory and all in it, complete or not at all: it is made beside the target and renamed."""
    made = trail.fork()
    here = Place(target.parent, staging.temporary_name(), target.path)  # its events are those of the final name
    try:
        _copy_directory(source, here, check, made)
        publish_tree(here, target, overwrite=overwrite, trail=trail)
    finally:
        with suppress(FileNotFoundError):  # what failed, or what was replaced
            removal.remove(here, recursive=True, check=lambda: None, trail=Trail(None))
    beneath.sync_directory(target.parent)
    trail.join(made)
    trail.stale_entry(target.path)


def publish_tree(made: Place, target: Place, *, overwrite: bool, trail: Trail) -> None:
    """Give a directory that was made beside the target its name."""
    if overwrite and beneath.exists(target) and trail.trash is None:
        trail.undoable("lost", target.path)
        beneath.rename(made, target, beneath.EXCHANGE)  # what was there has the temporary name now, and goes with it
    else:
        staging.publish_name(made, target, overwrite=overwrite, trail=trail)


@dataclass(slots=True)
class _Level:
    """A directory half copied: open source and target, and the names still to do."""

    source: int
    target: int
    path: str
    names: list[bytes]

    def close(self) -> None:
        os.close(self.source)
        os.close(self.target)


def _copy_directory(source: Place, target: Place, check: Check, trail: Trail) -> None:
    levels = [_enter(source, target, trail)]
    try:
        while levels:
            check(0)
            level = levels[-1]
            if level.names:
                name = level.names.pop()
                path = beneath.child(level.path, name)
                below = _copy_entry(Place(level.source, name, path), Place(level.target, name, path), check, trail)
                levels += [below] if below else []
            else:
                copy_attributes(level.source, level.target)
                levels.pop().close()
    finally:
        for level in levels:
            level.close()


def _enter(source: Place, target: Place, trail: Trail) -> _Level:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(source.name, flags, dir_fd=source.parent)
    try:
        os.mkdir(target.name, 0o700, dir_fd=target.parent)
        new = os.open(target.name, flags, dir_fd=target.parent)
    except OSError:
        os.close(fd)
        raise
    trail.note("dir.created", target.path, inode=os.fstat(new).st_ino, attrs={"kind": "dir"})
    return _Level(fd, new, target.path, sorted(map(os.fsencode, os.listdir(fd)), reverse=True))


def _copy_entry(source: Place, target: Place, check: Check, trail: Trail) -> _Level | None:
    info = os.stat(source.name, dir_fd=source.parent, follow_symlinks=False)
    if stat.S_ISDIR(info.st_mode):
        return _enter(source, target, trail)
    if stat.S_ISREG(info.st_mode):
        copy_file(source, target, overwrite=False, check=check, trail=trail)
    elif stat.S_ISLNK(info.st_mode):
        copy_link(source, target, trail)
    else:
        os.mknod(target.name, info.st_mode, info.st_rdev, dir_fd=target.parent)
        trail.note("file.created", target.path, attrs={"kind": kind_of(info.st_mode)})
    return None


def replace_link(source: Place, target: Place, *, overwrite: bool, trail: Trail) -> None:
    """Copy a symbolic link in one step."""
    made = trail.fork()
    here = Place(target.parent, staging.temporary_name(), target.path)
    try:
        copy_link(source, here, made)
        staging.publish_name(here, target, overwrite=overwrite, trail=trail)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(here.name, dir_fd=here.parent)
    trail.join(made)
    trail.stale_entry(target.path)


def copy_link(source: Place, target: Place, trail: Trail) -> None:
    """A symbolic link as it is, with its owner and times."""
    info = os.stat(source.name, dir_fd=source.parent, follow_symlinks=False)
    text = os.readlink(source.name, dir_fd=source.parent)
    os.symlink(text, target.name, dir_fd=target.parent)
    with suppress(PermissionError):
        os.chown(target.name, info.st_uid, info.st_gid, dir_fd=target.parent, follow_symlinks=False)
    times = (info.st_atime_ns, info.st_mtime_ns)
    os.utime(target.name, ns=times, dir_fd=target.parent, follow_symlinks=False)
    trail.note("file.symlinked", target.path, attrs={"target": os.fsdecode(text), "kind": "symlink"})
