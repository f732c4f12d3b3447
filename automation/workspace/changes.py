"""The changes to the tree other than copies and removals. All block; each notes what it did in the trail."""

from __future__ import annotations

import base64
import os
import stat
from contextlib import suppress
from typing import Final

from automation.identity import Identity
from automation.workspace import beneath, copying, removal, staging
from automation.workspace.beneath import Place, Root
from automation.workspace.copying import Check
from automation.workspace.trail import Trail

FILE_MODE: Final = 0o644
DIRECTORY_MODE: Final = 0o755


def make_directories(root: Root, path: str, mode: int | None, *, parents: bool, trail: Trail) -> bool:
    """Make the directory `path`, with `parents` those above it too; False if it was there already."""
    names = beneath.split(path)
    if not names:
        return False
    if parents:
        _make_above(root, names, trail)
    return _make(root, beneath.join(names), mode, trail)


def make_parents(root: Root, path: str, trail: Trail) -> None:
    """Make the directories above `path` that are missing."""
    names = beneath.split(path)[:-1]
    root.require(path)
    try:
        os.close(beneath.open_beneath(root.fd, names, os.O_PATH | os.O_DIRECTORY))
    except FileNotFoundError:
        make_directories(root, beneath.join(names), None, parents=True, trail=trail)


def _make_above(root: Root, names: tuple[bytes, ...], trail: Trail) -> None:
    for above in (beneath.join(names[:count]) for count in range(1, len(names))):
        if root.territory.holds(above):  # what leads to a territory is there, or it cannot be made
            _make(root, above, None, trail)


def _make(root: Root, path: str, mode: int | None, trail: Trail) -> bool:
    with beneath.place(root, path, whole=False) as at:
        try:
            os.mkdir(at.name, DIRECTORY_MODE, dir_fd=at.parent)
        except FileExistsError:
            os.close(beneath.open_beneath(root.fd, beneath.split(path), os.O_PATH | os.O_DIRECTORY))
            return False
        with beneath.held(at) as fd:
            if mode is not None:
                os.chmod(beneath.handle(fd), mode)
            inode = os.fstat(fd).st_ino
            trail.stale_entry(at.path)
            trail.note("dir.created", at.path, inode=inode, attrs={"kind": "dir"})
            trail.undoable("mkdir", at.path, inode=inode)
    return True


def write_file(root: Root, path: str, data: bytes, mode: int | None, *, overwrite: bool, trail: Trail) -> str:
    """The whole content of a file, in one step. A replaced file hands on its mode, owner and attributes."""
    with beneath.place(root, path, follow=True) as at, staging.staged(at, mode or FILE_MODE) as new:
        with open(new.fd, "wb", closefd=False) as stream:
            stream.write(data)
        _inherit(at, new.fd)
        if mode is not None:
            os.fchmod(new.fd, mode)
        replaced = new.publish(overwrite=overwrite, trail=trail)
        trail.stale_entry(at.path)
        trail.note_file(at.path, os.fstat(new.fd), replaced)
        return at.path


def _inherit(at: Place, fd: int) -> None:
    with suppress(FileNotFoundError), beneath.held(at) as old:
        if stat.S_ISREG(os.fstat(old).st_mode):
            copying.copy_identity(old, fd, privileges=False)  # new content, as after any write


def append_file(root: Root, path: str, data: bytes, mode: int | None, trail: Trail) -> str:
    """Bytes at the end of a file, in place; the file is made if it is missing. Durable when it returns."""
    with beneath.place(root, path, follow=True) as at:
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
            trail.undoable("made", at.path, inode=after.st_ino)
        else:
            sizes = {"size": before.st_size, "after": after.st_size}
            trail.undoable(
                "appended", at.path, inode=after.st_ino, atime=before.st_atime_ns, mtime=before.st_mtime_ns, **sizes
            )
        trail.note_opened(at.path, after.st_ino, before.st_size, append=True)
        trail.note(
            "file.written", at.path, inode=after.st_ino, offset=before.st_size, length=len(data), size=after.st_size
        )
        trail.note_closed(at.path, after, len(data), created=created, before=before.st_size)
        return at.path


def move(root: Root, source: str, target: str, *, overwrite: bool, check: Check, trail: Trail) -> str:
    """Another name for a file or directory; between two filesystems a copy and a removal. The new path."""
    with beneath.place(root, source) as old, beneath.place(root, target) as new:
        info = os.stat(old.name, dir_fd=old.parent, follow_symlinks=False)
        if old.path == new.path:
            return new.path
        if beneath.mount_id(old.parent) != beneath.mount_id(new.parent):
            copy(root, old.path, new.path, overwrite=overwrite, recursive=True, check=check, trail=trail)
            removal.remove(old, recursive=True, check=lambda: None, trail=trail)
            return new.path
        covered = _rename(old, new, overwrite=overwrite, trail=trail)
        trail.undoable("moved", old.path, to=new.path, inode=info.st_ino)
        for parent in {old.directory: old.parent, new.directory: new.parent}.values():
            beneath.sync_directory(parent)
        trail.stale_entry(old.path)
        trail.stale_entry(new.path)
        trail.note_renamed(old.path, new.path, info, covered)
        return new.path


