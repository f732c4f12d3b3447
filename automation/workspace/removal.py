"""Removing names and trees. A symbolic link is a name like any other: it is removed, never followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automation.workspace import beneath
from automation.workspace.appearance import note_disappearance
from automation.workspace.beneath import Place
from automation.workspace.stats import kind_of
from automation.workspace.trail import Trail

if TYPE_CHECKING:
    from automation.workspace.trash import Trash


@dataclass(slots=True)
class _Level:
    """A directory half emptied: its own place, a descriptor, and the names still to do."""

    at: Place
    fd: int
    names: list[bytes]


def remove(at: Place, *, recursive: bool, check: Callable[[], None], trail: Trail) -> int:
    """Remove the name `at`; a directory must be empty unless `recursive`. The number of names removed.

    What was removed before an error or a stop stays removed and is in `trail`.
    """
    info = os.stat(at.name, dir_fd=at.parent, follow_symlinks=False)
    refused = stat.S_ISDIR(info.st_mode) and not recursive and _filled(at)
    trash = None if refused else trail.trash
    if trash is not None:
        return _put_away(at, trash, trail)
    trail.undoable("lost", at.path)
    if not stat.S_ISDIR(info.st_mode):
        return _unlink(at, info, trail)
    if not recursive:
        return _rmdir(at, trail)
    return _remove_tree(at, check, trail)


def _put_away(at: Place, trash: Trash, trail: Trail) -> int:
    entry = trash.keep(at)
    kept = trash.place(entry)
    inode = os.stat(kept.name, dir_fd=kept.parent, follow_symlinks=False).st_ino
    trail.undoable("kept", at.path, trash=entry, inode=inode)
    return note_disappearance(kept, trail, at)


def _filled(at: Place) -> bool:
    """Whether a directory has anything in it."""
    fd = os.open(at.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.parent)
    try:
        return bool(os.listdir(fd))
    finally:
        os.close(fd)


def _unlink(at: Place, info: os.stat_result, trail: Trail) -> int:
    os.unlink(at.name, dir_fd=at.parent)
    trail.stale_entry(at.path)
    attrs = {"kind": kind_of(info.st_mode), "nlink": info.st_nlink - 1}
    trail.note("file.deleted", at.path, inode=info.st_ino, size=info.st_size, attrs=attrs)
    return 1


def _rmdir(at: Place, trail: Trail) -> int:
    os.rmdir(at.name, dir_fd=at.parent)
    trail.stale_entry(at.path)
    trail.note("dir.deleted", at.path)
    return 1


def _remove_tree(top: Place, check: Callable[[], None], trail: Trail) -> int:
    """Depth first without recursion: as deep as there are descriptors, one per level."""
    count = 0
    levels = [_enter(top)]
    try:
        while levels:
            check()
            level = levels[-1]
            if not level.names:
                count += _rmdir(level.at, trail)
                os.close(levels.pop().fd)
                continue
            name = level.names.pop()
            at = Place(level.fd, name, beneath.child(level.at.path, name))
            with suppress(FileNotFoundError):  # someone else was faster
                info = os.stat(name, dir_fd=level.fd, follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    levels.append(_enter(at))
                else:
                    count += _unlink(at, info, trail)
    finally:
        for level in levels:
            os.close(level.fd)
    return count


def _enter(at: Place) -> _Level:
    fd = os.open(at.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.parent)
    return _Level(at, fd, sorted(map(os.fsencode, os.listdir(fd)), reverse=True))
