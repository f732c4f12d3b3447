"""What Python and the native library tell each other of inodes and of open directories (`_table.c`, `_listing.c`)."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Final

_FRESH: Final = 256  # inodes that the library makes before it asks for their adoption
_U64, _INT, _BYTES = ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p


@dataclass(frozen=True, slots=True)
class Adopted:
    """An inode that the library has made: its numbers, its descriptor, and the number of its directory."""

    ino: int
    generation: int
    parent: int
    fd: int
    name: bytes


class _Record(ctypes.Structure):
    _fields_ = (
        ("ino", _U64),
        ("generation", _U64),
        ("parent", _U64),
        ("fd", ctypes.c_int32),
        ("name", ctypes.c_char * 256),
    )


class Table:
    """The library's table of inodes: it answers for those which have a descriptor."""

    def __init__(self, library: ctypes.PyDLL) -> None:
        self._fresh: Final = _INT.in_dll(library, "vex_fresh")
        self._records: Final = (_Record * _FRESH)()
        self._adopt: Final = library.vex_adopt
        self.enter: Final = library.vex_enter
        self.enter.argtypes = (_U64, _U64, _U64, _U64, ctypes.c_uint32, _INT, _U64, _BYTES)
        self.enter.restype = None
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
        self.clear: Final = library.vex_clear
        self.clear.restype = None

    @property
    def fresh(self) -> bool:
        """Whether the library has made inodes that nobody has adopted."""
        return bool(self._fresh.value)

    def adopt(self) -> list[Adopted]:
        """Take the inodes that the library has made, oldest first."""
        records = self._records[: self._adopt(self._records)]
        return [Adopted(one.ino, one.generation, one.parent, one.fd, one.name) for one in records]


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
