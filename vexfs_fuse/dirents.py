"""A listing in the kernel's form: `struct fuse_dirent` records one after the other, each telling the position behind
it.

One form serves plain listings, which are slices of it, and those with attributes, which are parsed from it, so that a
reader may change from one to the other at any entry, as the kernel does.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from automation.workspace.beneath import TRASH_NAME
from vexfs_fuse.native import NATIVE

_HEAD: Final = struct.Struct("=QQII")  # ino, off, namelen, type


def scan(fd: int, hide: bytes) -> bytes:
    """All entries of the directory `fd`, `.` and `..` among them. Raises OSError; may be slow.

    In the root `hide` is left out, and with it the trash of the automations.
    """
    if NATIVE is not None:
        return NATIVE.listings.scan(fd, hide)
    os.lseek(fd, 0, os.SEEK_SET)
    with os.scandir(fd) as entries:
        found = [(os.fsencode(entry.name), entry.inode(), _kind(entry)) for entry in entries]
    here = os.fstat(fd).st_ino
    dots = [(b".", here, stat.S_IFDIR), (b"..", here, stat.S_IFDIR)]
    hidden = (hide, TRASH_NAME) if hide else ()
    return encode(entry for entry in [*dots, *found] if entry[0] not in hidden)


def encode(entries: Iterable[tuple[bytes, int, int]], position: int = 0) -> bytes:
    """Records of (name, inode number, S_IF… kind), to stand at byte `position` of a listing."""
    out = bytearray()
    for name, ino, kind in entries:
        out += record(name, ino, kind, position + len(out) + _size(len(name)))
    return bytes(out)


def record(name: bytes, ino: int, kind: int, after: int) -> bytes:
    """One record, whose reader goes on at position `after`."""
    return (_HEAD.pack(ino, after, len(name), kind >> 12) + name).ljust(_size(len(name)), b"\0")


def decode(listing: bytes, position: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, inode number, position behind it) from byte `position` on."""
    while position < len(listing):
        ino, after, length, _ = _HEAD.unpack_from(listing, position)
        start = position + _HEAD.size
        yield listing[start : start + length], ino, after
        position += _size(length)


def portion(listing: bytes, position: int, size: int) -> bytes:
    """As many whole records from byte `position` on as `size` bytes hold."""
    end = position
    while end < len(listing):
        after = end + _size(_HEAD.unpack_from(listing, end)[2])
        if after - position > size:
            break
        end = after
    return listing[position:end]


def _size(length: int) -> int:
    """Bytes of a record whose name has `length`."""
    return (_HEAD.size + length + 7) & ~7


def _kind(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    return 0  # DT_UNKNOWN: the reader asks for the attributes
