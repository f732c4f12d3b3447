"""What automations deleted or replaced is kept for a while, so that it can be brought back exactly as it was.

The directory `.vexfs-tmp-trash` in the root of the tree takes it by a rename: nothing is copied but what lies on
another filesystem. A tenant has a directory of its own in there, which belongs to its user; nobody but root gets into
the one above. Its entries go when they are too old; the oldest ones when all are too large or too many, or the
disk is full.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import Final

from automation.identity import Identity, acting, resting
from automation.workspace import beneath, copying, removal, staging
from automation.workspace.beneath import TRASH_NAME, Place
from automation.workspace.trail import Trail

AGE: Final = 86_400.0
SIZE: Final = 1 << 30
MOST: Final = 10_000
_TENANT: Final = "tenant-"
_ENTRY: Final = re.compile(r"\d{20}-[0-9a-f]{12}\Z")
_FREE: Final = 0.05  # of the filesystem; with less, the trash keeps nothing
_BLOCK: Final = 512  # bytes in a unit of st_blocks


class Trash:
    """Entries are named by when they came, in nanoseconds, and at random. Call from any thread; all of it blocks.

    With an `identity`, the entries are that user's, in the directory of the `tenant`.
    """

    def __init__(
        self, root_fd: int, age: float = AGE, size: int = SIZE, *, tenant: str = "", identity: Identity | None = None
    ) -> None:
        self._own: Final = f"{_TENANT}{tenant}"
        self._shown: Final = TRASH_NAME.decode() if identity is None else f"{TRASH_NAME.decode()}/{self._own}"
        self._identity: Final = identity
        self._root: Final = root_fd
        self._age: Final = age
        self._size: Final = size
        self._lock: Final = threading.RLock()
        self._entries: OrderedDict[str, int] | None = None  # bytes of each, oldest first
        self._total = 0
        self._fd = -1

    @property
    def ready(self) -> bool:
        """Whether anything can be kept; its directory is made now. Not where the root may not be written to."""
        if self._size <= 0:
            return False
        try:
            return self._directory() >= 0
        except OSError:
            return False

    def place(self, entry: str) -> Place:
        """Where an entry is; its path is one that is never shown."""
        if not _ENTRY.match(entry):
            raise OSError(0, "that is no name of an entry of the trash", entry)
        return Place(self._directory(), entry.encode(), f"{self._shown}/{entry}")

    def keep(self, at: Place) -> str:
        """Take what is at `at`, name and all; the entry's name. `purge` when the events of it are noted."""
        entry = f"{time.time_ns():020d}-{secrets.token_hex(6)}"
        target = self.place(entry)
        if beneath.mount_id(at.parent) == beneath.mount_id(target.parent):
            beneath.rename(at, target)
        else:
            _carry(at, target)
        self._account(entry, target)
        return entry

    def exchange(self, new: Place, target: Place) -> str | None:
        """Give `new` the name `target`, and keep what had it; None if meanwhile nothing had it."""
        try:
            beneath.rename(new, target, beneath.EXCHANGE)
        except FileNotFoundError:
            beneath.rename(new, target)
            return None
        except OSError:  # a filesystem that cannot: keep first, and let the name stand for nothing for a moment
            entry = self.keep(target)
            beneath.rename(new, target)
            return entry
        return self.keep(new)

    def restore(self, entry: str, at: Place) -> None:
        """Put an entry back, to a name that is free."""
        kept = self.place(entry)
        if beneath.mount_id(at.parent) == beneath.mount_id(kept.parent):
            staging.rename_new(kept, at)
        else:
            _carry(kept, at)
        with self._lock:
            if self._entries is not None:
                self._total -= self._entries.pop(entry, 0)

    def purge(self) -> int:
        """Remove what is too old or too much; how many entries went."""
        with self._lock:
            if self._fd < 0 and not os.path.isdir(f"/proc/self/fd/{self._root}/{TRASH_NAME.decode()}"):
                return 0
            with acting(self._identity):
                return self._purge()

    def _purge(self) -> int:
        entries, count = self._known(), 0
        oldest = time.time_ns() - int(self._age * 1e9)
        while entries:
            entry = next(iter(entries))
            fits = self._total <= self._size and len(entries) <= MOST and not self._tight()
            if fits and _born(entry) >= oldest:
                break
            self._total -= entries.pop(entry)
            with suppress(FileNotFoundError):
                removal.remove(self.place(entry), recursive=True, check=lambda: None, trail=Trail(None))
            count += 1
        return count

    def _tight(self) -> bool:
        """Whether so little is free that what was deleted has to make room."""
        room = os.fstatvfs(self._root)
        return room.f_bavail < room.f_blocks * _FREE

    def close(self) -> None:
        """Let go of the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _account(self, entry: str, at: Place) -> None:
        weight = _weight(at)
        with self._lock:
            entries = self._known()
            self._total += weight - entries.get(entry, 0)  # it may have been found by the first look
            entries[entry] = weight

    def _known(self) -> OrderedDict[str, int]:
        if self._entries is None:
            names = sorted(filter(_ENTRY.match, os.listdir(f"/proc/self/fd/{self._directory()}")))
            self._entries = OrderedDict((name, _weight(self.place(name))) for name in names)
            self._total = sum(self._entries.values())
        return self._entries

    def _directory(self) -> int:
        with self._lock:
            if self._fd >= 0 and os.fstat(self._fd).st_nlink == 0:  # somebody removed it
                self.close()
                self._entries, self._total = None, 0
            if self._fd < 0:
                with resting(self._identity):
                    self._fd = self._opened()
            return self._fd

    def _opened(self) -> int:
        whole = _private(self._root, TRASH_NAME)
        if self._identity is None:
            return whole
        try:
            own = _private(whole, self._own.encode())
        finally:
            os.close(whole)
        os.chown(beneath.handle(own), self._identity.uid, self._identity.gid)
        return own


def _private(parent: int, name: bytes) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _carry(at: Place, target: Place) -> None:
    """From another filesystem: a copy, then a removal."""
    quiet, mode = Trail(None), os.stat(at.name, dir_fd=at.parent, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode):
        copying.copy_tree(at, target, overwrite=False, check=lambda done: None, trail=quiet)
    elif stat.S_ISREG(mode):
        copying.copy_file(at, target, overwrite=False, check=lambda done: None, trail=quiet)
    else:
        copying.copy_link(at, target, quiet)
    removal.remove(at, recursive=True, check=lambda: None, trail=quiet)


def _born(entry: str) -> int:
    digits = entry.partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


def _weight(at: Place) -> int:
    """Bytes on the disk of a name and all below it."""
    try:
        info = os.stat(at.name, dir_fd=at.parent, follow_symlinks=False)
        total = info.st_blocks * _BLOCK
        if stat.S_ISDIR(info.st_mode):
            for _, _, files, fd in os.fwalk(at.name, dir_fd=at.parent, follow_symlinks=False):
                for name in files:
                    total += os.stat(name, dir_fd=fd, follow_symlinks=False).st_blocks * _BLOCK
    except OSError:
        return 0
    return total
