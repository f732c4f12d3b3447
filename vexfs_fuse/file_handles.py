"""Persistent names of inodes that need no descriptor: name_to_handle_at(2) and open_by_handle_at(2).

A handle carries the inode's generation, so a reused inode number is never mistaken for the old file.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

AT_EMPTY_PATH: Final = 0x1000
MAX_BYTES: Final = 128


class _FileHandle(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * MAX_BYTES))


_libc: Final = ctypes.PyDLL(None, use_errno=True)


def encode(fd: int, name: bytes = b"") -> bytes:
    """The handle of `name` in the directory `fd`, or of `fd` itself; raises OSError where the filesystem has none."""
    handle = _FileHandle(bytes=MAX_BYTES)
    mount_id = ctypes.c_int()
    flags = 0 if name else AT_EMPTY_PATH
    if _libc.name_to_handle_at(fd, name, ctypes.byref(handle), ctypes.byref(mount_id), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return ctypes.string_at(ctypes.addressof(handle), 8 + handle.bytes)


def decode(mount_fd: int, handle: bytes) -> int:
    """An O_PATH descriptor of the inode; `mount_fd` is any readable one of its filesystem. ESTALE if it is gone."""
    buffer = ctypes.create_string_buffer(handle)
    fd = _libc.open_by_handle_at(mount_fd, buffer, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(fd)
