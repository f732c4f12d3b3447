"""Creating files as the caller.

With default_permissions the kernel has judged the request already, by the caller's own groups and ACLs. What is left is
whose the new object is: the thread takes the caller's uid and gid for the file system (setfsuid(2), of this thread
only) but keeps its capabilities (SECBIT_NO_SETUID_FIXUP), so that the backing tree does not judge a second time without
the caller's supplementary groups. The mount's thread never awaits in between.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

_PR_GET_SECUREBITS: Final = 27
_PR_SET_SECUREBITS: Final = 28
_NO_SETUID_FIXUP: Final = 1 << 2

_AS_WE_ARE: Final = nullcontext()
_libc: Final = ctypes.PyDLL(None, use_errno=True)


class Credentials:
    """Switches the file-system identity where the process may; elsewhere everything belongs to the mounting user."""

    def __init__(self) -> None:
        self.uid: Final = os.geteuid()
        self.gid: Final = os.getegid()
        self.bits: Final = _libc.prctl(_PR_GET_SECUREBITS, 0, 0, 0, 0)
        self.switches: Final = self.uid == 0 and self._probe()

    def _probe(self) -> bool:
        allowed: bool = _libc.prctl(_PR_SET_SECUREBITS, self.bits | _NO_SETUID_FIXUP, 0, 0, 0) == 0
        _libc.prctl(_PR_SET_SECUREBITS, self.bits, 0, 0, 0)
        return allowed

    def of(self, uid: int, gid: int) -> AbstractContextManager[None]:
        """Objects created inside belong to `uid` and `gid`."""
        if not self.switches or (uid == self.uid and gid == self.gid):
            return _AS_WE_ARE
        return self._switched(uid, gid)

    @contextmanager
    def _switched(self, uid: int, gid: int) -> Iterator[None]:
        _libc.prctl(_PR_SET_SECUREBITS, self.bits | _NO_SETUID_FIXUP, 0, 0, 0)
        _libc.setfsgid(gid)
        _libc.setfsuid(uid)
        try:
            yield
        finally:
            _libc.setfsuid(self.uid)
            _libc.setfsgid(self.gid)
            _libc.prctl(_PR_SET_SECUREBITS, self.bits, 0, 0, 0)
