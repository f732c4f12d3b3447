"""The native library: loaded before pyfuse3 is, or done without.

`vexfs_fuse._native` is a plain shared library (see `_native.c`). It must be in the global symbol scope before
`import pyfuse3` binds libfuse's names, so this module is imported first wherever pyfuse3 is used.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vexfs_fuse.table import Listings, OpenFiles, Table, Writers

log: Final = logging.getLogger(__name__)

# Bits of the INIT exchange (linux/fuse.h), and of an open reply.
HANDLE_KILLPRIV_V2: Final = 1 << 28
DIRECT_IO_ALLOW_MMAP: Final = 1 << 36
PASSTHROUGH: Final = 1 << 37
FOPEN_DIRECT_IO: Final = 1 << 0
FOPEN_KEEP_CACHE: Final = 1 << 1
FOPEN_CACHE_DIR: Final = 1 << 3
FOPEN_NOFLUSH: Final = 1 << 5
FOPEN_PARALLEL_DIRECT_WRITES: Final = 1 << 6
FOPEN_PASSTHROUGH: Final = 1 << 7

# Types of the events that requests are which the library can answer by itself, in the order of its own enumeration.
ANSWERED: Final = (
    "meta.lookup",
    "meta.getattr",
    "dir.listed",
    "meta.xattr",
    "file.created",
    "file.opened",
    "file.closed",
    "file.read",
    "file.written",
    "sync.flush",
    "file.deleted",
    "file.renamed",
    "file.replaced",
    "dir.created",
    "dir.deleted",
    "dir.renamed",
    "file.truncated",
    "file.attr.mode",
    "file.attr.owner",
    "file.attr.times",
    "file.symlinked",
    "meta.readlink",
    "sync.fsync",
)

ASIDE: Final = -4096  # what a function returns that leaves the request to the ordinary way

SET_ATIME_NOW: Final = 1 << 7
SET_MTIME_NOW: Final = 1 << 8


class Request(ctypes.Structure):
    """The caller of the request in hand (`struct vex_request`); valid until the handler's first await."""

    _fields_ = (
        ("ino", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("flags", ctypes.c_int32),
        ("umask", ctypes.c_uint32),
    )


class Extra(ctypes.Structure):
    """The table of operations that Python adds (`vex_extra`); all void functions of a request."""

    _fields_ = tuple(
        (name, ctypes.c_void_p)
        for name in (
            *("readdir", "fallocate", "lseek", "copy_file_range", "statx", "ioctl"),
            *("getlk", "setlk", "flock", "unlock"),
        )
    )


class Direct(ctypes.Structure):
    """The table of functions that carry out requests at once (`vex_direct`)."""

    _fields_ = tuple(
        (name, ctypes.c_void_p)
        for name in (
            *("open", "opendir", "create", "mkdir", "unlink", "rmdir", "rename"),
            *("enter", "enter_open", "settle"),
        )
    )


class Timeouts(ctypes.Structure):
    """For how many seconds the kernel may believe what the library answers; `absent` is of names that are not there."""

    _fields_ = tuple((name, ctypes.c_double) for name in ("entry", "attr", "file", "absent"))


class Deferred(ctypes.Structure):
    """A release (count 0) of a file handle, or lookups of an inode to forget."""

    _fields_ = (("id", ctypes.c_uint64), ("count", ctypes.c_uint64))


class Self(ctypes.Structure):
    """Who we are: user, group, securebits, and whether we may act as others (`vex_self`)."""

    _fields_ = tuple((name, ctypes.c_uint32) for name in ("uid", "gid", "bits", "switches"))


class Native:
    """The loaded library. Use `load()`; its absence is None."""

    def __init__(self, path: Path) -> None:
        self._library: Final = ctypes.PyDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        self.libfuse: Final = self._library  # which is linked to it, so that its functions are found by this name too
        self._blocking: Final = ctypes.CDLL(str(path))
        self.request: Final = Request.in_dll(self._library, "vex_request")
        self.extra: Final = Extra.in_dll(self._library, "vex_extra")
        self.direct: Final = Direct.in_dll(self._library, "vex_direct")
        self.created: Final = ctypes.c_uint64.in_dll(self._library, "vex_created")
        self._open_flags: Final = ctypes.c_uint32.in_dll(self._library, "vex_open_flags")
        self._backing_id: Final = ctypes.c_int32.in_dll(self._library, "vex_backing_id")
        self._wanted: Final = ctypes.c_uint64.in_dll(self._library, "vex_wanted")
        self._agreed: Final = ctypes.c_uint64.in_dll(self._library, "vex_agreed")
        self._active: Final = ctypes.c_int.in_dll(self._library, "vex_active")
        self.owed: Final = ctypes.c_int.in_dll(self._library, "vex_owed")
        self._deferred: Final = (Deferred * 1088).in_dll(self._library, "vex_deferred")
        self._deferred_count: Final = ctypes.c_int.in_dll(self._library, "vex_deferred_count")
        self._session_fd: Final = ctypes.c_int.in_dll(self._library, "vex_session_fd")
        self.timeouts: Final = Timeouts.in_dll(self._library, "vex_timeouts")
        self._silent: Final = ctypes.c_uint32.in_dll(self._library, "vex_silent")
        self._unheard: Final = (ctypes.c_uint64 * len(ANSWERED)).in_dll(self._library, "vex_unheard")
        self.table: Final = Table(self._library)
        self.listings: Final = Listings(self._library, self._blocking)
        self.files: Final = OpenFiles(self._library)
        self.writers: Final = Writers(self._library)
        self._given: Final = ctypes.c_uint64.in_dll(self._library, "vex_backings_given")
        self._returned: Final = ctypes.c_uint64.in_dll(self._library, "vex_backings_returned")
        self._self: Final = Self.in_dll(self._library, "vex_self")
        self._keep: Final[list[object]] = []  # callbacks that C points to
        self.wait: Final = self._blocking.vex_wait
        self.wait.argtypes = (ctypes.c_int, ctypes.c_long, ctypes.c_long)

    def want(self, flags: int) -> None:
        """Ask for these INIT bits at the next mount."""
        self._wanted.value = flags

    @property
    def agreed(self) -> int:
        """The INIT bits in force, 0 before the kernel has asked."""
        return int(self._agreed.value)

    @property
    def active(self) -> bool:
        """Whether the session was made through the library; from `pyfuse3.init` on."""
        return bool(self._active.value)

    @property
    def passthrough(self) -> bool:
        """Whether the kernel does the I/O of native opens by itself."""
        return bool(self.agreed & PASSTHROUGH)

    @property
    def session_fd(self) -> int:
        """The descriptor that the kernel's requests come by, for notifications."""
        return int(self._session_fd.value)

    def answer(self, types: Collection[str], *, absent: bool) -> None:
        """Answer by itself the requests whose events are of these types (of `ANSWERED`), since nobody hears them, and
        lookups of names that are not there.
        """
        bits = sum(1 << bit for bit, name in enumerate(ANSWERED) if name in types)
        self._silent.value = bits | absent << len(ANSWERED)

    def shape(self, kinds: int, extensions: Mapping[bytes, int]) -> None:
        """Events of these kinds (bits, in the order of `ANSWERED`) are heard of names that have one of the extensions,
        each with its kinds, or that lie in a directory of which `on_directory` says so.
        """
        told = b"".join(of.to_bytes(4, sys.byteorder) + name + b"\0" for name, of in extensions.items())
        self._library.vex_shape(
            ctypes.c_uint32(kinds), told, ctypes.c_size_t(len(told)), ctypes.c_size_t(len(extensions))
        )

    def on_directory(self, within: Callable[[int], int]) -> None:
        """Ask `within` for the kinds of events that somebody might want of any name in a directory."""
        function = ctypes.PYFUNCTYPE(ctypes.c_uint32, ctypes.c_uint64)(within)
        self._keep.append(function)
        pointer = ctypes.c_void_p.in_dll(self._library, "vex_within")
        pointer.value = ctypes.cast(function, ctypes.c_void_p).value

    def unheard(self) -> list[tuple[str, int]]:
        """Take the numbers of events that were none, since nobody hears them, by type."""
        counts = [(name, count) for name, count in zip(ANSWERED, self._unheard, strict=True) if count]
        if counts:
            ctypes.memset(self._unheard, 0, ctypes.sizeof(self._unheard))
        return counts

    @property
    def put_off(self) -> bool:
        """Whether the library has left anything to do."""
        return bool(self._deferred_count.value)

    def deferred(self) -> list[tuple[int, int]]:
        """Take what the library answered and left to do: (handle, 0) to release, (inode number, lookups) to forget."""
        count = self._deferred_count.value
        if not count:
            return []
        work = [(item.id, item.count) for item in self._deferred[:count]]
        self._deferred_count.value = 0
        return work

    def register(self, name: str, types: Sequence[Any], function: Callable[..., None]) -> None:
        """Serve the operation `name` by `function(request, …)`, whose further arguments are of the C `types`."""
        callback = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, *types)(function)
        self._keep.append(callback)
        setattr(self.extra, name, ctypes.cast(callback, ctypes.c_void_p))

    def on_data(self, told: Callable[[int, int, int, int, int, int, int], None]) -> None:
        """Read and write traced files in the library. `told` gets handle, written, pid, uid, gid, offset and length
        of each, before the reply.
        """
        types = (ctypes.c_int, *(ctypes.c_uint32,) * 3, ctypes.c_int64, ctypes.c_uint64)
        function = ctypes.PYFUNCTYPE(None, ctypes.c_uint64, *types)(told)
        self._keep.append(function)
        pointer = ctypes.c_void_p.in_dll(self._library, "vex_told")
        pointer.value = ctypes.cast(function, ctypes.c_void_p).value

    def judge_writes(self, judged: bool) -> None:
        """Whether guards are to be asked before a write: then Python does it."""
        ctypes.c_int.in_dll(self._library, "vex_judged").value = judged

    def carry_out(self, name: str, types: Sequence[Any], function: Callable[..., int]) -> None:
        """Have the requests `name` carried out by `function`, which returns what it has made, -errno, or `ASIDE`."""
        callback = ctypes.PYFUNCTYPE(ctypes.c_int64, *types)(function)
        self._keep.append(callback)
        setattr(self.direct, name, ctypes.cast(callback, ctypes.c_void_p))

    def settle(self, settle: Callable[[int], None]) -> None:
        """Call `settle` before Python is asked for anything, while there is something put off, or the library has files
        open of the inode with the number that it is given (else 0).
        """
        callback = ctypes.PYFUNCTYPE(None, ctypes.c_uint64)(settle)
        self._keep.append(callback)
        self.direct.settle = ctypes.cast(callback, ctypes.c_void_p)

    def reply_flags(self, flags: int, backing_id: int = 0) -> None:
        """Add to the reply of the open or create handler that returns next."""
        self._open_flags.value = flags
        self._backing_id.value = backing_id

    def reply_direct_io(self) -> None:
        """Add that reads and writes are to be sent one by one."""
        self._open_flags.value |= FOPEN_DIRECT_IO

    def backing_open(self, fd: int) -> int:
        """Register `fd`'s file with the kernel; its backing id. Raises OSError."""
        result = int(self._library.vex_backing_open(fd))
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    def backing_close(self, backing_id: int) -> None:
        """Give a backing id back."""
        self._library.vex_backing_close(ctypes.c_uint32(backing_id))

    @property
    def registered(self) -> int:
        """Backing ids that the kernel has given."""
        return int(self._given.value)

    @property
    def returned(self) -> int:
        """And that it has taken back."""
        return int(self._returned.value)

    def act_as_others(self, uid: int, gid: int, bits: int, *, allowed: bool) -> None:
        """What this process is, and whether it may make things in the name of others (`credentials`)."""
        self._self.uid, self._self.gid, self._self.bits, self._self.switches = uid, gid, bits, allowed

    def on_interrupt(self, first_handle: int, callback: Callable[[int], None]) -> None:
        """Call `callback(fh)` when a reader waiting on a handle ≥ `first_handle` gets a signal."""
        function = ctypes.PYFUNCTYPE(None, ctypes.c_uint64)(callback)
        self._keep.append(function)
        pointer = ctypes.c_void_p.in_dll(self._library, "vex_interrupted")
        pointer.value = ctypes.cast(function, ctypes.c_void_p).value
        ctypes.c_uint64.in_dll(self._library, "vex_interruptible").value = first_handle


def load() -> Native | None:
    """The library, or None with one line in the log where it cannot be had. Must run before `import pyfuse3`."""
    if "VEXFS_NO_NATIVE" in os.environ:
        return None
    folder = Path(__file__).parent
    found = sorted(folder.glob("_native*.so"))
    if not found or "pyfuse3" in sys.modules:
        log.warning("native library %s: ordinary FUSE I/O", "not built" if not found else "loaded too late")
        return None
    built = found[0].stat().st_mtime
    if any(source.stat().st_mtime > built for source in (*folder.glob("*.c"), *folder.glob("*.h"))):
        # half of another version, its symbols already in force, would be worse than none
        log.warning("native library older than its sources (make install builds it anew): ordinary FUSE I/O")
        return None
    try:
        return Native(found[0])
    except (OSError, AttributeError, ValueError) as error:
        log.warning("native library cannot be loaded (%s): ordinary FUSE I/O", error)
        return None


NATIVE: Final = load()
