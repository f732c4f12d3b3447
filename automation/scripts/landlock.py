"""Landlock: a process, and all that it starts, opens no files but what is named here, nor TCP connections.

For Python's interpreter, which is a program of its own: it must be loaded before a filter of system calls could close
the door behind it. Linux ≥ 5.13, connections ≥ 6.7, signals ≥ 6.12; elsewhere the other walls must do.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from typing import Final

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1  # a flag: tell the version
_PATH_BENEATH: Final = 1
_EXECUTE: Final = 1 << 0
_READ_FILE: Final = 1 << 2
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many there are, by version
_CONNECT_AND_BIND: Final = 0b11
_SIGNALS_AND_SOCKETS: Final = 0b11


def only_read(paths: Iterable[str]) -> bool:
    """From here on nothing but those files and directories can be opened, and only to read or to run them.

    Needs no_new_privs. False where the kernel does not know Landlock; paths that do not exist are left out.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, _VERSION)
    if version < 1:
        return False
    attributes = struct.pack("Q", (1 << _FILE_RIGHTS[min(version, 5)]) - 1)
    attributes += struct.pack("Q", _CONNECT_AND_BIND) if version >= 4 else b""
    attributes += struct.pack("Q", _SIGNALS_AND_SOCKETS) if version >= 6 else b""
    ruleset = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    for path in paths:
        _allow(libc, ruleset, path)
    restricted = bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    os.close(ruleset)
    return restricted


def _allow(libc: ctypes.CDLL, ruleset: int, path: str) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", _EXECUTE | _READ_FILE, fd), 0)
    os.close(fd)
