"""What Python and the native library tell each other of inodes and open files (`_table.c`, `_files.c`) and directories
(`_listing.c`).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_RECORDS: Final = 64
_MOST_FRESH: Final = 4096
_MOST_WRITERS: Final = 8192
_U64, _INT, _BYTES = ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p


@dataclass(frozen=True, slots=True)
class Adopted:
    """An inode that the library has made, or renamed: its numbers, its descriptor, the number of its directory, and its
    status as the kernel was last told. `removed`: it has lost the name, which was its last; `written`: its status is
    news.
    """

    ino: int
    generation: int
    st_dev: int
    st_ino: int
    parent: int
    st_size: int
    st_mtime_ns: int
    st_mode: int
    st_uid: int
    st_gid: int
    fd: int
    removed: int
    written: int
    name: bytes


class _Record(ctypes.Structure):
    _fields_ = (
        ("ino", _U64),
        ("generation", _U64),
        ("st_dev", _U64),
        ("st_ino", _U64),
        ("parent", _U64),
        ("st_size", ctypes.c_int64),
        ("st_mtime_ns", ctypes.c_int64),
        ("st_mode", ctypes.c_uint32),
        ("st_uid", ctypes.c_uint32),
        ("st_gid", ctypes.c_uint32),
        ("fd", ctypes.c_int32),
        ("removed", ctypes.c_int32),
        ("written", ctypes.c_int32),
        ("name", ctypes.c_char * 256),
    )


_NAMES: Final = tuple(field[0] for field in _Record._fields_)


def _adopted(record: _Record) -> Adopted:
    return Adopted(*(getattr(record, name) for name in _NAMES))


class Table:
    """The library's table of inodes: it answers for those which have a descriptor."""

    def __init__(self, library: ctypes.PyDLL) -> None:
        self._fresh: Final = _INT.in_dll(library, "vex_fresh")
        self._most_fresh: Final = _INT.in_dll(library, "vex_fresh_most")
        self._crowded: Final = library.vex_crowded
        self._renamed: Final = _INT.in_dll(library, "vex_renamed")
        self._records: Final = (_Record * _RECORDS)()
        self._adopt: Final = library.vex_adopt
        self._adopt_one: Final = library.vex_adopt_one
        self._adopt_one.argtypes = (_U64, _U64, _U64, ctypes.POINTER(_Record))
        self._holds_fresh: Final = library.vex_holds_fresh
        self._holds_fresh.argtypes = (_U64,)
        self._follow: Final = library.vex_follow
        self.enter: Final = library.vex_enter
        self.enter.argtypes = (_U64, _U64, _U64, _U64, ctypes.c_uint32, _INT, _U64, _BYTES, _INT)
        self.enter.restype = None
        self.named: Final = library.vex_named
        self.named.argtypes = (_U64, _U64, _BYTES, _INT, _INT)
        self.named.restype = None
        self.opened: Final = library.vex_theirs
        self.opened.argtypes = (_U64, _INT)
        self.opened.restype = None
        self.ask_again: Final = library.vex_ask_again
        self.ask_again.argtypes = (_U64,)
        self.ask_again.restype = None
        self.hold: Final = library.vex_hold
        self.hold.argtypes = (_U64, _INT)
        self.hold.restype = None
        self.mappable: Final = library.vex_mappable
        self.mappable.argtypes = (_U64, _INT)
        self.mappable.restype = None
        self.taken: Final = library.vex_taken
        self.taken.argtypes = (_U64,)
        self.taken.restype = _U64
        self.drop: Final = library.vex_drop
        self.drop.argtypes = (_U64,)
        self.drop.restype = None
        self.device: Final = library.vex_device
        self.device.argtypes = (_U64, _U64)
        self.device.restype = None
        self._clear: Final = library.vex_clear
        self._close_files: Final = library.vex_close_files

    @property
    def fresh(self) -> bool:
        """Whether the library has made inodes that nobody has adopted."""
        return bool(self._fresh.value)

    def clear(self) -> None:
        """Forget everything."""
        self._close_files()
        self._clear()

    def limit(self, descriptors: int) -> None:
        """How many descriptors the inodes may have that nobody has adopted."""
        self._most_fresh.value = min(_MOST_FRESH, descriptors)

    @property
    def crowded(self) -> bool:
        """Whether there is hardly room for more of them, or of new names."""
        return bool(self._crowded())

    def adopt(self, most: int | None = None) -> list[Adopted]:
        """Take the inodes that the library has made, oldest first; not many more than `most`."""
        return self._take(self._adopt, self._fresh, most)

    def holds_fresh(self, ino: int) -> bool:
        """Whether any of them lies in this directory."""
        return bool(self._fresh.value and self._holds_fresh(ino))

    def adopt_one(self, ino: int, dev: int = 0, backing_ino: int = 0) -> Adopted | None:
        """Take one of them: by its number or, if that is 0, by the object that it is."""
        if not self._fresh.value or not self._adopt_one(ino, dev, backing_ino, self._records):
            return None
        return _adopted(self._records[0])

    def follow(self) -> list[Adopted]:
        """Take those of the others which it has given another name, or taken their last from."""
        return self._take(self._follow, self._renamed)

    def _take(self, function: Callable[..., int], waiting: ctypes.c_int, most: int | None = None) -> list[Adopted]:
        taken = list[Adopted]()
        while waiting.value and (most is None or len(taken) < most):
            taken.extend(map(_adopted, self._records[: function(self._records, _RECORDS)]))
        return taken


