"""New files appear complete or not at all: filled without a name, synced, then named in one step.

A staged file has no name where the filesystem knows O_TMPFILE, so that not even `kill -9` leaves one behind; elsewhere
its name begins with `.vexfs-tmp-`, which no trigger looks at. The name is taken by `link` or `renameat2`, which
decide "exists already" in the kernel and not by looking first.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from automation.workspace import beneath
from automation.workspace.beneath import Place
from automation.workspace.trail import Trail

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(slots=True)
class Staged:
    """A file in the making: `fd` is open for reading and writing, `name` is its temporary name if it has one."""

    fd: int
    target: Place
    name: bytes | None

    def publish(self, *, overwrite: bool, trail: Trail) -> os.stat_result | None:
        """Give the file its name; the stat of what it replaced, if anything. FileExistsError when it may not."""
        os.fsync(self.fd)
        replaced, inode = None, os.fstat(self.fd).st_ino
        try:
            self._take()
            trail.undoable("made", self.target.path, inode=inode)
        except FileExistsError:
            if not overwrite:
                raise
            replaced = os.stat(self.target.name, dir_fd=self.target.parent, follow_symlinks=False)
            replace(self._named(), self.target, replaced.st_ino, inode, trail)
            self.name = None
        beneath.sync_directory(self.target.parent)
        return replaced

    def _take(self) -> None:
        if self.name is None:
            os.link(beneath.handle(self.fd), self.target.name, dst_dir_fd=self.target.parent, follow_symlinks=True)
        else:
            rename_new(temporary_place(self.target, self.name), self.target)
            self.name = None

    def _named(self) -> Place:
        if self.name is None:
            name = temporary_name()
            os.link(beneath.handle(self.fd), name, dst_dir_fd=self.target.parent, follow_symlinks=True)
            self.name = name
        return temporary_place(self.target, self.name)

    def discard(self) -> None:
        """Close, and remove what has not been published."""
        os.close(self.fd)
        if self.name is not None:
            with suppress(FileNotFoundError):
                os.unlink(self.name, dir_fd=self.target.parent)


@contextmanager
def staged(target: Place, mode: int) -> Iterator[Staged]:
    """A new file for `target`, discarded on the way out unless it was published."""
    one = _stage(target, mode)
    try:
        yield one
    finally:
        one.discard()


def _stage(target: Place, mode: int) -> Staged:
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode, dir_fd=target.parent)
        return Staged(fd, target, None)
    except (PermissionError, FileNotFoundError):
        raise
    except OSError:  # this filesystem has no O_TMPFILE
        name = temporary_name()
        return Staged(os.open(name, _CREATE, mode, dir_fd=target.parent), target, name)


def temporary_name() -> bytes:
    """A name that no trigger looks at and nobody else uses."""
    return beneath.TEMPORARY_PREFIX + secrets.token_hex(8).encode()


def temporary_place(target: Place, name: bytes) -> Place:
    """The place of the temporary `name` beside `target`."""
    return Place(target.parent, name, beneath.child(target.directory, name))


def rename_new(source: Place, target: Place) -> None:
    """Rename to a name that is free; FileExistsError if it is not."""
    try:
        beneath.rename(source, target, beneath.NOREPLACE)
    except (FileExistsError, FileNotFoundError, PermissionError, NotADirectoryError):
        raise
    except OSError:  # a filesystem without NOREPLACE: look first, as well as one can
        if beneath.exists(target):
            raise FileExistsError(0, "File exists", target.path) from None
        beneath.rename(source, target)


def publish_name(made: Place, target: Place, *, overwrite: bool, trail: Trail) -> None:
    """Give what was made beside the target, under a temporary name, its own; FileExistsError if that is taken. Where it
    is what is there already, by another name, nothing is to be done, nor to be undone.
    """
    inode = os.stat(made.name, dir_fd=made.parent, follow_symlinks=False).st_ino
    try:
        rename_new(made, target)
        trail.undoable("made", target.path, inode=inode)
    except FileExistsError:
        if not overwrite:
            raise
        before = os.stat(target.name, dir_fd=target.parent, follow_symlinks=False).st_ino
        if before != inode:
            replace(made, target, before, inode, trail)


def replace(new: Place, target: Place, before: int, inode: int, trail: Trail) -> None:
    """Give `new` the name of the object `before`, kept where there is a trash. Only a directory replaces one."""
    trash = None if _is_directory(target) and not _is_directory(new) else trail.trash
    kept = trash.exchange(new, target) if trash is not None else None
    if kept is not None:
        trail.undoable("replaced", target.path, trash=kept, inode=inode, before=before)
    elif trash is None:
        beneath.rename(new, target)  # refuses to put a file in a directory's place
        trail.undoable("lost", target.path)
    else:
        trail.undoable("made", target.path, inode=inode)


def _is_directory(at: Place) -> bool:
    try:
        return stat.S_ISDIR(os.stat(at.name, dir_fd=at.parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
