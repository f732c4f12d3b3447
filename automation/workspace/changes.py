"""The changes to the tree other than copies and removals. All block; each notes what it did in the trail."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from automation.workspace import beneath, copying, removal, staging
from automation.workspace.beneath import Place
from automation.workspace.copying import Check
from automation.workspace.stats import kind_of
from automation.workspace.trail import Trail

FILE_MODE: Final = 0o644
DIRECTORY_MODE: Final = 0o755


def make_directories(root_fd: int, path: str, mode: int | None, *, parents: bool, trail: Trail) -> bool:
    """Make the directory `path`, with `parents` those above it too; False if it was there already."""
    names = beneath.split(path)
    if not names:
        return False
    if parents:
        _make_above(root_fd, names, trail)
    return _make(root_fd, beneath.join(names), mode, trail)


def make_parents(root_fd: int, path: str, trail: Trail) -> None:
    """Make the directories above `path` that are missing."""
    names = beneath.split(path)[:-1]
    try:
        os.close(beneath.open_beneath(root_fd, names, os.O_PATH | os.O_DIRECTORY))
    except FileNotFoundError:
        make_directories(root_fd, beneath.join(names), None, parents=True, trail=trail)


def _make_above(root_fd: int, names: tuple[bytes, ...], trail: Trail) -> None:
    for count in range(1, len(names)):
        _make(root_fd, beneath.join(names[:count]), None, trail)


def _make(root_fd: int, path: str, mode: int | None, trail: Trail) -> bool:
    with beneath.place(root_fd, path) as at:
        try:
            os.mkdir(at.name, DIRECTORY_MODE, dir_fd=at.parent)
        except FileExistsError:
            os.close(beneath.open_beneath(root_fd, beneath.split(path), os.O_PATH | os.O_DIRECTORY))
            return False
        with _held(at) as fd:
            if mode is not None:
                os.chmod(beneath.handle(fd), mode)
            trail.stale_entry(at.path)
            trail.note("dir.created", at.path, inode=os.fstat(fd).st_ino, attrs={"kind": "dir"})
    return True


@contextmanager
def _held(at: Place) -> Iterator[int]:
    """The object itself, whatever becomes of its name, as an O_PATH descriptor; never what a symbolic link leads to."""
    fd = os.open(at.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.parent)
    try:
        yield fd
    finally:
        os.close(fd)


def write_file(root_fd: int, path: str, data: bytes, mode: int | None, *, overwrite: bool, trail: Trail) -> str:
    """The whole content of a file, in one step. A replaced file hands on its mode, owner and attributes."""
    with beneath.place(root_fd, path, follow=True) as at, staging.staged(at, mode or FILE_MODE) as new:
        with open(new.fd, "wb", closefd=False) as stream:
            stream.write(data)
        _inherit(at, new.fd)
        if mode is not None:
            os.fchmod(new.fd, mode)
        replaced = new.publish(overwrite=overwrite)
        trail.stale_entry(at.path)
        trail.note_file(at.path, os.fstat(new.fd), replaced)
        return at.path


def _inherit(at: Place, fd: int) -> None:
    with suppress(FileNotFoundError), _held(at) as old:
        if stat.S_ISREG(os.fstat(old).st_mode):
            copying.copy_identity(old, fd, privileges=False)  # new content, as after any write


def append_file(root_fd: int, path: str, data: bytes, mode: int | None, trail: Trail) -> str:
    """Bytes at the end of a file, in place; the file is made if it is missing. Durable when it returns."""
    with beneath.place(root_fd, path, follow=True) as at:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        created = not beneath.exists(at)
        fd = os.open(at.name, flags | os.O_CREAT, FILE_MODE if mode is None else mode, dir_fd=at.parent)
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise OSError(0, "it is not a regular file", path)
            with open(fd, "ab", closefd=False) as stream:
                stream.write(data)
            if mode is not None:
                os.fchmod(fd, mode)
            os.fsync(fd)
            after = os.fstat(fd)
        finally:
            os.close(fd)
        trail.stale_entry(at.path) if created else trail.stale_content(at.path)
        if created:
            trail.note("file.created", at.path, inode=after.st_ino, size=0, attrs={"kind": "file"})
        trail.note_opened(at.path, after.st_ino, before.st_size, append=True)
        trail.note(
            "file.written", at.path, inode=after.st_ino, offset=before.st_size, length=len(data), size=after.st_size
        )
        trail.note_closed(at.path, after, len(data), created=created, before=before.st_size)
        return at.path


def move(root_fd: int, source: str, target: str, *, overwrite: bool, check: Check, trail: Trail) -> str:
    """Another name for a file or directory; between two filesystems a copy and a removal. The new path."""
    with beneath.place(root_fd, source) as old, beneath.place(root_fd, target) as new:
        info = os.stat(old.name, dir_fd=old.parent, follow_symlinks=False)
        if old.path == new.path:
            return new.path
        if beneath.mount_id(old.parent) != beneath.mount_id(new.parent):
            copy(root_fd, old.path, new.path, overwrite=overwrite, recursive=True, check=check, trail=trail)
            removal.remove(old, recursive=True, check=lambda: None, trail=trail)
            return new.path
        covered = _rename(old, new, overwrite=overwrite)
        for parent in {old.directory: old.parent, new.directory: new.parent}.values():
            beneath.sync_directory(parent)
        trail.stale_entry(old.path)
        trail.stale_entry(new.path)
        _note_rename(old.path, new.path, info, covered, trail)
        return new.path


def _rename(old: Place, new: Place, *, overwrite: bool) -> os.stat_result | None:
    try:
        staging.rename_new(old, new)
    except FileExistsError:
        if not overwrite:
            raise
        covered = os.stat(new.name, dir_fd=new.parent, follow_symlinks=False)
        beneath.rename(old, new)
        if beneath.exists(old):  # two names of one file, for which rename does nothing
            os.unlink(old.name, dir_fd=old.parent)
        return covered
    return None


def _note_rename(old: str, new: str, info: os.stat_result, covered: os.stat_result | None, trail: Trail) -> None:
    kind = kind_of(info.st_mode)
    trail.note(
        "dir.renamed" if kind == "dir" else "file.renamed",
        old,
        new,
        inode=info.st_ino,
        size=info.st_size,
        attrs={"kind": kind},
    )
    if covered is not None and kind != "dir":
        attrs = {"from": old, "size_before": covered.st_size}
        trail.note("file.replaced", new, inode=info.st_ino, size=info.st_size, attrs=attrs)


def copy(
    root_fd: int, source: str, target: str, *, overwrite: bool, recursive: bool, check: Check, trail: Trail
) -> tuple[str, int]:
    """A file, symbolic link or (with `recursive`) directory; a link given as source stands for its target.

    The path and the size of the copy.
    """
    with (
        beneath.place(root_fd, source, follow=not recursive) as old,
        beneath.place(root_fd, target, follow=True) as new,
    ):
        info = os.stat(old.name, dir_fd=old.parent, follow_symlinks=False)
        if new.path == old.path or new.path.startswith(f"{old.path}/"):
            raise OSError(0, "it cannot be copied onto or into itself", source)
        if stat.S_ISDIR(info.st_mode):
            if not recursive:
                raise OSError(0, "it is a directory; say `recursive` to copy all of it", source)
            copying.copy_tree(old, new, overwrite=overwrite, check=check, trail=trail)
        elif stat.S_ISLNK(info.st_mode):
            copying.replace_link(old, new, overwrite=overwrite, trail=trail)
        else:
            info = copying.copy_file(old, new, overwrite=overwrite, check=check, trail=trail)
        return new.path, info.st_size


def change_mode(root_fd: int, path: str, mode: int, trail: Trail) -> tuple[str, int]:
    """Set the permission bits; the path and the bits before."""
    with beneath.place(root_fd, path, follow=True) as at, _held(at) as fd:
        before = os.fstat(fd)
        os.chmod(beneath.handle(fd), mode)
        trail.stale_content(at.path)
        old = stat.S_IMODE(before.st_mode)
        trail.note("file.attr.mode", at.path, inode=before.st_ino, attrs={"mode": oct(mode), "before": oct(old)})
        return at.path, old


def change_xattr(root_fd: int, path: str, name: str, value: bytes | None, trail: Trail) -> str:
    """Set an extended attribute, or remove it when `value` is None."""
    with beneath.place(root_fd, path, follow=True) as at, _held(at) as fd:
        if value is None:
            os.removexattr(beneath.handle(fd), name)
        else:
            os.setxattr(beneath.handle(fd), name, value)
        trail.stale_content(at.path)
        attrs = {"name": name, "removed": True} if value is None else {"name": name, "length": len(value)}
        trail.note("file.attr.xattr", at.path, inode=os.fstat(fd).st_ino, attrs=attrs)
        return at.path