class Taken(ctypes.Structure):
    """A file that the library had open. `native`: by the kernel's passthrough, under `backing_id`."""

    _fields_ = (
        ("ino", _U64),
        ("size", ctypes.c_int64),
        ("mtime_ns", ctypes.c_int64),
        ("fd", ctypes.c_int32),
        ("flags", ctypes.c_int32),
        ("created", ctypes.c_int32),
        ("native", ctypes.c_int32),
        ("backing_id", ctypes.c_int32),
        ("changed", ctypes.c_int32),
        ("truncated", ctypes.c_int32),
        ("pid", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
    )


class OpenFiles:
    """Files that the library has opened by itself."""

    def __init__(self, library: ctypes.PyDLL) -> None:
        self._count: Final = _INT.in_dll(library, "vex_files")
        self._taken: Final = (Taken * _RECORDS)()
        self._take: Final = library.vex_take_files
        self._take.argtypes = (_U64, ctypes.POINTER(Taken), _INT)
        self._inode_of: Final = library.vex_inode_of
        self._inode_of.argtypes = (_U64,)
        self._inode_of.restype = _U64
        self._watched: Final = _INT.in_dll(library, "vex_watched")
        self._links: Final = _INT.in_dll(library, "vex_links")

    def serve(self, links: int, *, watched: bool) -> None:
        """Open files from now on; `links` as for `passthrough.reopen`. Whether a watch wants to know of writers."""
        self._links.value, self._watched.value = links, watched

    def inode_of(self, fh: int) -> int:
        """The number of the inode that one of them is of; 0 if it is not among them."""
        return int(self._inode_of(fh))

    def take(self, ino: int = 0) -> list[Taken]:
        """Those that are open, or those of one inode: Python's from now on."""
        taken: list[Taken] = []
        while self._count.value:
            count = self._take(ino, self._taken, _RECORDS)
            taken.extend(Taken.from_buffer_copy(one) for one in self._taken[:count])
            if count < _RECORDS:
                break
        return taken


class _Told(ctypes.Structure):
    _fields_ = (
        ("ino", _U64),
        ("pid", ctypes.c_uint32),
        ("native", ctypes.c_uint32),
        ("key", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
    )


@dataclass(frozen=True, slots=True)
class Writer:
    """A file that could be written to and was closed: by which process, and whether the kernel wrote for it.

    `key` is the handle of its directory with its name.
    """

    ino: int
    pid: int
    native: bool
    key: bytes


class Writers:
    """Files that the library has closed, for the watch (`_watch.c`)."""

    def __init__(self, library: ctypes.PyDLL) -> None:
        self._told: Final = (_Told * _MOST_WRITERS)()
        self._writers: Final = library.vex_writers
        self._foreign: Final = library.vex_foreign
        self._foreign.argtypes = (ctypes.c_void_p, ctypes.c_size_t, _INT)
        self.looked: Final = library.vex_looked
        self.looked.restype = None

    def foreign(self, notices: bytearray, length: int, own: int) -> bool:
        """Whether any of these is of somebody else than the process `own` and those who wrote natively."""
        return bool(self._foreign((ctypes.c_char * length).from_buffer(notices), length, own))

    def remembered(self) -> list[Writer]:
        """Those since the look before the last."""
        told = self._told[: self._writers(self._told, _MOST_WRITERS)]
        return [Writer(one.ino, one.pid, bool(one.native), ctypes.string_at(one.key, one.length)) for one in told]


class Listings:
    """Open directories whose listings the library answers, from snapshots in the form of `dirents`."""

    def __init__(self, library: ctypes.PyDLL, blocking: ctypes.CDLL) -> None:
        self._list: Final = blocking.vex_list
        self._list.argtypes = (_INT, _BYTES, ctypes.POINTER(ctypes.c_void_p))
        self._list.restype = ctypes.c_ssize_t
        self._free: Final = library.vex_free
        self._free.argtypes = (ctypes.c_void_p,)
        self._entries: Final = library.vex_entries
        self._entries.argtypes = (_U64, ctypes.POINTER(ctypes.c_size_t))
        self._entries.restype = ctypes.c_void_p
        self._snapshot: Final = library.vex_snapshot
        self._snapshot.argtypes = (_U64, _BYTES, ctypes.c_size_t)
        self._snapshot.restype = None
        self.opened: Final = library.vex_opened
        self.opened.argtypes = (_U64, _U64, _INT)
        self.opened.restype = None
        self.closed: Final = library.vex_closed
        self.closed.argtypes = (_U64,)
        self.closed.restype = None

    def scan(self, fd: int, hide: bytes) -> bytes:
        """A directory's entries. Raises OSError; may block, and lets other threads run."""
        records = ctypes.c_void_p()
        length = self._list(fd, hide, ctypes.byref(records))
        if length < 0:
            raise OSError(-length, os.strerror(-length))
        found = ctypes.string_at(records, length) if records.value else b""
        self._free(records)
        return found

    def entries(self, fh: int) -> bytes | None:
        """The snapshot that an open directory is answered from, if there is one."""
        length = ctypes.c_size_t()
        found = self._entries(fh, ctypes.byref(length))
        return ctypes.string_at(found, length.value) if found else None

    def serve(self, fh: int, entries: bytes) -> None:
        """Answer from this snapshot."""
        self._snapshot(fh, entries, len(entries))
