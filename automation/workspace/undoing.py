"""How each effect is undone. An effect leaves records, plain JSON; undone in reverse, they put back what was there.

| `op` | was done | is undone by |
|---|---|---|
| `made` | something new is at `path` | taking it away into the trash |
| `mkdir` | a directory was made on the way | removing it, unless someone uses it by now |
| `kept` | what was at `path` went to the trash | putting it back |
| `replaced` | what was at `path` went to the trash, something new is there | changing the two |
| `lost` | what was at `path` was not kept | nothing: it fails |
| `moved` | `path` became `to` | moving it back |
| `mode`, `owner`, `xattr` | these were what is recorded | setting them |
| `appended` | the file had `size` bytes and has `after` | cutting it off |

Objects are told by their inode: what somebody else has put there meanwhile is left alone, and the record fails with a
sentence. To undo records again does nothing.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from automation.workspace import beneath, staging
from automation.workspace.appearance import note_appearance, note_disappearance
from automation.workspace.beneath import Place, Root
from automation.workspace.reasons import reason
from automation.workspace.trail import Trail
from automation.workspace.trash import Trash

Record = Mapping[str, Any]


def undo(root: Root, records: Sequence[Record], trash: Trash, trail: Trail) -> list[str]:
    """Undo records, the last one first; for each that could not be, what and why. The others are undone."""
    failures = []
    for number in range(len(records) - 1, -1, -1):
        record = records[number]
        try:
            step = _STEPS[str(record.get("op"))]
            with beneath.place(root, str(record["path"])) as at:
                step(root, at, record, trash, trail)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if not _settled(root, records[: number + 1]):
                failures.append(f"{record.get('op')} '{record.get('path')}': {reason(error)}")
    return failures


def _settled(root: Root, records: Sequence[Record]) -> bool:
    """Whether at the place of the last record, or above it, is what was there before the others: they are undone."""
    path = str(records[-1].get("path"))
    if _inode_at(root, path) is None:
        made = [record.get("to", record.get("path")) for record in records if record.get("op") in _MAKING]
        return any(f"{path}/".startswith(f"{one}/") for one in made)
    names = path.split("/")
    for above in ("/".join(names[: count + 1]) for count in range(len(names))):
        before = {r.get(_BEFORE.get(str(r.get("op")), "")) for r in records if r.get("path") == above} - {None}
        if before and _inode_at(root, above) in before:
            return True
    return False


def _inode_at(root: Root, path: str) -> int | None:
    try:
        with beneath.place(root, path) as at:
            return _inode(at)
    except OSError:
        return None


_MAKING: Final = frozenset(("made", "mkdir", "moved"))
_BEFORE: Final = MappingProxyType({"kept": "inode", "replaced": "before", "moved": "inode"})
"""Which field of a record names the inode that was there before."""


def _made(root: Root, at: Place, record: Record, trash: Trash, trail: Trail) -> None:
    if _inode(at) is None:
        return
    _require(at, record["inode"])
    note_disappearance(at, trail)
    _discard(at, trash)
    trail.stale_entry(at.path)


def _mkdir(root: Root, at: Place, record: Record, trash: Trash, trail: Trail) -> None:
    if _inode(at) != record["inode"]:
        return
    with suppress(OSError):  # it is not empty: someone uses it
        os.rmdir(at.name, dir_fd=at.parent)
        trail.stale_entry(at.path)
        trail.note("dir.deleted", at.path)


def _kept(root: Root, at: Place, record: Record, trash: Trash, trail: Trail) -> None:
    if _inode(at) == record["inode"]:
        return
    _entry(trash, record, record["inode"])
    trash.restore(record["trash"], at)
    beneath.sync_directory(at.parent)
    trail.stale_entry(at.path)
    note_appearance(at, trail)


def _replaced(root: Root, at: Place, record: Record, trash: Trash, trail: Trail) -> None:
    here = _inode(at)
    if here == record["before"]:
        return
    kept = _entry(trash, record, record["before"])
    if here is None:
        trash.restore(record["trash"], at)
    else:
        _require(at, record["inode"])
        note_disappearance(at, trail)
        beneath.rename(kept, at, beneath.EXCHANGE)
    beneath.sync_directory(at.parent)
    trail.stale_entry(at.path)
    note_appearance(at, trail)


def _lost(root: Root, at: Place, record: Record, trash: Trash, trail: Trail) -> None:
    raise OSError(0, "what was there was not kept")


def _moved(root: Root, at: Place, record: Record, trash: Trash, trail: Trail) -> None:
    if _inode(at) == record["inode"]:
        return
    with beneath.place(root, str(record["to"])) as there:
        _require(there, record["inode"])
        staging.rename_new(there, at)
        info = os.stat(at.name, dir_fd=at.parent, follow_symlinks=False)
        trail.stale_entry(there.path)
        trail.stale_entry(at.path)
        trail.note_renamed(there.path, at.path, info)


def _mode(root: Root, at: Place, record: Record, trash: Trash, trail: Trail) -> None:
    _require(at, record["inode"])
    with beneath.held(at) as fd:
        os.chmod(beneath.handle(fd), record["mode"])
    trail.stale_content(at.path)
    trail.note("file.attr.mode", at.path, inode=record["inode"], attrs={"mode": oct(record["mode"])})


def _owner(root: Root, at: Place, record: Record, trash: Trash, trail: Trail) -> None:
    _require(at, record["inode"])
    with beneath.held(at) as fd:
        os.chown(beneath.handle(fd), record["uid"], record["gid"])
        os.chmod(beneath.handle(fd), record["mode"])  # a change of owner takes suid and sgid away
    trail.stale_content(at.path)
    attrs = {"uid": record["uid"], "gid": record["gid"]}
    trail.note("file.attr.owner", at.path, inode=record["inode"], attrs=attrs)


def _xattr(root: Root, at: Place, record: Record, trash: Trash, trail: Trail) -> None:
    _require(at, record["inode"])
    name, value = record["name"], record["value"]
    with beneath.held(at) as fd:
        if value is not None:
            os.setxattr(beneath.handle(fd), name, base64.b64decode(value))
        elif name in os.listxattr(beneath.handle(fd)):
            os.removexattr(beneath.handle(fd), name)
    trail.stale_content(at.path)
    trail.note("file.attr.xattr", at.path, inode=record["inode"], attrs={"name": name})


def _appended(root: Root, at: Place, record: Record, trash: Trash, trail: Trail) -> None:
    _require(at, record["inode"])
    fd = os.open(at.name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=at.parent)
    try:
        info = os.fstat(fd)
        if info.st_size <= record["size"]:
            return
        if info.st_size != record["after"]:
            raise OSError(0, "it was changed meanwhile")
        os.ftruncate(fd, record["size"])
        os.utime(fd, ns=(record["atime"], record["mtime"]))
        os.fsync(fd)
    finally:
        os.close(fd)
    trail.stale_content(at.path)
    attrs = {"size_before": record["after"]}
    trail.note("file.truncated", at.path, inode=record["inode"], size=record["size"], attrs=attrs)


_Step = Callable[[Root, Place, Record, Trash, Trail], None]
_STEPS: Final[Mapping[str, _Step]] = MappingProxyType(
    {
        "made": _made,
        "mkdir": _mkdir,
        "kept": _kept,
        "replaced": _replaced,
        "lost": _lost,
        "moved": _moved,
        "mode": _mode,
        "owner": _owner,
        "xattr": _xattr,
        "appended": _appended,
    }
)


def _inode(at: Place) -> int | None:
    try:
        return os.stat(at.name, dir_fd=at.parent, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return None


def _require(at: Place, inode: int) -> None:
    here = _inode(at)
    if here is None:
        raise OSError(0, "it is not there any more")
    if here != inode:
        raise OSError(0, "something else has its name by now")


def _entry(trash: Trash, record: Record, inode: int) -> Place:
    place = trash.place(str(record["trash"]))
    if _inode(place) != inode:
        raise OSError(0, "it is not in the trash any more")
    return place


def _discard(at: Place, trash: Trash) -> None:
    if trash.ready:
        trash.keep(at)
    elif stat.S_ISDIR(os.stat(at.name, dir_fd=at.parent, follow_symlinks=False).st_mode):
        raise OSError(0, "nothing can be kept in this mount, so a whole directory is not removed")
    else:
        os.unlink(at.name, dir_fd=at.parent)
