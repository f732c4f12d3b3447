"""Packs names of the tree into an archive, which appears complete or not at all."""

from __future__ import annotations

import os
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

from automation.identity import Identity
from automation.workspace import beneath, changes, staging
from automation.workspace.archives import CHUNK, compressed
from automation.workspace.beneath import Place, Root
from automation.workspace.copying import Check, open_file
from automation.workspace.trail import Trail

_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)  # zip knows no earlier time


@dataclass(frozen=True, slots=True)
class Packing:
    """What goes where."""

    sources: Sequence[str]
    target: str
    form: str
    overwrite: bool
    parents: bool


def pack(root: Root, packing: Packing, check: Check, trail: Trail) -> tuple[str, int, int]:
    """The path and size of the archive, and how many entries are in it."""
    if packing.parents:
        changes.make_parents(root, packing.target, trail)
    with (
        beneath.place(root, packing.target, follow=True) as at,
        staging.staged(at, changes.FILE_MODE) as new,
        open(new.fd, "wb", closefd=False) as raw,
    ):
        count = 0
        with _writer(packing.form, raw, root.identity) as add:
            for source in packing.sources:
                with beneath.place(root, source) as old:
                    count += _add(old, os.fsdecode(old.name), add, check, {os.fstat(new.fd).st_ino})
        raw.flush()
        replaced = new.publish(overwrite=packing.overwrite, trail=trail)
        info = os.fstat(new.fd)
        trail.stale_entry(at.path)
        trail.note_file(at.path, info, replaced)
        return at.path, info.st_size, count


_Add = Callable[[Place, str, os.stat_result, Check], None]


def _add(at: Place, name: str, add: _Add, check: Check, without: set[int]) -> int:
    info = os.stat(at.name, dir_fd=at.parent, follow_symlinks=False)
    kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
    if (
        info.st_ino in without
        or at.name.startswith(beneath.TEMPORARY_PREFIX)
        or not any(k(info.st_mode) for k in kinds)
    ):
        return 0
    add(at, name, info, check)
    if not stat.S_ISDIR(info.st_mode):
        return 1
    fd = os.open(at.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.parent)
    try:
        names = sorted(map(os.fsencode, os.listdir(fd)))
        return 1 + sum(
            _add(Place(fd, one, beneath.child(at.path, one)), f"{name}/{os.fsdecode(one)}", add, check, without)
            for one in names
        )
    finally:
        os.close(fd)


@contextmanager
def _writer(form: str, raw: IO[bytes], identity: Identity | None) -> Iterator[_Add]:
    if form == "zip":
        with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
            yield lambda at, name, info, check: _add_to_zip(archive, at, name, info, check)
        return
    with (
        compressed(form, raw, identity) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        yield lambda at, name, info, check: _add_to_tar(tar, at, name, info, check)


class _Counted:
    """A file that is read piece by piece, each counted."""

    def __init__(self, raw: IO[bytes], check: Check) -> None:
        self._raw: Final = raw
        self._check: Final = check

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(CHUNK if size < 0 else size)
        self._check(len(data))
        return data


def _add_to_tar(tar: tarfile.TarFile, at: Place, name: str, info: os.stat_result, check: Check) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.uid, entry.gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
    entry.mtime = info.st_mtime
    if stat.S_ISLNK(info.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(os.fsdecode(at.name), dir_fd=at.parent)
        tar.addfile(entry)
    elif stat.S_ISDIR(info.st_mode):
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
    else:
        with open(open_file(at), "rb") as file:
            entry.size = os.fstat(file.fileno()).st_size
            tar.addfile(entry, _Counted(file, check))


def _add_to_zip(archive: zipfile.ZipFile, at: Place, name: str, info: os.stat_result, check: Check) -> None:
    date = max(time.localtime(info.st_mtime)[:6], _EARLIEST)
    entry = zipfile.ZipInfo(f"{name}/" if stat.S_ISDIR(info.st_mode) else name, date)
    entry.external_attr = info.st_mode << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    if stat.S_ISDIR(info.st_mode):
        archive.writestr(entry, b"")
    elif stat.S_ISLNK(info.st_mode):
        archive.writestr(entry, os.fsencode(os.readlink(os.fsdecode(at.name), dir_fd=at.parent)))
    else:
        with open(open_file(at), "rb") as file, archive.open(entry, "w", force_zip64=True) as out:
            while data := file.read(CHUNK):
                check(len(data))
                out.write(data)
