"""Unpacks an archive into a new directory of the tree, which appears complete or not at all.

An entry that would leave the directory makes the whole archive be refused: an absolute path, `..`, a link that leads
out, a device. Bytes are counted as they come out, whatever the archive says of itself.
"""

from __future__ import annotations

import os
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Final

from automation.identity import Identity
from automation.workspace import beneath, changes, copying, removal, staging
from automation.workspace.appearance import note_appearance
from automation.workspace.archives import expanded, refused
from automation.workspace.beneath import Place, Root
from automation.workspace.copying import Check, open_file
from automation.workspace.trail import Trail
from automation.workspace.unpacked import Bounds, Folder, Meter, names_of

_LONGEST_LINK: Final = 4095


@dataclass(frozen=True, slots=True)
class Unpacking:
    """What goes where, and how much of it."""

    source: str
    target: str
    form: str
    bounds: Bounds
    overwrite: bool
    parents: bool


def unpack(root: Root, unpacking: Unpacking, check: Check, trail: Trail) -> tuple[str, int, int]:
    """The path of the new directory, how many bytes and entries are in it."""
    if unpacking.parents:
        changes.make_parents(root, unpacking.target, trail)
    with beneath.place(root, unpacking.source, follow=True) as old:
        raw = open(open_file(old), "rb")  # noqa: SIM115 - closed below, with all that reads it
    with raw, beneath.place(root, unpacking.target) as target:
        if not unpacking.overwrite and beneath.exists(target):
            raise FileExistsError(0, "File exists", target.path)
        here = Place(target.parent, staging.temporary_name(), target.path)
        os.mkdir(here.name, 0o755, dir_fd=here.parent)
        try:
            meter = Meter(unpacking.bounds, max(1, os.fstat(raw.fileno()).st_size), check)
            with _opened(here) as fd:
                folder = Folder(fd, meter)
                _READERS["zip" if unpacking.form == "zip" else "tar"](raw, unpacking.form, folder, root.identity)
                folder.finish()
            copying.publish_tree(here, target, overwrite=unpacking.overwrite, trail=trail)
            beneath.sync_directory(target.parent)
            trail.stale_entry(target.path)
        finally:
            with suppress(FileNotFoundError):
                removal.remove(here, recursive=True, check=lambda: None, trail=Trail(None))
        note_appearance(target, trail)
        return target.path, meter.size, meter.entries


@contextmanager
def _opened(at: Place) -> Iterator[int]:
    fd = os.open(at.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.parent)
    try:
        yield fd
    finally:
        os.close(fd)


def _read_tar(raw: IO[bytes], form: str, folder: Folder, identity: Identity | None) -> None:
    try:
        with (
            expanded(raw, form, identity) as stream,
            tarfile.open(fileobj=folder.meter.metered(stream), mode="r|") as tar,
        ):
            for entry in tar:
                _take_from_tar(tar, entry, folder)
    except (tarfile.TarError, EOFError) as error:
        raise refused(f"it is broken: {error}") from None


def _take_from_tar(tar: tarfile.TarFile, entry: tarfile.TarInfo, folder: Folder) -> None:
    names = names_of(entry.name)
    if not names:
        return
    if entry.isdir():
        folder.directory(names, entry.mode, entry.mtime)
    elif entry.isreg():
        source = tar.extractfile(entry)
        assert source is not None
        folder.file(names, source, entry.mode, entry.mtime)
    elif entry.issym():
        folder.symlink(names, entry.linkname)
    elif entry.islnk():
        folder.link(names, names_of(entry.linkname))
    else:
        raise refused(f"it has an entry that is no file, directory or link: '{entry.name}'")


def _link_in(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    with archive.open(entry) as source:
        text = source.read(_LONGEST_LINK + 1)
    if len(text) > _LONGEST_LINK:
        raise refused(f"its link '{entry.filename}' is too long")
    return os.fsdecode(text)


def _read_zip(raw: IO[bytes], form: str, folder: Folder, identity: Identity | None) -> None:
    try:
        with zipfile.ZipFile(raw) as archive:
            for entry in archive.infolist():
                names, mode = names_of(entry.filename), entry.external_attr >> 16
                when = time.mktime((*entry.date_time, 0, 0, -1))
                if not names:
                    continue
                if entry.is_dir():
                    folder.directory(names, mode or 0o755, when)
                elif stat.S_ISLNK(mode):
                    folder.symlink(names, _link_in(archive, entry))
                else:
                    with archive.open(entry) as source:
                        folder.file(names, source, mode, when)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise refused(f"it is broken: {error}") from None


_Reader = Callable[[IO[bytes], str, Folder, Identity | None], None]
_READERS: Final[dict[str, _Reader]] = {
    "tar": _read_tar,
    "zip": _read_zip,
}