def _rename(old: Place, new: Place, *, overwrite: bool, trail: Trail) -> os.stat_result | None:
    try:
        staging.rename_new(old, new)
    except FileExistsError:
        if not overwrite:
            raise
        covered = os.stat(new.name, dir_fd=new.parent, follow_symlinks=False)
        trash = None if stat.S_ISDIR(covered.st_mode) or _is_directory(old) else trail.trash
        if trash is not None:
            kept = trash.exchange(old, new)
            if kept is not None:
                trail.undoable("kept", new.path, trash=kept, inode=covered.st_ino)
            return covered
        beneath.rename(old, new)
        trail.undoable("lost", new.path)
        if beneath.exists(old):  # two names of one file, for which rename does nothing
            os.unlink(old.name, dir_fd=old.parent)
        return covered
    return None


def _is_directory(at: Place) -> bool:
    return stat.S_ISDIR(os.stat(at.name, dir_fd=at.parent, follow_symlinks=False).st_mode)


def copy(
    root: Root, source: str, target: str, *, overwrite: bool, recursive: bool, check: Check, trail: Trail
) -> tuple[str, int]:
    """A file, symbolic link or (with `recursive`) directory; a link given as source stands for its target.

    The path and the size of the copy.
    """
    with (
        beneath.place(root, source, follow=not recursive) as old,
        beneath.place(root, target, follow=True) as new,
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


def change_mode(root: Root, path: str, mode: int, trail: Trail) -> tuple[str, int]:
    """Set the permission bits; the path and the bits before."""
    with beneath.place(root, path, follow=True, whole=False) as at, beneath.held(at) as fd:
        before = os.fstat(fd)
        os.chmod(beneath.handle(fd), mode)
        trail.stale_content(at.path)
        old = stat.S_IMODE(before.st_mode)
        trail.undoable("mode", at.path, inode=before.st_ino, mode=old)
        trail.note("file.attr.mode", at.path, inode=before.st_ino, attrs={"mode": oct(mode), "before": oct(old)})
        return at.path, old


def change_xattr(root: Root, path: str, name: str, value: bytes | None, trail: Trail) -> str:
    """Set an extended attribute, or remove it when `value` is None."""
    with beneath.place(root, path, follow=True, whole=False) as at, beneath.held(at) as fd:
        before, inode = _attribute(fd, name), os.fstat(fd).st_ino
        if value is None:
            os.removexattr(beneath.handle(fd), name)
        else:
            os.setxattr(beneath.handle(fd), name, value)
        trail.stale_content(at.path)
        old = None if before is None else base64.b64encode(before).decode()
        trail.undoable("xattr", at.path, inode=inode, name=name, value=old)
        attrs = {"name": name, "removed": True} if value is None else {"name": name, "length": len(value)}
        trail.note("file.attr.xattr", at.path, inode=inode, attrs=attrs)
        return at.path


def _attribute(fd: int, name: str) -> bytes | None:
    try:
        return os.getxattr(beneath.handle(fd), name)
    except OSError:  # there is none
        return None


def change_owner(root: Root, path: str, uid: int, gid: int, trail: Trail) -> tuple[int, int]:
    """Set user and group (-1 leaves one as it is); those before. As with chown, suid and sgid go."""
    with beneath.place(root, path, follow=True, whole=False) as at, beneath.held(at) as fd:
        before = os.fstat(fd)
        os.chown(beneath.handle(fd), uid, gid)
        after = os.fstat(fd)
        trail.stale_content(at.path)
        old = {"uid": before.st_uid, "gid": before.st_gid}
        trail.undoable("owner", at.path, inode=before.st_ino, mode=stat.S_IMODE(before.st_mode), **old)
        attrs = {"uid": after.st_uid, "gid": after.st_gid}
        trail.note("file.attr.owner", at.path, inode=before.st_ino, attrs=attrs)
        return before.st_uid, before.st_gid


def link(root: Root, target: str, path: str, *, overwrite: bool, trail: Trail) -> str:
    """One more name, `path`, for the file `target`."""
    with beneath.place(root, target, follow=True) as old, beneath.place(root, path) as new:
        here = Place(new.parent, staging.temporary_name(), new.path)
        if root.identity is not None:
            _require_own(old, root.identity)
        os.link(old.name, here.name, src_dir_fd=old.parent, dst_dir_fd=here.parent, follow_symlinks=False)
        info = _publish_name(here, new, overwrite=overwrite, trail=trail)
        trail.note("file.linked", old.path, new.path, inode=info.st_ino, attrs={"nlink": info.st_nlink})
        return new.path


def _require_own(at: Place, identity: Identity) -> None:
    """As with fs.protected_hardlinks, whether or not it is on: a name gives a file to whoever acts on names."""
    with beneath.held(at) as fd:
        if os.fstat(fd).st_uid != identity.uid:
            os.close(os.open(beneath.handle(fd), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))


def symlink(root: Root, target: str, path: str, *, overwrite: bool, trail: Trail) -> str:
    """A symbolic link `path` that holds the text `target`."""
    with beneath.place(root, path) as new:
        here = Place(new.parent, staging.temporary_name(), new.path)
        os.symlink(target, here.name, dir_fd=here.parent)
        info = _publish_name(here, new, overwrite=overwrite, trail=trail)
        trail.note("file.symlinked", new.path, inode=info.st_ino, attrs={"target": target, "kind": "symlink"})
        return new.path


def _publish_name(here: Place, new: Place, *, overwrite: bool, trail: Trail) -> os.stat_result:
    try:
        staging.publish_name(here, new, overwrite=overwrite, trail=trail)
        beneath.sync_directory(new.parent)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(here.name, dir_fd=here.parent)
    trail.stale_entry(new.path)
    return os.stat(new.name, dir_fd=new.parent, follow_symlinks=False)
