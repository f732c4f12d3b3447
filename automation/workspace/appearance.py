"""The events of something that comes or goes as a whole: those of a program that made or removed it piece by piece."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from automation.workspace import beneath
from automation.workspace.beneath import Place
from automation.workspace.stats import kind_of
from automation.workspace.trail import Trail


def note_appearance(at: Place, trail: Trail) -> None:
    """`at` and all below it is there now."""
    for path, info in _walk(at, top_down=True):
        kind = kind_of(info.st_mode)
        if kind == "file":
            trail.note_file(path, info, None)
        else:
            trail.note(
                "dir.created" if kind == "dir" else "file.created", path, inode=info.st_ino, attrs={"kind": kind}
            )


def note_disappearance(at: Place, trail: Trail, named: Place | None = None) -> int:
    """`at` and all below it goes; `named` is the name that it had, if it has another one by now. How many names."""
    count = 0
    for path, info in _walk(at, top_down=False, path=(named or at).path):
        count += 1
        trail.stale_entry(path)
        if stat.S_ISDIR(info.st_mode):
            trail.note("dir.deleted", path)
        else:
            attrs = {"kind": kind_of(info.st_mode), "nlink": info.st_nlink - 1}
            trail.note("file.deleted", path, inode=info.st_ino, size=info.st_size, attrs=attrs)
    return count


@dataclass(slots=True)
class _Level:
    """A directory half walked."""

    fd: int
    path: str
    info: os.stat_result
    names: list[bytes]


def _walk(at: Place, *, top_down: bool, path: str | None = None) -> Iterator[tuple[str, os.stat_result]]:
    """Every name with its stat, in the order of names; each directory before what is in it, or after."""
    info = os.stat(at.name, dir_fd=at.parent, follow_symlinks=False)
    path = at.path if path is None else path
    if top_down or not stat.S_ISDIR(info.st_mode):
        yield path, info
    levels = [_enter(at, path, info)] if stat.S_ISDIR(info.st_mode) else []
    try:
        while levels:
            level = levels[-1]
            if not level.names:
                os.close(levels.pop().fd)
                if not top_down:
                    yield level.path, level.info
                continue
            name = level.names.pop()
            here = Place(level.fd, name, beneath.child(level.path, name))
            info = os.stat(name, dir_fd=level.fd, follow_symlinks=False)
            if top_down or not stat.S_ISDIR(info.st_mode):
                yield here.path, info
            if stat.S_ISDIR(info.st_mode):
                levels.append(_enter(here, here.path, info))
    finally:
        for level in levels:
            os.close(level.fd)


def _enter(at: Place, path: str, info: os.stat_result) -> _Level:
    fd = os.open(at.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.parent)
    return _Level(fd, path, info, sorted(map(os.fsencode, os.listdir(fd)), reverse=True))
